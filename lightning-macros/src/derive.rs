//! `#[derive(Inject)]`: the opt-in for injection by type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Path, parse_quote};

pub(crate) fn inject(item: TokenStream) -> TokenStream {
    expand(item).unwrap_or_else(|error| error.into_compile_error())
}

fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let mut krate: Path = parse_quote!(::lightning_core);
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("inject"))
    {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`"));
            }
            krate = meta.value()?.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    let name = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        // A value of the trainer's lives in every thread, as long as the trainer does.
        parameter.bounds.push(parse_quote!(::core::marker::Send));
        parameter.bounds.push(parse_quote!(::core::marker::Sync));
        parameter.bounds.push(parse_quote!(::core::clone::Clone));
        parameter.bounds.push(parse_quote!('static));
    }
    let (parameters, arguments, clause) = generics.split_for_impl();
    Ok(quote! {
        impl #parameters #krate::__private::Injectable for #name #arguments #clause {}
    })
}
