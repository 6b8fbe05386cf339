//! Syntax → what each parameter means. Every mistake that tokens can show is found here.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Expr, FnArg, GenericParam, Generics, Ident, Lifetime, LitStr, Pat, PatIdent, Path, ReturnType,
    Safety, Type, TypeParamBound, Visibility, WherePredicate, ext::IdentExt, parse_quote,
    parse_quote_spanned, spanned::Spanned, visit::Visit,
};

use super::{
    Kind, Mistakes,
    parse::{Inject, Param, ParamDefault, Parameter, Parsed, bare_name},
    slots::{self, Fills, Slot},
    types,
};

/// Everything that the expansion needs to know.
pub(super) struct Model {
    pub(super) kind: Kind,
    pub(super) krate: Path,
    pub(super) version: Option<LitStr>,
    /// The function as it is emitted.
    pub(super) function: TokenStream,
    pub(super) name: Ident,
    pub(super) asynchronous: bool,
    pub(super) visibility: Visibility,
    /// The name of the generated type.
    pub(super) handle: Ident,
    /// `cfg`, `allow` and `deprecated` of the function.
    pub(super) attributes: Vec<Attribute>,
    /// Those of the function, without lifetimes.
    pub(super) generics: Generics,
    pub(super) arguments: Vec<Argument>,
    /// What the function returns, without lifetimes.
    pub(super) output: Type,
    pub(super) is_result: IsResult,
    pub(super) mistakes: Mistakes,
    /// Whether there is any use in a generated type: not for a method, beside which no type can stand.
    pub(super) expandable: bool,
}

/// Whether the function returns a `Result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsResult {
    /// Its tokens say so.
    Yes,
    /// Its tokens say no, or nobody can tell since it is generic.
    No,
    /// The type may be an alias: the compiler has to be asked.
    Ask,
}

/// A parameter whose meaning is known.
pub(super) struct Argument {
    /// As users of the generated type see it.
    pub(super) name: String,
    pub(super) ty: Type,
    pub(super) role: Role,
}

/// Where the value of a parameter comes from.
pub(super) enum Role {
    /// One of the core's slots, through this trait of the core's.
    Slot { slot: &'static str, fits: &'static str },
    /// A dataset: which one, and how the core calls it.
    Dataset {
        slot: &'static str,
        variant: &'static str,
    },
    /// The task of the rollout; its type without the reference.
    Task { ty: Type, by_reference: bool },
    /// `#[inject]`
    ByType,
    /// `#[inject(Slot)]`
    OwnSlot(Type),
    /// `#[param]`
    Param { field: Ident, default: Default },
}

/// The default of a hyper-parameter.
pub(super) enum Default {
    Required,
    Implied,
    Text(LitStr),
    Value(Expr),
}

