//! The attribute macros of `lightning-core`, which re-exports them; depend on that crate, not on this one.
//!
//! They only translate: what generated code does lies in the core. A function goes through three stages, of which the
//! first two collect every mistake they see and the last cannot fail:
//!
//! 1. `parse`: tokens → syntax, the function's body left as it is;
//! 2. `model`: syntax → what each parameter means;
//! 3. `expand`: meaning → tokens, each check spanned on the user's own.

mod derive;
mod function;

use function::Kind;
use proc_macro::TokenStream;

/// Makes an algorithm of a function.
#[proc_macro_attribute]
pub fn algo(options: TokenStream, item: TokenStream) -> TokenStream {
    function::translate(Kind::Algo, options.into(), item.into()).into()
}

/// Makes an agent of a function.
#[proc_macro_attribute]
pub fn rollout(options: TokenStream, item: TokenStream) -> TokenStream {
    function::translate(Kind::Rollout, options.into(), item.into()).into()
}

/// Lets a type be injected by its type.
#[proc_macro_derive(Inject, attributes(inject))]
pub fn inject(item: TokenStream) -> TokenStream {
    derive::inject(item.into()).into()
}
