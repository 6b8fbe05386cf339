//! Errors can grow without breaking their users, and say something.

use syn::{Attribute, ItemEnum, visit::Visit};

use crate::{
    source::{self, Module},
    tree::{self, Complaint},
};

fn complaints(module: &Module) -> Vec<Complaint> {
    let mut finder = Finder(Vec::new());
    finder.visit_file(&module.syntax);
    finder
        .0
        .into_iter()
        .map(|(line, name)| {
            Complaint::at(
                format!("{}:{line}", module.file),
                format!(
                    "the public error `{name}` is not `#[non_exhaustive]`: whoever matches on it would break when it \
                     grows"
                ),
            )
        })
        .collect()
}

struct Finder(Vec<(usize, String)>);

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        let public = matches!(item.vis, syn::Visibility::Public(_));
        let open = item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("non_exhaustive"));
        if public && !open && item.attrs.iter().any(derives_error) {
            self.0
                .push((item.ident.span().start().line, item.ident.to_string()));
        }
    }
}

fn derives_error(attribute: &Attribute) -> bool {
    attribute.path().is_ident("derive")
        && attribute.meta.require_list().is_ok_and(|list| {
            let derived = list.tokens.to_string().replace(' ', "");
            derived
                .split(',')
                .any(|derived| derived == "Error" || derived == "thiserror::Error")
        })
}

#[test]
fn public_errors_can_grow() {
    let complaints: Vec<Complaint> = source::modules_of("lightning-core/src/lib.rs")
        .iter()
        .flat_map(complaints)
        .collect();
    tree::expect_none(&complaints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_public_error_is_refused() {
        for text in [
            "#[derive(Debug, thiserror::Error)] pub enum SadError { A }",
            "#[derive(Error)] pub enum SadError { A }",
        ] {
            tree::expect_one(
                &complaints(&Module::snippet("runner", text)),
                &["snippet.rs:1", "SadError"],
            );
        }
    }

    #[test]
    fn other_enums_pass() {
        for text in [
            "#[derive(Debug, thiserror::Error)] #[non_exhaustive] pub enum SadError { A }",
            "#[derive(Debug, thiserror::Error)] enum Private { A }",
            "#[derive(Debug)] pub enum Colour { Red }",
        ] {
            tree::expect_none(&complaints(&Module::snippet("runner", text)));
        }
    }
}
