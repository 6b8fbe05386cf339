//! What can be read off a type, and its forms in generated code.

use proc_macro2::Span;
use quote::ToTokens;
use syn::{
    Lifetime, Type, TypeFnPtr, TypeImplTrait, TypeReference,
    visit::{self, Visit},
    visit_mut::{self, VisitMut},
};

/// The type without the invisible groups that `macro_rules!` puts around it, and without parentheses.
pub(super) fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        ty => ty,
    }
}

/// Where the type borrows, if it does: at its first reference or lifetime other than `'static`.
pub(super) fn borrowed(ty: &Type) -> Option<Span> {
    struct Find(Option<Span>);

    impl<'ast> Visit<'ast> for Find {
        fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
            if reference
                .lifetime
                .as_ref()
                .is_none_or(|lifetime| lifetime.ident != "static")
            {
                self.0.get_or_insert(reference.and_token.span);
            }
            visit::visit_type_reference(self, reference);
        }

        fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert(lifetime.span());
            }
        }

        // What a function pointer borrows, it borrows when it is called.
        fn visit_type_fn_ptr(&mut self, _: &'ast TypeFnPtr) {}
    }

    let mut find = Find(None);
    find.visit_type(ty);
    find.0
}

/// The first `impl Trait` in the type.
pub(super) fn impl_trait(ty: &Type) -> Option<&TypeImplTrait> {
    struct Find<'ast>(Option<&'ast TypeImplTrait>);

    impl<'ast> Visit<'ast> for Find<'ast> {
        fn visit_type_impl_trait(&mut self, hidden: &'ast TypeImplTrait) {
            self.0.get_or_insert(hidden);
        }
    }

    let mut find = Find(None);
    find.visit_type(ty);
    find.0
}

/// The type with its lifetimes left to be inferred: those that the function names mean nothing in generated code.
pub(super) fn elided(ty: &Type) -> Type {
    struct Elide;

    impl VisitMut for Elide {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                *lifetime = Lifetime::new("'_", lifetime.span());
            }
        }

        fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
    }

    let mut ty = ty.clone();
    Elide.visit_type_mut(&mut ty);
    ty
}

/// The type with every lifetime made `'static`, for places where none can be inferred.
pub(super) fn immortal(ty: &Type) -> Type {
    struct Immortal;

    impl VisitMut for Immortal {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            *lifetime = Lifetime::new("'static", lifetime.span());
        }

        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            reference.lifetime = Some(Lifetime::new("'static", reference.and_token.span));
            visit_mut::visit_type_reference_mut(self, reference);
        }

        fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
    }

    let mut ty = ty.clone();
    Immortal.visit_type_mut(&mut ty);
    ty
}

/// The name at the end of the type's path: `Option` for `std::option::Option<u8>`.
pub(super) fn last_name(ty: &Type) -> Option<String> {
    match ungroup(ty) {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

/// The type as a user would write it.
pub(super) fn text(ty: &impl ToTokens) -> String {
    let spaced = ty.to_token_stream().to_string();
    let mut text = String::with_capacity(spaced.len());
    let mut words = spaced.split_whitespace().peekable();
    while let Some(word) = words.next() {
        text.push_str(word);
        if let Some(next) = words.peek()
            && !opens(word)
            && !closes(next)
        {
            text.push(' ');
        }
    }
    text
}

fn opens(word: &str) -> bool {
    word.ends_with(['<', '&', '(', '[']) || word.ends_with("::") || word == "fn"
}

fn closes(word: &str) -> bool {
    word.starts_with(['<', '>', ',', ')', ']', ';', ':'])
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn a_type_reads_as_it_was_written() {
        for written in [
            "Arc<dyn Store>",
            "&dyn Store",
            "Option<Arc<dyn TraceAdapter<Output = Vec<f64>>>>",
            "&'a [Question]",
            "std::sync::Arc<[T]>",
            "(u8, [u8; 4])",
        ] {
            assert_eq!(text(&syn::parse_str::<Type>(written).unwrap()), written);
        }
    }

    #[test]
    fn lifetimes_are_left_out_or_made_static_but_not_those_of_function_pointers() {
        let ty: Type = parse_quote!(Option<&'a Wrap<'a, fn(&'b u8)>>);
        assert_eq!(text(&elided(&ty)), "Option<&'_ Wrap<'_, fn(&'b u8)>>");
        let ty: Type = parse_quote!(Option<&[T]>);
        assert_eq!(text(&immortal(&ty)), "Option<&'static [T]>");
    }

    #[test]
    fn static_references_do_not_borrow() {
        assert!(borrowed(&parse_quote!(&'static str)).is_none());
        assert!(borrowed(&parse_quote!(fn(&str) -> &str)).is_none());
        assert!(borrowed(&parse_quote!(Option<&str>)).is_some());
        assert!(borrowed(&parse_quote!(Cow<'a, str>)).is_some());
    }
}
