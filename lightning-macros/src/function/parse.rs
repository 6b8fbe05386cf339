//! Tokens → syntax. The body of the function stays tokens, and only the macros' own attributes are taken away.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::{
    Attribute, Expr, FnArg, Ident, LitStr, Meta, Pat, PatType, Path, Signature, Token, Type, Visibility,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    parse_quote,
    spanned::Spanned,
};

use super::{Kind, Mistakes};

/// A function with one of the macros on it.
pub(super) struct Parsed {
    pub(super) kind: Kind,
    pub(super) options: Options,
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    /// Without `#[param]` and `#[inject]`.
    pub(super) signature: Signature,
    pub(super) body: TokenTree,
    /// The parameters in order, `self` aside.
    pub(super) parameters: Vec<Parameter>,
    pub(super) mistakes: Mistakes,
}

/// What stands in the parentheses of the macro.
pub(super) struct Options {
    pub(super) krate: Path,
    pub(super) handle: Option<Ident>,
    pub(super) version: Option<LitStr>,
}

/// A parameter with the macro's attributes on it.
pub(super) struct Parameter {
    pub(super) pattern: Pat,
    pub(super) ty: Type,
    /// Other attributes, which stay.
    pub(super) attributes: Vec<Attribute>,
    pub(super) param: Option<Param>,
    pub(super) inject: Option<Inject>,
}

/// `#[param]`.
pub(super) struct Param {
    pub(super) default: ParamDefault,
}

/// What a `#[param]` is when nobody sets it.
pub(super) enum ParamDefault {
    /// `#[param]`: it has to be set.
    Required,
    /// `#[param(default)]`: what `Default` says.
    Implied,
    /// `#[param(default = …)]`.
    Given(Expr),
}

/// `#[inject]` or `#[inject(Slot)]`.
pub(super) struct Inject {
    pub(super) span: Span,
    pub(super) slot: Option<Type>,
}

/// Reads the function. Errors only if it is none; all other mistakes are collected.
pub(super) fn parse(kind: Kind, options: TokenStream, item: &TokenStream) -> syn::Result<Parsed> {
    let Function {
        attributes,
        visibility,
        mut signature,
        body,
    } = syn::parse2(item.clone()).map_err(|error| not_a_function(kind, item, error))?;
    let mut mistakes = Mistakes::default();
    let options = parse_options(kind, options, &mut mistakes);
    let parameters = signature
        .inputs
        .iter_mut()
        .filter_map(|input| match input {
            FnArg::Typed(input) => Some(parse_parameter(input, &mut mistakes)),
            FnArg::Receiver(_) => None,
        })
        .collect();
    Ok(Parsed {
        kind,
        options,
        attributes,
        visibility,
        signature,
        body,
        parameters,
        mistakes,
    })
}

struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: TokenTree,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let function = Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        };
        match &function.body {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(function),
            other => Err(syn::Error::new(
                other.span(),
                "the function has no body; only a free function can be used here, not a method of a trait",
            )),
        }
    }
}

/// Says that the item is no function, or, if it is one, what is wrong with it.
fn not_a_function(kind: Kind, item: &TokenStream, error: syn::Error) -> syn::Error {
    let begins_as_function = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        input.parse::<Option<Token![const]>>()?;
        input.parse::<Option<Token![async]>>()?;
        input.parse::<Option<Token![unsafe]>>()?;
        input.parse::<Option<syn::Abi>>()?;
        let is_function = input.peek(Token![fn]);
        input.parse::<TokenStream>()?;
        Ok(is_function)
    };
    if begins_as_function.parse2(item.clone()).unwrap_or(false) {
        return error;
    }
    let attribute = kind.attribute();
    syn::Error::new(
        error.span(),
        format!("`{attribute}` goes on a function: `{attribute} async fn name(..) {{ .. }}`"),
    )
}

