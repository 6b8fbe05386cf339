//! The generated type: it holds the hyper-parameters and is made by `name::algorithm()` or `name::agent()`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Ident, ext::IdentExt, parse_quote};

use super::Expansion;
use crate::function::model::Default;

pub(super) fn expand(expansion: &Expansion<'_>) -> TokenStream {
    let ty = definition(expansion);
    let constructor = constructor(expansion);
    let implementations = implementations(expansion);
    quote!(#ty #constructor #implementations)
}

/// Where the fields are made of an expression, one for each parameter.
fn fields<T: ToTokens>(
    expansion: &Expansion<'_>,
    value: impl Fn(&Ident, &syn::Type, &Default) -> T,
) -> TokenStream {
    let private = &expansion.private;
    let fields = expansion.params().map(|(field, ty, default)| {
        let value = value(field, ty, default);
        quote!(#field: #value,)
    });
    quote!(Self { #(#fields)* __ghost: #private::Ghost::NEW })
}

fn definition(expansion: &Expansion<'_>) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (attributes, visibility, handle) = (&model.attributes, &model.visibility, &model.handle);
    let generics = &expansion.bare;
    let type_parameters = generics.type_params().map(|parameter| &parameter.ident);
    let fields = expansion.params().map(|(field, ty, _)| quote!(#field: #ty,));
    quote! {
        #(#attributes)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        #visibility struct #handle #generics {
            #(#fields)*
            __ghost: #private::Ghost<(#(#type_parameters,)*)>,
        }
    }
}

fn constructor(expansion: &Expansion<'_>) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (visibility, handle, attributes) = (&model.visibility, &model.handle, &expansion.attributes);
    let (parameters, arguments, _) = expansion.bare.split_for_impl();
    let product = model.kind.product();
    let constructor = format_ident!("{product}");
    let docs = format!("The {product} made of the function `{}`.", expansion.name());
    let required = expansion
        .params()
        .filter(|(.., default)| matches!(default, Default::Required))
        .map(|(field, ty, _)| quote!(#field: #ty));
    let made = fields(expansion, |field, ty, default| match default {
        Default::Required => quote!(#field),
        Default::Implied => quote!(<#ty as ::core::default::Default>::default()),
        Default::Text(text) => quote!(<#ty as #private::FromLiteral>::from_literal(#text)),
        Default::Value(value) => quote!(#value),
    });
    let setters = expansion.params().map(|(field, ty, _)| {
        let docs = format!("Sets `{}`.", field.unraw());
        quote! {
            #[doc = #docs]
            #[must_use]
            #visibility fn #field(mut self, #field: #ty) -> Self {
                self.#field = #field;
                self
            }
        }
    });
    quote! {
        #(#attributes)*
        #[allow(dead_code)]
        impl #parameters #handle #arguments {
            #[doc = #docs]
            #[must_use]
            #visibility fn #constructor(#(#required),*) -> Self {
                #made
            }
            #(#setters)*
        }
    }
}

/// Reading, writing, copying: all by way of the list of parameters, so that the core does the work.
fn implementations(expansion: &Expansion<'_>) -> TokenStream {
    let (model, private) = (expansion.model, &expansion.private);
    let (handle, attributes) = (&model.handle, &expansion.attributes);
    let (parameters, arguments, clause) = expansion.bounded.split_for_impl();
    let name = expansion.name();
    let constructor = format_ident!("{}", model.kind.product());
    let copied = fields(
        expansion,
        |field, ty, _| quote!(#private::param::<#ty>().copy(&self.#field)),
    );
    let listed = expansion.params().map(|(field, ty, _)| {
        let name = field.unraw().to_string();
        quote!(#private::param::<#ty>().field(#name, |__of| &__of.#field, |__of| &mut __of.#field))
    });
    let taken = expansion
        .params()
        .filter(|(.., default)| matches!(default, Default::Required))
        .map(|(field, ty, _)| {
            let name = field.unraw().to_string();
            quote!(#private::param::<#ty>().take::<Self>(__values, #name)?)
        });
    let mut with_lifetime = expansion.bounded.clone();
    with_lifetime.params.insert(0, parse_quote!('__de));
    let (lifetime_parameters, ..) = with_lifetime.split_for_impl();
    quote! {
        #(#attributes)*
        const _: () = {
            impl #parameters #private::Params for #handle #arguments #clause {
                const NAME: &'static str = #name;

                fn fields() -> #private::std::vec::Vec<#private::ParamField<Self>> {
                    #private::std::vec![#(#listed),*]
                }

                fn begin(
                    __values: &mut #private::JsonObject,
                ) -> ::core::result::Result<Self, #private::ParamError> {
                    ::core::result::Result::Ok(Self::#constructor(#(#taken),*))
                }
            }

            impl #parameters ::core::clone::Clone for #handle #arguments #clause {
                fn clone(&self) -> Self {
                    #copied
                }
            }

            impl #parameters ::core::fmt::Debug for #handle #arguments #clause {
                fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    #private::debug_params(self, __f)
                }
            }

            impl #parameters #private::serde::Serialize for #handle #arguments #clause {
                fn serialize<__S: #private::serde::Serializer>(
                    &self,
                    __serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #private::serialize_params(self, __serializer)
                }
            }

            impl #lifetime_parameters #private::serde::Deserialize<'__de> for #handle #arguments #clause {
                fn deserialize<__D: #private::serde::Deserializer<'__de>>(
                    __deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    #private::deserialize_params(__deserializer)
                }
            }
        };
    }
}
