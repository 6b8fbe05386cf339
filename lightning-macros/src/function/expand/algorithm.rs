//! `impl FunctionalAlgorithm`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{Expansion, ends, inject, local, project, respanned};
use crate::function::{
    model::{IsResult, Role},
    types,
};

pub(super) fn expand(expansion: &Expansion<'_>) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (handle, attributes) = (&model.handle, &expansion.attributes);
    let (parameters, arguments, clause) = expansion.bounded.split_for_impl();
    let injected = inject::injected(expansion);
    let requirements = inject::requirements(expansion, &injected);
    let version = model
        .version
        .as_ref()
        .map(|version| quote!(const VERSION: &'static str = #version;));
    let (tasks, check_tasks) = tasks(expansion);
    let is_result = is_result(expansion);
    let output = project(&model.output, quote!(#private::Returned<#is_result>), "Output");
    let (errors, scope) = (local("errors"), local("scope"));
    let take = inject::take_all(expansion, &injected);
    let unwrap = inject::unwrap_all(&injected, &quote!(::core::result::Result::Err(#errors)));
    let finish = if model.mistakes.is_empty() {
        let finish = finish(expansion, &is_result);
        quote!(::core::result::Result::Ok(#finish))
    } else {
        // The function cannot be called; the rest is there, so that its users meet no further errors.
        quote!(::core::unreachable!())
    };
    quote! {
        #(#attributes)*
        impl #parameters #private::FunctionalAlgorithm for #handle #arguments #clause {
            const REQUIREMENTS: &'static [#private::Requirement] = #requirements;
            #version
            type Tasks = #tasks;
            type Output = #output;

            fn prepare<'__cx>(
                &'__cx self,
                #scope: &'__cx #private::Scope,
            ) -> ::core::result::Result<#private::AlgoFuture<'__cx, Self::Output>, #private::InjectErrors> {
                #check_tasks
                #private::algorithm::is_output::<#output>();
                #take
                #unwrap
                #finish
            }
        }
    }
}

/// The constant that says whether the function returns a `Result`.
fn is_result(expansion: &Expansion<'_>) -> TokenStream {
    let (private, output) = (&expansion.private, &expansion.model.output);
    match expansion.model.is_result {
        IsResult::Yes => quote!(true),
        IsResult::No => quote!(false),
        IsResult::Ask => quote!({
            #[allow(unused_imports)]
            use #private::NotResult as _;
            #private::Probe::<#output>::IS_RESULT
        }),
    }
}

/// The type of the tasks that the function accepts, and the checks on it.
fn tasks(expansion: &Expansion<'_>) -> (TokenStream, TokenStream) {
    let private = &expansion.private;
    let datasets: Vec<syn::Type> = expansion
        .model
        .arguments
        .iter()
        .filter(|argument| matches!(argument.role, Role::Dataset { .. }))
        .map(|argument| types::immortal(&argument.ty))
        .collect();
    let Some(first) = datasets.first() else {
        return (quote!(#private::AnyTask), TokenStream::new());
    };
    let (start, end) = ends(first);
    let task = project(first, quote!(#private::DatasetParam), "Task");
    let open = respanned(quote!(#private::Only<), start);
    let close = quote_spanned!(end=> >);
    let same = datasets
        .get(1)
        .map(|second| project(second, quote!(#private::DatasetParam), "Task"))
        .map(|second| quote!(#private::same_task::<#task, #second>();));
    (
        quote!(#open #task #close),
        quote!(#private::task_type::<#task>(); #same),
    )
}

/// The future of the call.
fn finish(expansion: &Expansion<'_>, is_result: &TokenStream) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (span, output) = (model.name.span(), &model.output);
    let handed = inject::handed(expansion, |_, _| TokenStream::new());
    if model.asynchronous {
        let call = expansion.call(&handed);
        let finish = respanned(quote!(#private::algorithm::finish), span);
        return quote_spanned!(span=> #finish::<#is_result, #output>(#call));
    }
    // Parameters are copied before the thread begins, which may outlive `self`.
    let variables: Vec<_> = (0..handed.len())
        .map(|index| local(&format!("owned{index}")))
        .collect();
    let moved: Vec<TokenStream> = variables.iter().map(|variable| quote!(#variable)).collect();
    let call = expansion.call(&moved);
    let finish = respanned(quote!(#private::algorithm::finish_blocking), span);
    let finish = quote_spanned!(span=> #finish::<#is_result, #output>(move || #call));
    quote!({ #(let #variables = #handed;)* #finish })
}
