//! `impl Agent`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse_quote;

use super::{Expansion, inject, local, respanned};
use crate::function::model::Role;

pub(super) fn expand(expansion: &Expansion<'_>) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (handle, attributes) = (&model.handle, &expansion.attributes);
    let (parameters, arguments, clause) = expansion.bounded.split_for_impl();
    let injected = inject::injected(expansion);
    let requirements = inject::requirements(expansion, &injected);
    let take = inject::take_all(expansion, &injected);
    let (errors, scope, task, context) = (local("errors"), local("scope"), local("task"), local("cx"));
    let variables: Vec<_> = injected.iter().map(|injected| &injected.variable).collect();
    let types: Vec<_> = injected.iter().map(|injected| &injected.ty).collect();
    let unwrap = inject::unwrap_all(&injected, &quote!(#private::agent::refuse(#errors)));
    let name = expansion.name();

    // An agent that names no task takes every one.
    let named = model.arguments.iter().find_map(|argument| match &argument.role {
        Role::Task { ty, .. } => Some(ty),
        _ => None,
    });
    let mut of_task = expansion.bounded.clone();
    let (task_type, default_task) = if let Some(ty) = named {
        (quote!(#ty), quote!(#ty))
    } else {
        of_task.params.push(parse_quote!(__Task: #private::Task));
        (quote!(__Task), quote!(#private::Json))
    };
    let (task_parameters, _, task_clause) = of_task.split_for_impl();
    let finish = if model.mistakes.is_empty() {
        finish(expansion)
    } else {
        // The function cannot be called; the rest is there, so that its users meet no further errors.
        quote!(::core::unreachable!())
    };
    quote! {
        #(#attributes)*
        const _: () = {
            impl #parameters #handle #arguments #clause {
                fn __inject(
                    #scope: &#private::Scope,
                ) -> (#private::InjectErrors, #(::core::option::Option<#types>,)*) {
                    #take
                    (#errors, #(#variables,)*)
                }
            }

            impl #parameters #private::FunctionalAgent for #handle #arguments #clause {
                const REQUIREMENTS: &'static [#private::Requirement] = #requirements;
                type DefaultTask = #default_task;
            }

            impl #task_parameters #private::Agent<#task_type> for #handle #arguments #task_clause {
                fn rollout<'__cx>(
                    &'__cx self,
                    #task: &'__cx #task_type,
                    #context: &'__cx #private::RolloutContext,
                ) -> #private::AgentFuture<'__cx> {
                    let __task_type = #private::task_type::<#task_type>();
                    let (#errors, #(#variables,)*) = Self::__inject(#context.scope());
                    #unwrap
                    #finish
                }

                fn name(&self) -> #private::std::borrow::Cow<'static, str> {
                    #private::std::borrow::Cow::Borrowed(#name)
                }

                fn requirements(&self) -> ::core::option::Option<&'static [#private::Requirement]> {
                    ::core::option::Option::Some(<Self as #private::FunctionalAgent>::REQUIREMENTS)
                }

                fn check(
                    &self,
                    #scope: &#private::Scope,
                ) -> ::core::result::Result<(), #private::InjectErrors> {
                    #private::agent::check_before_rollouts(Self::__inject(#scope).0)
                }
            }
        };
    }
}

/// The future of the call.
fn finish(expansion: &Expansion<'_>) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (span, output, task) = (model.name.span(), &model.output, local("task"));
    if model.asynchronous {
        let handed = inject::handed(expansion, |_, by_reference| {
            if by_reference {
                quote!(#task)
            } else {
                quote!(__task_type.copy(#task))
            }
        });
        let call = expansion.call(&handed);
        let finish = respanned(quote!(#private::agent::finish), span);
        return quote_spanned!(span=> #finish::<#output>(#call));
    }
    // Everything is copied before the thread begins, which may outlive `self` and the task.
    let handed = inject::handed(expansion, |_, _| quote!(__task_type.copy(#task)));
    let variables: Vec<_> = (0..handed.len())
        .map(|index| local(&format!("owned{index}")))
        .collect();
    let moved: Vec<TokenStream> = variables
        .iter()
        .zip(&model.arguments)
        .map(|(variable, argument)| match argument.role {
            Role::Task {
                by_reference: true, ..
            } => quote!(&#variable),
            _ => quote!(#variable),
        })
        .collect();
    let call = expansion.call(&moved);
    let finish = respanned(quote!(#private::agent::finish_blocking), span);
    let finish = quote_spanned!(span=> #finish::<#output>(move || #call));
    quote!({ #(let #variables = #handed;)* #finish })
}
