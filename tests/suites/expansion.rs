//! What the macros expand to, as golden files: `expansion/NAME.rs` is expanded to `expansion/NAME.expanded`.
//!
//! `UPDATE_EXPECT=1 cargo test -p lightning-tests --test expansion` writes them anew; read the difference before you
//! commit it. The macro crate cannot be called outside a compiler, so its stages are compiled into this suite.

#![allow(missing_docs, reason = "the stages are documented for their own crate")]
#![allow(
    clippy::large_enum_variant,
    reason = "the crate is judged where it is built; here syn has more of its parts"
)]

#[path = "../../lightning-macros/src/function/mod.rs"]
mod function;

use std::{fs, path::PathBuf};

use function::Kind;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, File, Item, Meta};

/// Expands every item of a file that has one of the macros on it.
fn expand(source: &str) -> String {
    let file: File = syn::parse_str(source).expect("the golden file is Rust");
    let expanded: TokenStream = file.items.into_iter().map(expand_item).collect();
    prettyplease::unparse(&syn::parse2(expanded).expect("an expansion is Rust"))
}

fn expand_item(mut item: Item) -> TokenStream {
    let Item::Fn(function) = &mut item else {
        return item.into_token_stream();
    };
    let is_ours = |attribute: &Attribute| kind(attribute).is_some();
    let Some(at) = function.attrs.iter().position(is_ours) else {
        return item.into_token_stream();
    };
    let attribute = function.attrs.remove(at);
    let options = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    function::translate(
        kind(&attribute).expect("it was found by this"),
        options,
        &item.into_token_stream(),
    )
}

fn kind(attribute: &Attribute) -> Option<Kind> {
    let name = attribute.path().get_ident()?;
    match name.to_string().as_str() {
        "algo" => Some(Kind::Algo),
        "rollout" => Some(Kind::Rollout),
        _ => None,
    }
}

#[track_caller]
fn check(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("suites/expansion");
    let expanded = folder.join(format!("{name}.expanded"));
    let source = fs::read_to_string(folder.join(format!("{name}.rs"))).expect("the source is there");
    let is = expand(&source);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&expanded, is).expect("the golden file can be written");
        return;
    }
    let expected = fs::read_to_string(&expanded).unwrap_or_default();
    assert!(
        is == expected,
        "the expansion of {name}.rs has changed. It is now:\n\n{is}\n\nIf this is what you want: \
         UPDATE_EXPECT=1 cargo test -p lightning-tests --test expansion"
    );
}

#[test]
fn an_algorithm_with_slots_and_parameters() {
    check("algorithm");
}

#[test]
fn a_synchronous_algorithm() {
    check("synchronous");
}

#[test]
fn a_generic_algorithm() {
    check("generic");
}

#[test]
fn an_agent() {
    check("agent");
}

#[test]
fn a_function_with_mistakes_is_emitted_with_them_and_with_what_others_may_name() {
    check("mistakes");
}
