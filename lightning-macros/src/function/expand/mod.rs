//! Meaning → tokens. Nothing can fail here.
//!
//! Where the compiler is to report a mistake, every token of the check carries the span of what the user wrote: a type
//! projection reports at its `<`, a call at its parentheses. Otherwise the same mistake is reported on the attribute
//! once more.

mod agent;
mod algorithm;
mod handle;
mod inject;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::{
    Attribute, GenericParam, Generics, Token, Type, TypeParamBound, WherePredicate, parse_quote,
    parse_quote_spanned, punctuated::Punctuated, spanned::Spanned,
};

type Bounds = Punctuated<TypeParamBound, Token![+]>;

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
        let names: Vec<Ident> = bounded
            .type_params()
            .map(|parameter| parameter.ident.clone())
            .collect();
        for name in names {
            let bounds = bounds_of(&mut bounded, &name);
            let span = bounds.last().map_or_else(|| name.span(), Spanned::span);
            bounds.push(parse_quote_spanned!(span=> ::core::marker::Send));
            bounds.push(parse_quote_spanned!(span=> ::core::marker::Sync));
            bounds.push(parse_quote_spanned!(span=> 'static));
        }
        // A deprecated function deprecates its type, about which the items of the type must not warn; and checks that
        // are spanned on the user's type are none of the user's code.
        let mut attributes: Vec<Attribute> = model
            .attributes
            .iter()
            .filter(|attribute| !attribute.path().is_ident("deprecated"))
            .cloned()
            .collect();
        attributes
            .push(parse_quote!(#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]));
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

/// The bounds of a type parameter: those that the user wrote, at the parameter or in the clause.
///
/// Others are added to them with their span, since that is where the compiler proposes further ones.
fn bounds_of<'g>(generics: &'g mut Generics, name: &Ident) -> &'g mut Bounds {
    let mut places: Vec<&mut Bounds> = Vec::new();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter
            && parameter.ident == *name
        {
            places.push(&mut parameter.bounds);
        }
    }
    for predicate in generics
        .where_clause
        .iter_mut()
        .flat_map(|clause| &mut clause.predicates)
    {
        if let WherePredicate::Type(predicate) = predicate
            && matches!(&predicate.bounded_ty, Type::Path(path) if path.path.is_ident(name))
        {
            places.push(&mut predicate.bounds);
        }
    }
    let at = places.iter().position(|bounds| !bounds.is_empty()).unwrap_or(0);
    places.swap_remove(at)
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

/// The tokens, each with this span; what stands in parentheses keeps its own, and with it its hygiene.
fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect()
}

/// A name that no user's name can meet.
fn local(name: &str) -> Ident {
    Ident::new(&format!("__{name}"), Span::mixed_site())
}