/// Finds out what everything means.
pub(super) fn model(parsed: Parsed) -> Model {
    let Parsed {
        kind,
        options,
        mut attributes,
        visibility,
        signature,
        body,
        parameters,
        mut mistakes,
    } = parsed;
    let asynchronous = signature.asyncness.is_some();

    refuse_qualifiers(kind, &signature, &mut mistakes);
    let is_method = refuse_self(kind, &signature, &mut mistakes);
    let mut reader = Reader {
        kind,
        asynchronous,
        seen: Vec::new(),
        mistakes: &mut mistakes,
    };
    let arguments: Vec<Argument> = parameters
        .into_iter()
        .filter_map(|parameter| reader.argument(parameter))
        .collect();
    let generics = without_lifetimes(&signature.generics, &mut mistakes);
    let output = output(kind, &signature, &mut mistakes);
    let is_result = if types::last_name(&output).is_some_and(|name| name == "Result") {
        IsResult::Yes
    } else if !generics.params.is_empty() || matches!(&output, Type::Tuple(tuple) if tuple.elems.is_empty()) {
        IsResult::No
    } else {
        IsResult::Ask
    };

    let kept = ["cfg", "allow", "deprecated"];
    let on_handle = attributes
        .iter()
        .filter(|attribute| kept.iter().any(|name| attribute.path().is_ident(name)))
        .cloned()
        .collect();
    if attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("doc"))
    {
        let docs = documentation(kind, &signature.ident, &arguments);
        attributes.extend(
            docs.iter()
                .map(|line| -> Attribute { parse_quote!(#[doc = #line]) }),
        );
    }
    Model {
        kind,
        krate: options.krate,
        version: options.version,
        function: quote!(#(#attributes)* #visibility #signature #body),
        asynchronous,
        visibility,
        handle: options.handle.unwrap_or_else(|| signature.ident.clone()),
        name: signature.ident,
        attributes: on_handle,
        generics,
        arguments,
        output,
        is_result,
        mistakes,
        expandable: !is_method,
    }
}

fn refuse_qualifiers(kind: Kind, signature: &syn::Signature, mistakes: &mut Mistakes) {
    let attribute = kind.attribute();
    if let Some(token) = &signature.constness {
        mistakes.at(
            token.span(),
            format!("`{attribute}` does not go on a `const` function: remove `const`"),
        );
    }
    if let Safety::Unsafe(token) = &signature.safety {
        mistakes.at(
            token.span(),
            format!("`{attribute}` does not go on an `unsafe` function: the trainer calls it and cannot promise anything"),
        );
    }
    if let Some(abi) = &signature.abi {
        mistakes.at(
            abi.span(),
            format!("`{attribute}` does not go on an `extern` function: remove `extern`"),
        );
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.at(
            variadic.span(),
            format!("`{attribute}` does not go on a variadic function: name each parameter"),
        );
    }
}

fn refuse_self(kind: Kind, signature: &syn::Signature, mistakes: &mut Mistakes) -> bool {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return false;
    };
    mistakes.at(
        receiver.span(),
        format!(
            "`{}` goes on a free function, not on a method\n\
             move it out of the `impl`, and take what it needs of `self` as `#[param]` or `#[inject]` parameters",
            kind.attribute()
        ),
    );
    true
}

/// Reads parameters one after the other.
struct Reader<'a> {
    kind: Kind,
    asynchronous: bool,
    seen: Vec<String>,
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    /// What the parameter means, or nothing, if that cannot be told.
    fn argument(&mut self, parameter: Parameter) -> Option<Argument> {
        let conditional = |attribute: &&Attribute| {
            attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
        };
        if let Some(attribute) = parameter.attributes.iter().find(conditional) {
            self.mistakes.at(
                attribute.span(),
                "a single parameter cannot be conditional: write two functions, each with its own `#[cfg]`",
            );
        }
        let ident = self.plain_name(&parameter.pattern)?;
        if let Some(hidden) = types::impl_trait(&parameter.ty) {
            self.mistakes.at(
                hidden.span(),
                "write the type itself: for `impl Trait` nobody could say which type to hand over",
            );
            return None;
        }
        let name = bare_name(&ident);
        if self.seen.contains(&name) {
            self.mistakes.at(
                ident.span(),
                format!("`{name}` is asked for twice: remove one of the two"),
            );
            return None;
        }
        self.seen.push(name.clone());

        let slot = slots::find(self.kind, &name);
        let ty = types::ungroup(&parameter.ty).clone();
        let role = match (parameter.param, parameter.inject) {
            (Some(_), Some(inject)) => {
                self.mistakes.at(
                    inject.span,
                    "a parameter is either a `#[param]` or an `#[inject]`: remove one of the two",
                );
                return None;
            }
            (Some(param), None) => self.param(&ident, &name, slot, &ty, param)?,
            (None, Some(inject)) => self.own(&ident, slot, &ty, inject)?,
            (None, None) => self.slot(&ident, &name, slot, &ty)?,
        };
        Some(Argument { name, ty, role })
    }

    fn plain_name(&mut self, pattern: &Pat) -> Option<Ident> {
        if let Pat::Ident(PatIdent {
            ident,
            by_ref: None,
            subpat: None,
            ..
        }) = pattern
        {
            return Some(ident.clone());
        }
        self.mistakes.at(
            pattern.span(),
            "write a plain name here: it says what is handed over; take the value apart in the body",
        );
        None
    }

    fn param(
        &mut self,
        ident: &Ident,
        name: &str,
        slot: Option<&Slot>,
        ty: &Type,
        param: Param,
    ) -> Option<Role> {
        let product = self.kind.product();
        if slot.is_some() {
            self.mistakes.at(
                ident.span(),
                format!("`{name}` is a slot and cannot be a `#[param]`: give the parameter another name"),
            );
            return None;
        }
        if name == product {
            self.mistakes.at(
                ident.span(),
                format!("a `#[param]` cannot be called `{product}`: that is how the {product} is made"),
            );
            return None;
        }
        if let Some(span) = types::borrowed(ty) {
            self.mistakes.at(
                span,
                format!("the {product} keeps the value of a `#[param]`: write an owned type, such as `String` for `&str`"),
            );
            return None;
        }
        Some(Role::Param {
            field: field(name, ident.span()),
            default: match param.default {
                ParamDefault::Required => Default::Required,
                ParamDefault::Implied => Default::Implied,
                ParamDefault::Given(Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                })) => Default::Text(text),
                ParamDefault::Given(value) => Default::Value(value),
            },
        })
    }

    fn own(&mut self, ident: &Ident, slot: Option<&Slot>, ty: &Type, inject: Inject) -> Option<Role> {
        if let Some(slot) = slot {
            self.mistakes.at(
                ident.span(),
                format!(
                    "`{}` is a slot already: remove `#[inject]`, or give the parameter another name",
                    slot.name
                ),
            );
            return None;
        }
        self.refuse_borrowed(ty, None);
        Some(inject.slot.map_or(Role::ByType, Role::OwnSlot))
    }

    fn slot(&mut self, ident: &Ident, name: &str, slot: Option<&'static Slot>, ty: &Type) -> Option<Role> {
        let Some(slot) = slot else {
            self.mistakes.at(ident.span(), slots::unknown(self.kind, name));
            return None;
        };
        Some(match slot.fills {
            Fills::Trait(fits) => {
                self.refuse_borrowed(ty, Some(slot));
                Role::Slot {
                    slot: slot.name,
                    fits,
                }
            }
            Fills::Dataset(variant) => {
                self.refuse_borrowed(ty, Some(slot));
                Role::Dataset {
                    slot: slot.name,
                    variant,
                }
            }
            Fills::Task => self.task(ty)?,
        })
    }

    fn task(&mut self, ty: &Type) -> Option<Role> {
        let (task, by_reference) = match ty {
            Type::Reference(reference) => (types::ungroup(&reference.elem).clone(), true),
            ty => (ty.clone(), false),
        };
        let unsized_task = match &task {
            Type::Slice(slice) => Some(format!("&Vec<{}>", types::text(&slice.elem))),
            Type::Path(path) if path.path.is_ident("str") => Some("&String".to_owned()),
            _ => None,
        };
        if let Some(instead) = unsized_task {
            self.mistakes.at(
                ty.span(),
                format!("a task is a value that can be read from the store: write `{instead}`"),
            );
            return None;
        }
        if let Some(span) = types::borrowed(&task) {
            self.mistakes.at(
                span,
                "a task is read from the store and borrows from nothing: write `task: T` or `task: &T` with an owned type",
            );
            return None;
        }
        Some(Role::Task {
            ty: task,
            by_reference,
        })
    }

    /// A synchronous function runs on another thread, which may outlive what it would borrow.
    fn refuse_borrowed(&mut self, ty: &Type, slot: Option<&Slot>) {
        if self.asynchronous {
            return;
        }
        if let Some(span) = types::borrowed(ty) {
            let instead = slot.map_or_else(|| "an owned type".to_owned(), |slot| format!("`{}`", slot.owned));
            self.mistakes.at(
                span,
                format!(
                    "a function that is not `async` runs on a thread of its own and cannot borrow: \
                     write {instead}, or make it an `async fn`"
                ),
            );
        }
    }
}