fn parse_options(kind: Kind, options: TokenStream, mistakes: &mut Mistakes) -> Options {
    let mut parsed = Options {
        krate: parse_quote!(::lightning_core),
        handle: None,
        version: None,
    };
    let parser = |input: ParseStream<'_>| {
        while !input.is_empty() {
            parse_option(kind, input, &mut parsed)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    if let Err(error) = parser.parse2(options) {
        mistakes.add(error);
    }
    parsed
}

fn parse_option(kind: Kind, input: ParseStream<'_>, parsed: &mut Options) -> syn::Result<()> {
    let start = input.span();
    let name = input.call(Ident::parse_any).map(|name| name.to_string());
    let twice = |is: bool| match is {
        true => Err(syn::Error::new(
            start,
            "this option is given twice: remove one of the two",
        )),
        false => Ok(()),
    };
    match (name.as_deref(), kind) {
        (Ok("crate"), _) => {
            input.parse::<Token![=]>()?;
            parsed.krate = input.call(Path::parse_mod_style)?;
            Ok(())
        }
        (Ok("handle"), _) => {
            input.parse::<Token![=]>()?;
            twice(parsed.handle.replace(input.parse()?).is_some())
        }
        (Ok("version"), Kind::Algo) => {
            input.parse::<Token![=]>()?;
            let version = input.parse().map_err(|error| {
                syn::Error::new(error.span(), "write the version as text: `version = \"2\"`")
            })?;
            twice(parsed.version.replace(version).is_some())
        }
        _ => {
            let attribute = kind.attribute();
            let version = if kind == Kind::Algo {
                ", `version = \"..\"`"
            } else {
                ""
            };
            Err(syn::Error::new(
                start,
                format!(
                    "this is not an option of `{attribute}`; its options are `handle = Name`{version} and `crate = path`"
                ),
            ))
        }
    }
}

/// Takes the macros' own attributes off a parameter.
fn parse_parameter(input: &mut PatType, mistakes: &mut Mistakes) -> Parameter {
    let mut param = None;
    let mut inject = None;
    let attributes = std::mem::take(&mut input.attrs);
    for attribute in attributes {
        let (twice, parsed) = if attribute.path().is_ident("param") {
            let parsed = parse_param(&attribute).map(|value| param.replace(value).is_some());
            ("`#[param]` is given twice", parsed)
        } else if attribute.path().is_ident("inject") {
            let parsed = parse_inject(&attribute).map(|value| inject.replace(value).is_some());
            ("`#[inject]` is given twice", parsed)
        } else {
            input.attrs.push(attribute);
            continue;
        };
        match parsed {
            Ok(false) => {}
            Ok(true) => mistakes.at(attribute.span(), twice),
            Err(error) => {
                // The parameter is what the attribute says, as far as that can be told.
                if attribute.path().is_ident("param") {
                    param.get_or_insert(Param {
                        default: ParamDefault::Required,
                    });
                } else {
                    inject.get_or_insert(Inject {
                        span: attribute.span(),
                        slot: None,
                    });
                }
                mistakes.add(error);
            }
        }
    }
    Parameter {
        pattern: (*input.pat).clone(),
        ty: (*input.ty).clone(),
        attributes: input.attrs.clone(),
        param,
        inject,
    }
}

fn parse_param(attribute: &Attribute) -> syn::Result<Param> {
    let default = match &attribute.meta {
        Meta::Path(_) => ParamDefault::Required,
        Meta::List(list) => list.parse_args_with(parse_default)?,
        Meta::NameValue(pair) => return Err(not_a_default(pair.eq_token.span)),
    };
    Ok(Param { default })
}

fn parse_default(input: ParseStream<'_>) -> syn::Result<ParamDefault> {
    if input.is_empty() {
        return Ok(ParamDefault::Required);
    }
    let start = input.span();
    if !input.parse::<Ident>().is_ok_and(|name| name == "default") {
        return Err(not_a_default(start));
    }
    if input.is_empty() {
        return Ok(ParamDefault::Implied);
    }
    input.parse::<Token![=]>()?;
    let default = input.parse()?;
    input.parse::<Option<Token![,]>>()?;
    Ok(ParamDefault::Given(default))
}

fn not_a_default(span: Span) -> syn::Error {
    syn::Error::new(
        span,
        "write `#[param]` for a value that has to be given, `#[param(default = ..)]` for one with a default, \
         `#[param(default)]` for the default of its type",
    )
}

fn parse_inject(attribute: &Attribute) -> syn::Result<Inject> {
    let slot = match attribute.meta {
        Meta::Path(_) => None,
        _ => Some(attribute.parse_args::<Type>().map_err(|error| {
            syn::Error::new(
                error.span(),
                "write `#[inject]`, or `#[inject(Slot)]` with a type of yours as the slot",
            )
        })?),
    };
    Ok(Inject {
        span: attribute.span(),
        slot,
    })
}

/// The name of a parameter as slots and hyper-parameters have it: without `r#` and leading underscores.
pub(super) fn bare_name(name: &Ident) -> String {
    name.unraw().to_string().trim_start_matches('_').to_owned()
}
