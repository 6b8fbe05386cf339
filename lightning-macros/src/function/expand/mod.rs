//! Meaning → tokens. Nothing can fail here.
//!
//! Where the compiler is to report a mistake, every token of the check carries the span of what the user wrote: a type
//! projection reports at its `<`, a call at its parentheses. Otherwise the same mistake is reported on the attribute
//! once more.

mod agent;
mod algorithm;
mod handle;
mod inject;

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::{Attribute, GenericParam, Generics, Type, parse_quote, spanned::Spanned};

use super::{
    Kind,
    model::{Model, Role},
};

/// Everything that is emitted: the function, what is wrong with it, and what was made of it.
pub(super) fn expand(model: &Model) -> TokenStream {
    let function = &model.function;
    let mistakes = model.mistakes.to_tokens();
    if !model.expandable {
        return quote!(#function #mistakes);
    }
    let expansion = Expansion::new(model);
    let handle = handle::expand(&expansion);
    let implementation = match model.kind {
        Kind::Algo => algorithm::expand(&expansion),
        Kind::Rollout => agent::expand(&expansion),
    };
    quote!(#function #mistakes #handle #implementation)
}

/// The model, and what all parts of the expansion derive from it.
struct Expansion<'m> {
    model: &'m Model,
    /// The path to the names that generated code uses.
    private: TokenStream,
    /// The type parameters of the generated type: without bounds, so that each user of it names its own.
    bare: Generics,
    /// The same with the function's bounds and what a boxed future needs.
    bounded: Generics,
    /// The attributes of generated items other than the type.
    attributes: Vec<Attribute>,
}

impl<'m> Expansion<'m> {
    fn new(model: &'m Model) -> Self {
        let krate = &model.krate;
        let mut bare = model.generics.clone();
        bare.where_clause = None;
        for parameter in bare.type_params_mut() {
            parameter.bounds.clear();
            parameter.colon_token = None;
        }
        let mut bounded = model.generics.clone();
        for parameter in bounded.type_params_mut() {
            parameter.bounds.push(parse_quote!(::core::marker::Send));
            parameter.bounds.push(parse_quote!(::core::marker::Sync));
            parameter.bounds.push(parse_quote!('static));
        }
        // A deprecated function deprecates its type; the items about the type must not warn about it.
        let mut attributes: Vec<Attribute> = model
            .attributes
            .iter()
            .filter(|attribute| !attribute.path().is_ident("deprecated"))
            .cloned()
            .collect();
        attributes.push(parse_quote!(#[allow(deprecated)]));
        attributes.push(parse_quote!(#[automatically_derived]));
        Self {
            model,
            private: quote!(#krate::__private),
            bare,
            bounded,
            attributes,
        }
    }

    /// The function's name for messages and run files.
    fn name(&self) -> String {
        use syn::ext::IdentExt;
        self.model.name.unraw().to_string()
    }

    /// The call of the function, spanned on its name.
    fn call(&self, arguments: &[TokenStream]) -> TokenStream {
        let name = &self.model.name;
        let span = name.span();
        let parameters: Vec<&Ident> = self
            .model
            .generics
            .params
            .iter()
            .filter_map(|parameter| match parameter {
                GenericParam::Type(parameter) => Some(&parameter.ident),
                GenericParam::Const(parameter) => Some(&parameter.ident),
                GenericParam::Lifetime(_) => None,
            })
            .collect();
        if parameters.is_empty() {
            quote_spanned!(span=> #name(#(#arguments),*))
        } else {
            quote_spanned!(span=> #name::<#(#parameters),*>(#(#arguments),*))
        }
    }

    /// The hyper-parameters: their fields, types and defaults.
    fn params(&self) -> impl Iterator<Item = (&'m Ident, &'m Type, &'m super::model::Default)> {
        self.model
            .arguments
            .iter()
            .filter_map(|argument| match &argument.role {
                Role::Param { field, default } => Some((field, &argument.ty, default)),
                _ => None,
            })
    }
}

/// `<Ty as Trait>::Member`, which reports on the user's type.
fn project(ty: &Type, of_trait: TokenStream, member: &str) -> TokenStream {
    let (first, last) = ends(ty);
    let open = quote_spanned!(first=> <);
    let of_trait = respanned(of_trait, first);
    let member = Ident::new(member, last);
    let close = quote_spanned!(last=> >::#member);
    quote!(#open #ty as #of_trait #close)
}

/// The spans of the first and the last token of a type.
fn ends(ty: &Type) -> (Span, Span) {
    let tokens = quote!(#ty);
    let first = tokens.clone().into_iter().next();
    let last = tokens.into_iter().last();
    let span = |token: Option<TokenTree>| token.map_or_else(|| ty.span(), |token| token.span());
    (span(first), span(last))
}

/// The tokens, each with this span.
fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => {
                let mut group = Group::new(group.delimiter(), respanned(group.stream(), span));
                group.set_span(span);
                TokenTree::Group(group)
            }
            mut token => {
                token.set_span(span);
                token
            }
        })
        .collect()
}

/// A name that no user's name can meet.
fn local(name: &str) -> Ident {
    Ident::new(&format!("__{name}"), Span::mixed_site())
}