/// The field and the builder method of a hyper-parameter.
fn field(name: &str, span: Span) -> Ident {
    match syn::parse_str::<Ident>(name) {
        Ok(_) => Ident::new(name, span),
        Err(_) if syn::parse_str::<Ident>(&format!("r#{name}")).is_ok() => Ident::new_raw(name, span),
        Err(_) => Ident::new(&format!("_{name}"), span),
    }
}

/// The generics without lifetimes: generated code names none, since each value has the lifetime of the scope.
fn without_lifetimes(generics: &Generics, mistakes: &mut Mistakes) -> Generics {
    let mut kept = generics.clone();
    let is_lifetime = |parameter: &GenericParam| matches!(parameter, GenericParam::Lifetime(_));
    kept.params = kept
        .params
        .into_iter()
        .filter(|parameter| !is_lifetime(parameter))
        .collect();
    for parameter in kept.type_params_mut() {
        parameter.bounds = owned_bounds(&parameter.bounds);
    }
    if let Some(clause) = &mut kept.where_clause {
        clause.predicates = std::mem::take(&mut clause.predicates)
            .into_iter()
            .filter(|predicate| !matches!(predicate, WherePredicate::Lifetime(_)))
            .collect();
        for predicate in &mut clause.predicates {
            if let WherePredicate::Type(predicate) = predicate {
                predicate.bounds = owned_bounds(&predicate.bounds);
            }
        }
    }

    let mut find = Named {
        lifetimes: generics
            .lifetimes()
            .map(|parameter| &parameter.lifetime)
            .collect(),
        found: None,
    };
    find.visit_generics(&kept);
    if let Some(clause) = &kept.where_clause {
        find.visit_where_clause(clause);
    }
    if let Some(lifetime) = find.found {
        mistakes.at(
            lifetime.span(),
            format!("a bound cannot name the lifetime `{lifetime}`: what is injected lives for some part of the run"),
        );
        kept = Generics::default();
    }
    kept
}

