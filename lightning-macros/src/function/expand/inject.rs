//! The parameters: where each value comes from, and how it is handed over.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::Type;

use super::{Expansion, ends, local, project, respanned};
use crate::function::{
    model::{Argument, Role},
    types,
};

/// A parameter that is injected.
pub(super) struct Injected<'m> {
    pub(super) argument: &'m Argument,
    /// The variable that holds it.
    pub(super) variable: Ident,
    /// The expression that takes it out of `__scope`.
    pub(super) take: TokenStream,
    /// The type of what is taken, with the lifetime of the scope left to be inferred.
    pub(super) ty: TokenStream,
    /// How the list of requirements calls its slot.
    slot: String,
}

/// The parameters that are injected, in order.
pub(super) fn injected<'m>(expansion: &Expansion<'m>) -> Vec<Injected<'m>> {
    let private = &expansion.private;
    let scope = local("scope");
    let arguments = expansion.model.arguments.iter().enumerate();
    arguments
        .filter_map(|(index, argument)| {
            let elided = types::elided(&argument.ty);
            let mut ty = quote!(#elided);
            let (slot, take) = match &argument.role {
                Role::Slot { slot, fits } => {
                    let fits = format_ident!("{fits}");
                    (
                        (*slot).to_owned(),
                        quote!(<#elided as #private::#fits<'_>>::fit(#scope)),
                    )
                }
                Role::Dataset { slot, variant } => {
                    let variant = format_ident!("{variant}");
                    let immortal = types::immortal(&argument.ty);
                    let (_, last) = ends(&immortal);
                    let take = project(&immortal, quote!(#private::DatasetParam), "take");
                    let given = respanned(quote!((#scope, #private::DatasetSlot::#variant)), last);
                    ty = project(&immortal, quote!(#private::DatasetParam), "At");
                    ty.extend(respanned(quote!(<'_>), last));
                    ((*slot).to_owned(), quote!(#take #given))
                }
                Role::ByType => {
                    let take = quote!(<#elided as #private::FitsByType<'_>>::fit(#scope));
                    (types::text(&argument.ty), take)
                }
                Role::OwnSlot(slot) => {
                    let take = quote!(<#elided as #private::FitsSlot<'_, #slot>>::fit(#scope));
                    (types::text(slot), take)
                }
                Role::Task { .. } | Role::Param { .. } => return None,
            };
            Some(Injected {
                argument,
                variable: variable(index),
                take,
                ty,
                slot,
            })
        })
        .collect()
}

/// The list of requirements.
pub(super) fn requirements(expansion: &Expansion<'_>, injected: &[Injected<'_>]) -> TokenStream {
    let private = &expansion.private;
    let entries = injected.iter().map(|injected| {
        let (name, slot, ty) = (
            &injected.argument.name,
            &injected.slot,
            types::text(&injected.argument.ty),
        );
        let optional = types::last_name(&injected.argument.ty).is_some_and(|name| name == "Option");
        quote!(#private::Requirement::new(#name, #slot, #ty, #optional))
    });
    quote!(&[#(#entries),*])
}

/// Statements that try to take every value and leave each in its variable as an `Option`, the errors in `__errors`.
pub(super) fn take_all(expansion: &Expansion<'_>, injected: &[Injected<'_>]) -> TokenStream {
    let private = &expansion.private;
    let errors = local("errors");
    let statements = injected.iter().map(|injected| {
        let (variable, take, name) = (&injected.variable, &injected.take, &injected.argument.name);
        quote!(let #variable = #errors.keep(#name, #take);)
    });
    quote! {
        #[allow(unused_mut)]
        let mut #errors = #private::InjectErrors::default();
        #(#statements)*
    }
}

/// A statement that unwraps the variables, or leaves with `otherwise`.
pub(super) fn unwrap_all(injected: &[Injected<'_>], otherwise: &TokenStream) -> TokenStream {
    if injected.is_empty() {
        return TokenStream::new();
    }
    let variables: Vec<&Ident> = injected.iter().map(|injected| &injected.variable).collect();
    quote! {
        let (#(::core::option::Option::Some(#variables),)*) = (#(#variables,)*) else {
            return #otherwise;
        };
    }
}

/// The expressions that are handed to the function, in order.
pub(super) fn handed(
    expansion: &Expansion<'_>,
    task: impl Fn(&Type, bool) -> TokenStream,
) -> Vec<TokenStream> {
    let private = &expansion.private;
    let arguments = expansion.model.arguments.iter().enumerate();
    arguments
        .map(|(index, argument)| match &argument.role {
            Role::Param { field, .. } => {
                let ty = &argument.ty;
                quote!(#private::param::<#ty>().copy(&self.#field))
            }
            Role::Task { ty, by_reference } => task(ty, *by_reference),
            _ => {
                let variable = variable(index);
                quote!(#variable)
            }
        })
        .collect()
}

fn variable(index: usize) -> Ident {
    local(&format!("a{index}"))
}
