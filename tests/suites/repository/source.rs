//! The source of a crate as its modules, and every path that a module mentions.
//!
//! What is only compiled for tests (`#[cfg(test)]`) is left out: tests may look at anything.

use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, UseTree,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::tree;

/// One file of a crate.
pub struct Module {
    /// Its path within the crate, without `crate`; empty for `lib.rs`.
    pub path: Vec<String>,
    /// The file, as a path in the repository.
    pub file: String,
    /// What it holds.
    pub syntax: syn::File,
}

impl Module {
    /// A module as it might stand in the crate.
    pub fn snippet(path: &str, text: &str) -> Self {
        Self {
            path: path
                .split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            file: "snippet.rs".to_owned(),
            syntax: syn::parse_file(text).unwrap(),
        }
    }

    /// The path as text; `lib.rs` for the root.
    pub fn name(&self) -> String {
        if self.path.is_empty() {
            "lib.rs".to_owned()
        } else {
            self.path.join("::")
        }
    }

    /// Whether it is the module at `path` or inside it.
    pub fn is_within(&self, path: &str) -> bool {
        let name = self.name();
        name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with("::"))
    }
}

/// Every module of the crate whose root is the file at `root`, a path in the repository.
pub fn modules_of(root: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    load(root, Vec::new(), &mut modules);
    modules
}

fn load(file: &str, path: Vec<String>, modules: &mut Vec<Module>) {
    let syntax = syn::parse_file(&tree::read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let file_path = Path::new(file);
    let folder = match file_path.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "mod" | "main") => file_path.parent().unwrap().to_owned(),
        _ => file_path.with_extension(""),
    };
    let mut children = Vec::new();
    for item in &syntax.items {
        if let Item::Mod(item) = item
            && item.content.is_none()
            && !only_for_tests(&item.attrs)
        {
            let name = item.ident.to_string();
            let places: Vec<PathBuf> = match path_attribute(&item.attrs) {
                Some(place) => vec![file_path.parent().unwrap().join(place)],
                None => vec![
                    folder.join(format!("{name}.rs")),
                    folder.join(&name).join("mod.rs"),
                ],
            };
            let place = places
                .iter()
                .find(|place| tree::root().join(place).exists())
                .unwrap_or_else(|| panic!("{file}: the file of `mod {name}` is not found"));
            let mut path = path.clone();
            path.push(name);
            children.push((place.to_str().unwrap().to_owned(), path));
        }
    }
    modules.push(Module {
        path,
        file: file.to_owned(),
        syntax,
    });
    for (file, path) in children {
        load(&file, path, modules);
    }
}

/// What `#[path = "…"]` says.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("path"))?;
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// Whether the item exists only in a build for tests.
pub fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let condition = list.tokens.to_string().replace(' ', "");
                condition == "test" || condition.starts_with("all(test,")
            })
    })
}

/// A path that a module names.
#[derive(Debug)]
pub struct Mention {
    /// From the crate's root (`crate`, …), or from another crate.
    pub path: Vec<String>,
    /// Where.
    pub line: usize,
}

impl Mention {
    /// The path within the crate, without `crate`; `None` if it leads elsewhere.
    pub fn inside(&self) -> Option<&[String]> {
        match self.path.split_first() {
            Some((first, rest)) if first == "crate" => Some(rest),
            _ => None,
        }
    }

    /// The first name of a path that leads elsewhere: another crate, or a name that is in scope.
    pub fn outside(&self) -> Option<&str> {
        self.path
            .first()
            .map(String::as_str)
            .filter(|first| *first != "crate")
    }
}

/// Every path of two or more names in the module, `use` lines and macros included.
pub fn mentions(module: &Module) -> Vec<Mention> {
    let mut finder = Finder {
        at: module.path.clone(),
        found: Vec::new(),
    };
    finder.visit_file(&module.syntax);
    finder.found
}

struct Finder {
    /// The module that is being read; inline modules are entered.
    at: Vec<String>,
    found: Vec<Mention>,
}

impl Finder {
    fn found(&mut self, path: &[String], line: usize) {
        if path.len() > 1
            && let Some(path) = self.absolute(path)
        {
            self.found.push(Mention { path, line });
        }
    }