type Bounds = syn::punctuated::Punctuated<TypeParamBound, syn::Token![+]>;

fn owned_bounds(bounds: &Bounds) -> Bounds {
    bounds
        .iter()
        .filter(|bound| !matches!(bound, TypeParamBound::Lifetime(_)))
        .cloned()
        .collect()
}

struct Named<'a> {
    lifetimes: Vec<&'a Lifetime>,
    found: Option<Lifetime>,
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if self.lifetimes.iter().any(|known| known.ident == lifetime.ident) {
            self.found.get_or_insert_with(|| lifetime.clone());
        }
    }
}

/// What the function returns; `()` where that cannot be used.
fn output(kind: Kind, signature: &syn::Signature, mistakes: &mut Mistakes) -> Type {
    let unit = || parse_quote_spanned!(signature.ident.span()=> ());
    let ReturnType::Type(_, ty) = &signature.output else {
        return unit();
    };
    let ty = types::ungroup(ty);
    if let Some(hidden) = types::impl_trait(ty) {
        let is_future = types_in(&hidden.bounds).any(|name| name == "Future");
        let instead = if is_future {
            "write an `async fn` that returns what the future returns".to_owned()
        } else {
            format!(
                "write the type that is returned: `{}` has to know it",
                kind.attribute()
            )
        };
        mistakes.at(hidden.span(), instead);
        return unit();
    }
    if let Some(span) = types::borrowed(ty) {
        mistakes.at(
            span,
            "the result outlives what the function borrows: return an owned value",
        );
        return unit();
    }
    types::immortal(ty)
}

fn types_in(bounds: &Bounds) -> impl Iterator<Item = String> {
    bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string()),
        _ => None,
    })
}

/// What is said of the hyper-parameters in the function's documentation, since the generated type is hidden.
fn documentation(kind: Kind, name: &Ident, arguments: &[Argument]) -> Vec<String> {
    let product = kind.product();
    let parameters: Vec<String> = arguments
        .iter()
        .filter_map(|argument| match &argument.role {
            Role::Param { field, default } => {
                let ty = types::text(&argument.ty);
                let default = match default {
                    Default::Required => " (argument of `".to_owned() + product + "`)",
                    Default::Implied => " (default: that of its type)".to_owned(),
                    Default::Text(text) => format!(" (default: `{}`)", text.to_token_stream()),
                    Default::Value(value) => {
                        format!(" (default: `{}`)", types::text(&value.to_token_stream()))
                    }
                };
                Some(format!(" - `{}: {ty}`{default}", field.unraw()))
            }
            _ => None,
        })
        .collect();
    if parameters.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        String::new(),
        " # Parameters".to_owned(),
        String::new(),
        format!(" Set on `{}::{product}(..)`:", name.unraw()),
        String::new(),
    ];
    lines.extend(parameters);
    lines
}
