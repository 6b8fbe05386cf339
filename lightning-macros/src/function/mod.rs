//! `#[algo]` and `#[rollout]`, which differ in their slots and in the trait that they implement.

mod expand;
mod model;
mod parse;
mod slots;
mod types;

use proc_macro2::TokenStream;
use quote::quote;

/// Which of the two macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Algo,
    Rollout,
}

impl Kind {
    /// The macro as a user writes it.
    fn attribute(self) -> &'static str {
        match self {
            Self::Algo => "#[algo]",
            Self::Rollout => "#[rollout]",
        }
    }

    /// What the macro makes of a function.
    fn product(self) -> &'static str {
        match self {
            Self::Algo => "algorithm",
            Self::Rollout => "agent",
        }
    }
}

/// The function and what is made of it, or the function and everything that is wrong with it.
pub(crate) fn translate(kind: Kind, options: TokenStream, item: &TokenStream) -> TokenStream {
    match parse::parse(kind, options, item) {
        Ok(parsed) => expand::expand(&model::model(parsed)),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

/// Every mistake that was seen, to be reported at once.
#[derive(Debug, Default)]
struct Mistakes(Option<syn::Error>);

impl Mistakes {
    fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn at(&mut self, span: proc_macro2::Span, message: impl std::fmt::Display) {
        self.add(syn::Error::new(span, message));
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn to_tokens(&self) -> TokenStream {
        self.0
            .as_ref()
            .map(syn::Error::to_compile_error)
            .unwrap_or_default()
    }
}
