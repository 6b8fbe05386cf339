//! What the library logs goes under targets that its users can read about.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Expr, ExprLit, Item, Lit, Macro,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::{
    source::{self, Module},
    tree::{self, Complaint},
};

/// Where the targets are listed, each in the first column of a table.
const LISTS: [&str; 2] = ["lightning-core/src/logging/mod.rs", "docs/src/watch-a-run.md"];
/// The macros of `tracing` that make events.
const EVENTS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "event"];

/// The targets that a text lists.
fn listed(text: &str) -> BTreeSet<String> {
    let target = |line: &str| {
        let row = line
            .trim_start_matches("//!")
            .trim()
            .strip_prefix("| `lightning::")?;
        Some(format!("lightning::{}", row.split_once('`')?.0))
    };
    text.lines().filter_map(target).collect()
}

/// The events of a module, by line: under which target they are, or what is wrong with it.
fn targets(module: &Module) -> BTreeMap<usize, Result<String, &'static str>> {
    let mut finder = Finder {
        constants: BTreeMap::new(),
        found: BTreeMap::new(),
    };
    for item in &module.syntax.items {
        if let Item::Const(item) = item
            && let Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) = &*item.expr
        {
            finder.constants.insert(item.ident.to_string(), text.value());
        }
    }
    finder.visit_file(&module.syntax);
    finder.found
}

struct Finder {
    constants: BTreeMap<String, String>,
    found: BTreeMap<usize, Result<String, &'static str>>,
}

impl Finder {
    fn target(&self, tokens: TokenStream) -> Result<String, &'static str> {
        let mut tokens = tokens.into_iter();
        let named = matches!(tokens.next(), Some(TokenTree::Ident(name)) if name == "target");
        match (named, tokens.nth(1)) {
            (true, Some(TokenTree::Literal(literal))) => Ok(literal.to_string().trim_matches('"').to_owned()),
            (true, Some(TokenTree::Ident(constant))) => {
                let value = self.constants.get(&constant.to_string());
                value
                    .cloned()
                    .ok_or("its target is not a text, nor a constant of this file")
            }
            _ => Err("it has no target: begin with `target: \"lightning::…\"`"),
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !source::only_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let path: Vec<String> = call
            .path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if path.len() == 2 && path[0] == "tracing" && EVENTS.contains(&&*path[1]) {
            self.found
                .insert(call.span().start().line, self.target(call.tokens.clone()));
        }
        visit::visit_macro(self, call);
    }
}

fn complaints(modules: &[Module], lists: &[(&str, String)]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for module in modules {
        for (line, target) in targets(module) {
            let place = format!("{}:{line}", module.file);
            match target {
                Err(problem) => complaints.push(Complaint::at(place, problem)),
                Ok(target) => {
                    for (list, _) in lists.iter().filter(|(_, text)| !listed(text).contains(&target)) {
                        complaints.push(Complaint::at(
                            &place,
                            format!("the target `{target}` is not listed in {list}"),
                        ));
                    }
                    used.insert(target);
                }
            }
        }
    }
    for (list, text) in lists {
        for target in listed(text).difference(&used) {
            complaints.push(Complaint::at(
                list,
                format!("nothing is logged under `{target}`: take it out"),
            ));
        }
    }
    complaints
}

#[test]
fn every_target_of_the_logs_is_documented() {
    let modules = source::modules_of("lightning-core/src/lib.rs");
    let lists = LISTS.map(|list| (list, tree::read(list)));
    tree::expect_none(&complaints(&modules, &lists));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<Complaint> {
        let list = "//! | target | logged there |\n//! | `lightning::run` | runs |".to_owned();
        complaints(&[Module::snippet("run", text)], &[("list.md", list)])
    }

    #[test]
    fn documented_targets_pass() {
        for text in [
            "fn f() { tracing::warn!(target: \"lightning::run\", \"gone\") }",
            "const T: &str = \"lightning::run\"; fn f() { tracing::info!(target: T, id = 1, \"gone\") }",
            "fn f() { tracing::info!(target: \"lightning::run\", \"1\") } #[cfg(test)] mod tests { fn g() { tracing::info!(\"2\") } }",
        ] {
            tree::expect_none(&check(text));
        }
    }

    #[test]
    fn events_without_a_documented_target_are_refused() {
        let fine = "tracing::warn!(target: \"lightning::run\", \"gone\")";
        for (event, said) in [
            ("tracing::warn!(\"gone\")", "it has no target"),
            ("tracing::warn!(target: OTHER, \"gone\")", "nor a constant"),
            (
                "tracing::debug!(target: \"lightning::other\", \"gone\")",
                "is not listed in list.md",
            ),
        ] {
            tree::expect_one(
                &check(&format!("fn f() {{ {fine};\n{event} }}")),
                &["snippet.rs:2", said],
            );
        }
    }

    #[test]
    fn targets_that_nobody_uses_are_refused() {
        tree::expect_one(&check("fn f() {}"), &["list.md", "lightning::run"]);
    }
}