    /// Resolves `self` and `super`. `None` if the path leads out of the crate by `super`, or stays in the module.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = self.at.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "self" => rest = &rest[1..],
            "super" => {}
            // What generated code calls the core, in the core as well.
            "lightning_core" => {
                base.clear();
                rest = &rest[1..];
            }
            _ => return Some(path.to_vec()),
        }
        while let Some(("super", after)) = rest.split_first().map(|(first, after)| (first.as_str(), after)) {
            base.pop()?;
            rest = after;
        }
        let mut absolute = vec!["crate".to_owned()];
        absolute.extend(base);
        absolute.extend(rest.iter().cloned());
        Some(absolute)
    }

    fn use_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, before);
                }
            }
            UseTree::Name(_) | UseTree::Rename(_) | UseTree::Glob(_) => {
                let name = match tree {
                    UseTree::Name(name) => name.ident.to_string(),
                    UseTree::Rename(rename) => rename.ident.to_string(),
                    _ => "*".to_owned(),
                };
                let mut path = before.clone();
                // `use other_crate;` brings a crate in as much as a longer path does.
                if name != "self" || path.len() == 1 {
                    path.push(name);
                }
                if path.len() == 1 {
                    path.push("self".to_owned());
                }
                self.found(&path, tree.span().start().line);
            }
        }
    }

    /// Finds paths in tokens that nobody parsed: the arguments of macros and attributes.
    fn tokens(&mut self, tokens: &TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens.clone() {
            match &token {
                TokenTree::Ident(ident) => {
                    if path.is_empty() || colons != 2 {
                        self.found(&std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                _ => {
                    self.found(&std::mem::take(&mut path), line);
                    colons = 0;
                }
            }
            if let TokenTree::Group(group) = &token {
                self.tokens(&group.stream());
            }
        }
        self.found(&path, line);
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => &[],
        };
        if !only_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.found(&names, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(&call.tokens);
        visit::visit_macro(self, call);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.tokens(&list.tokens);
        visit::visit_meta_list(self, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(module: &str, text: &str) -> Vec<String> {
        mentions(&Module::snippet(module, text))
            .iter()
            .map(|mention| mention.path.join("::"))
            .collect()
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        for (text, expected) in [
            ("use crate::store::Store;", "crate::store::Store"),
            ("use crate::{store::{Store, self}};", "crate::store"),
            ("use crate::runner as hidden;", "crate::runner"),
            ("use crate::runner::*;", "crate::runner::*"),
            ("use crate::*;", "crate::*"),
            ("pub use super::super::runner::Runner;", "crate::runner::Runner"),
            ("use lightning_core::runner::Runner;", "crate::runner::Runner"),
            ("use axum;", "axum::self"),
            ("fn f() { crate::runner::go() }", "crate::runner::go"),
            ("fn f(x: &dyn crate::runner::Run) {}", "crate::runner::Run"),
            ("fn f() -> Vec<super::Peer> {}", "crate::algorithm::Peer"),
            ("impl From<crate::runner::E> for u8 {}", "crate::runner::E"),
            (
                "fn f() { call!(x, [crate::runner::Runner]) }",
                "crate::runner::Runner",
            ),
            (
                "macro_rules! m { () => { $crate::runner::go() } }",
                "crate::runner::go",
            ),
            ("#[serde(with = crate::runner::x)] struct A;", "crate::runner::x"),
            ("mod inner { use super::super::Peer; }", "crate::algorithm::Peer"),
            ("fn f() { let x = crate::runner::N; }", "crate::runner::N"),
        ] {
            let found = paths("algorithm::apo", text);
            assert!(
                found.iter().any(|path| path == expected),
                "in `{text}`: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_only_for_tests_is_left_out() {
        let text =
            "#[cfg(test)] mod tests { use crate::runner::Runner; } #[cfg(test)] use crate::runner::Other;";
        assert_eq!(paths("algorithm", text), Vec::<String>::new());
        let text = "#[cfg(any(test, feature = \"testing\"))] mod kit { use crate::runner::Runner; }";
        assert_eq!(paths("algorithm", text), ["crate::runner::Runner"]);
    }

    #[test]
    fn every_file_of_the_core_is_read() {
        let read: Vec<String> = modules_of("lightning-core/src/lib.rs")
            .into_iter()
            .map(|module| module.file)
            .collect();
        let lost: Vec<String> = tree::files(".rs")
            .into_iter()
            .filter(|file| {
                file.starts_with("lightning-core/src/") && !file.starts_with("lightning-core/src/bin/")
            })
            .filter(|file| file != "lightning-core/src/main.rs" && !file.ends_with("/tests.rs"))
            .filter(|file| !read.contains(file))
            .collect();
        assert!(
            lost.is_empty(),
            "no `mod` line leads to {lost:?}: add one, or delete the file"
        );
    }
}
