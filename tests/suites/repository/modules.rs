//! Which module of the core may use which, as the table in `ARCHITECTURE.md` says.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, UseTree, visit::Visit};

use crate::{
    source::{self, Module},
    tree::{self, Complaint},
};

const ROOT: &str = "lightning-core/src/lib.rs";
const TABLE: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Modules of lightning-core";

/// A row of the table.
#[derive(Debug)]
struct Row {
    module: String,
    planned: bool,
    may_use: Vec<String>,
    line: usize,
}

/// Reads the table. Its second column is `–`, a list of modules, or `everything above`, perhaps with `but` and a list.
fn rows(markdown: &str) -> Result<Vec<Row>, Vec<Complaint>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut complaints = Vec::new();
    let lines = markdown
        .lines()
        .enumerate()
        .skip_while(|(_, line)| *line != HEADING)
        .skip_while(|(_, line)| !line.starts_with("| `"))
        .take_while(|(_, line)| line.starts_with('|'));
    for (at, line) in lines {
        let place = format!("{TABLE}:{}", at + 1);
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (Some(first), Some(second)) = (cells.get(1), cells.get(2)) else {
            complaints.push(Complaint::at(
                place,
                "a row has the cells `module`, `may use` and a purpose",
            ));
            continue;
        };
        let above: Vec<String> = rows.iter().map(|row| row.module.clone()).collect();
        let named = quoted(second);
        for name in named.iter().filter(|name| !above.contains(name)) {
            complaints.push(Complaint::at(
                &place,
                format!("`{name}` is not above: a module uses only what stands above it; move the row, or drop the name"),
            ));
        }
        let may_use = if second.starts_with("everything above") {
            above.into_iter().filter(|name| !named.contains(name)).collect()
        } else if *second == "–" || !named.is_empty() {
            named
        } else {
            complaints.push(Complaint::at(
                place,
                "the second cell is `–`, a list of modules in backticks, or `everything above [but …]`",
            ));
            continue;
        };
        rows.push(Row {
            module: quoted(first).concat(),
            planned: first.contains("planned"),
            may_use,
            line: at + 1,
        });
    }
    if rows.is_empty() {
        complaints.push(Complaint::at(
            TABLE,
            format!("there is no table of modules under `{HEADING}`"),
        ));
    }
    if complaints.is_empty() {
        Ok(rows)
    } else {
        Err(complaints)
    }
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every use of a module that its row does not allow, and every module without a row.
fn layering(rows: &[Row], modules: &[Module]) -> Vec<Complaint> {
    let exists: BTreeSet<&str> = modules
        .iter()
        .filter_map(|module| module.path.first().map(String::as_str))
        .collect();
    let mut complaints: Vec<Complaint> = rows
        .iter()
        .filter(|row| row.planned && exists.contains(row.module.as_str()))
        .map(|row| {
            Complaint::at(
                format!("{TABLE}:{}", row.line),
                format!(
                    "the module `{}` exists: take `planned` out of its row",
                    row.module
                ),
            )
        })
        .collect();
    complaints.extend(
        rows.iter()
            .filter(|row| !row.planned && !exists.contains(row.module.as_str()))
            .map(|row| {
                Complaint::at(
                    format!("{TABLE}:{}", row.line),
                    format!(
                        "there is no module `{}`: write `planned` behind it, or drop the row",
                        row.module
                    ),
                )
            }),
    );
    for name in exists
        .iter()
        .filter(|name| !rows.iter().any(|row| row.module == **name))
    {
        complaints.push(Complaint::at(
            format!("lightning-core/src/{name}"),
            format!(
                "the module has no row in the table under `{HEADING}` in {TABLE}: add one at its place in the \
                 reading order, with the modules that it may use"
            ),
        ));
    }
    let roots = root_names(modules);
    for module in modules {
        let Some(row) = module
            .path
            .first()
            .and_then(|top| rows.iter().find(|row| row.module == *top))
        else {
            continue;
        };
        for mention in source::mentions(module) {
            let Some([first, ..]) = mention.inside() else {
                continue;
            };
            let place = format!("{}:{}", module.file, mention.line);
            let used = if exists.contains(first.as_str()) {
                first
            } else {
                match roots.get(first) {
                    Some(Some(used)) => used,
                    Some(None) => continue,
                    None => {
                        complaints.push(Complaint::at(
                            place,
                            format!(
                                "`{}` does not lead to a module: name the module that defines it",
                                mention.path.join("::")
                            ),
                        ));
                        continue;
                    }
                }
            };
            if *used != row.module && !row.may_use.contains(used) {
                complaints.push(Complaint::at(
                    place,
                    format!(
                        "`{}` must not use `{used}` (`{}`): move the code to where it belongs; if the rule is wrong, \
                         the row of `{}` at {TABLE}:{} is the place to change it",
                        row.module,
                        mention.path.join("::"),
                        row.module,
                        row.line,
                    ),
                ));
            }
        }
    }
    complaints
}

/// What `crate::NAME` leads to where it is not a module: a re-export or an exported macro. `None`: another crate.
fn root_names(modules: &[Module]) -> BTreeMap<String, Option<String>> {
    let mut names = BTreeMap::new();
    for module in modules {
        if let Some(top) = module.path.first() {
            let mut macros = ExportedMacros(Vec::new());
            macros.visit_file(&module.syntax);
            names.extend(macros.0.into_iter().map(|name| (name, Some(top.clone()))));
            continue;
        }
        for item in &module.syntax.items {
            if let Item::Use(item) = item {
                reexports(&item.tree, &mut Vec::new(), modules, &mut names);
            }
        }
    }
    names
}

struct ExportedMacros(Vec<String>);

impl<'ast> Visit<'ast> for ExportedMacros {
    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let exported = item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("macro_export"));
        self.0
            .extend(item.ident.as_ref().filter(|_| exported).map(ToString::to_string));
    }
}

fn reexports(
    tree: &UseTree,
    before: &mut Vec<String>,
    modules: &[Module],
    names: &mut BTreeMap<String, Option<String>>,
) {
    let name = match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            reexports(&path.tree, before, modules, names);
            before.pop();
            return;
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                reexports(tree, before, modules, names);
            }
            return;
        }
        UseTree::Name(name) => &name.ident,
        UseTree::Rename(rename) => &rename.rename,
        _ => return,
    };
    let origin = before
        .iter()
        .find(|part| !matches!(part.as_str(), "crate" | "self"))
        .cloned();
    let inside = origin.filter(|origin| modules.iter().any(|module| module.path.first() == Some(origin)));
    names.insert(name.to_string(), inside);
}

/// The invariants that no row of the table can lift.
fn invariants(modules: &[Module]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let apart = [
        ("algorithm", "runner", "they meet only through the store"),
        ("runner", "algorithm", "they meet only through the store"),
        (
            "store::memory",
            "store::sqlite",
            "backends do not import one another",
        ),
        (
            "store::memory",
            "store::postgres",
            "backends do not import one another",
        ),
        (
            "store::sqlite",
            "store::memory",
            "backends do not import one another",
        ),
        (
            "store::sqlite",
            "store::postgres",
            "backends do not import one another",
        ),
        (
            "store::postgres",
            "store::memory",
            "backends do not import one another",
        ),
        (
            "store::postgres",
            "store::sqlite",
            "backends do not import one another",
        ),
        (
            "store::lifecycle",
            "clock",
            "the lifecycle is pure: it is given the time",
        ),
        (
            "store::lifecycle",
            "ids",
            "the lifecycle is pure: it is given the ids",
        ),
    ];
    for module in modules {
        for mention in source::mentions(module) {
            let place = format!("{}:{}", module.file, mention.line);
            let Some(inside) = mention.inside() else {
                let pure = ["crate", "serde_json", "std"];
                let first = mention.outside().unwrap_or_default();
                let lower = first.starts_with(|c: char| c.is_ascii_lowercase());
                if module.is_within("store::lifecycle") && lower && !pure.contains(&first) {
                    complaints.push(Complaint::at(
                        place,
                        format!("the lifecycle is pure: it names none but std and serde_json, not `{first}`"),
                    ));
                }
                continue;
            };
            let target = inside.join("::");
            for (from, to, why) in apart {
                let reached =
                    target == to || target.strip_prefix(to).is_some_and(|rest| rest.starts_with("::"));
                if module.is_within(from) && reached {
                    complaints.push(Complaint::at(
                        &place,
                        format!("`{from}` must never name `{to}`: {why}"),
                    ));
                }
            }
        }
        if module.is_within("wire") {
            continue;
        }
        let wire: BTreeSet<String> = source::mentions(module)
            .iter()
            .filter(|mention| {
                mention
                    .inside()
                    .is_some_and(|path| path.first().is_some_and(|top| top == "wire"))
            })
            .filter_map(|mention| mention.path.last().cloned())
            .collect();
        let mut traits = WireInTraits {
            wire: &wire,
            found: Vec::new(),
            inside: false,
        };
        traits.visit_file(&module.syntax);
        complaints.extend(traits.found.into_iter().map(|(line, name)| {
            Complaint::at(
                format!("{}:{line}", module.file),
                format!("the wire type `{name}` stands in a trait: traits speak the types of `types`; convert at the edge"),
            )
        }));
    }
    complaints
}

/// Finds names of `wire` in the declarations of traits.
struct WireInTraits<'a> {
    wire: &'a BTreeSet<String>,
    found: Vec<(usize, String)>,
    inside: bool,
}

impl<'ast> Visit<'ast> for WireInTraits<'_> {
    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside = true;
        syn::visit::visit_item_trait(self, item);
        self.inside = false;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let name = path
            .segments
            .last()
            .filter(|_| self.inside)
            .map(|last| last.ident.to_string());
        let through = path.segments.iter().any(|segment| segment.ident == "wire") && self.inside;
        if let Some(name) = name.filter(|name| through || self.wire.contains(name)) {
            self.found
                .push((path.segments[0].ident.span().start().line, name));
        }
        syn::visit::visit_path(self, path);
    }
}

#[test]
fn modules_use_only_what_the_architecture_lets_them() {
    match rows(&tree::read(TABLE)) {
        Ok(rows) => tree::expect_none(&layering(&rows, &source::modules_of(ROOT))),
        Err(complaints) => tree::expect_none(&complaints),
    }
}

#[test]
fn the_invariants_of_the_architecture_hold() {
    tree::expect_none(&invariants(&source::modules_of(ROOT)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(body: &str) -> String {
        format!(
            "{HEADING}\n\nWords.\n\n| module | may use | what |\n|---|---|---|\n{body}\nMore words.\n| `not` | – | a row |\n"
        )
    }

    fn example() -> Vec<Row> {
        rows(&table(
            "| `types` | – | data |\n| `store` | `types` | kept |\n| `runner` | everything above | runs |\n\
             | `algorithm` | everything above but `runner` | thinks |\n",
        ))
        .unwrap()
    }

    /// Modules with nothing in them, so that no row lacks its module.
    fn with(module: Module) -> Vec<Module> {
        let mut modules: Vec<Module> = ["types", "store", "runner", "algorithm"]
            .map(|path| Module::snippet(path, ""))
            .into();
        modules.push(module);
        modules
    }

    #[test]
    fn the_table_is_read() {
        let rows = example();
        let may_use: Vec<(&str, Vec<&str>)> = rows
            .iter()
            .map(|row| {
                (
                    row.module.as_str(),
                    row.may_use.iter().map(String::as_str).collect(),
                )
            })
            .collect();
        assert_eq!(
            may_use,
            [
                ("types", vec![]),
                ("store", vec!["types"]),
                ("runner", vec!["types", "store"]),
                ("algorithm", vec!["types", "store"])
            ]
        );
    }

    #[test]
    fn a_table_that_is_out_of_order_or_missing_is_refused() {
        let complaints = rows(&table("| `store` | `types` | kept |\n| `types` | – | data |\n")).unwrap_err();
        tree::expect_one(&complaints, &["ARCHITECTURE.md:7", "`types` is not above"]);
        let complaints = rows(&table("| `store` | whatever | kept |\n")).unwrap_err();
        assert!(!complaints.is_empty());
        tree::expect_one(&rows("# Nothing").unwrap_err(), &["no table of modules"]);
    }

    #[test]
    fn a_use_of_a_module_below_is_refused() {
        for text in [
            "use crate::runner::Runner;",
            "pub use super::runner::Runner;",
            "fn f() { crate::runner::go() }",
            "fn f() { call!(crate::runner::go) }",
        ] {
            let complaints = layering(&example(), &with(Module::snippet("store", text)));
            tree::expect_one(
                &complaints,
                &[
                    "snippet.rs:1",
                    "`store` must not use `runner`",
                    "ARCHITECTURE.md:8",
                ],
            );
        }
        let complaints = layering(
            &example(),
            &with(Module::snippet("store", "use crate::types::Span;")),
        );
        tree::expect_none(&complaints);
    }

    #[test]
    fn a_use_through_the_crate_root_is_seen_through() {
        let mut modules = with(Module::snippet("store", "use crate::Runner;"));
        modules.push(Module::snippet("", "pub use runner::Runner;"));
        tree::expect_one(
            &layering(&example(), &modules),
            &["`store` must not use `runner`"],
        );

        let mut modules = with(Module::snippet("store", "fn f() { crate::record!() }"));
        modules.push(Module::snippet(
            "runner",
            "#[macro_export] macro_rules! record { () => {} }",
        ));
        tree::expect_one(
            &layering(&example(), &modules),
            &["`store` must not use `runner`"],
        );

        for text in ["use crate::*;", "use crate::Unheard;"] {
            let complaints = layering(&example(), &with(Module::snippet("store", text)));
            tree::expect_one(&complaints, &["name the module that defines it"]);
        }
    }

    #[test]
    fn a_module_without_a_row_and_a_row_without_a_module_are_refused() {
        let complaints = layering(&example(), &with(Module::snippet("surprise", "")));
        tree::expect_one(&complaints, &["lightning-core/src/surprise", "add one"]);
        let complaints = layering(&example(), &with(Module::snippet("", ""))[1..]);
        tree::expect_one(&complaints, &["there is no module `types`"]);
        let rows = rows(&table("| `types` *(planned)* | – | data |\n")).unwrap();
        let complaints = layering(&rows, &[Module::snippet("types", "")]);
        tree::expect_one(&complaints, &["take `planned` out"]);
        tree::expect_none(&layering(&rows, &[]));
    }

    #[test]
    fn what_the_invariants_forbid_is_refused() {
        for (module, text, complaint) in [
            (
                "algorithm::apo",
                "use crate::runner::Runner;",
                "`algorithm` must never name `runner`",
            ),
            (
                "runner",
                "fn f(a: &crate::algorithm::Baseline) {}",
                "`runner` must never name `algorithm`",
            ),
            (
                "store::sqlite",
                "use super::memory::State;",
                "`store::sqlite` must never name `store::memory`",
            ),
            (
                "store::postgres::rows",
                "use crate::store::sqlite::x;",
                "backends",
            ),
            (
                "store::lifecycle",
                "use crate::clock::Clock;",
                "it is given the time",
            ),
            (
                "store::lifecycle",
                "fn f() { tokio::task::yield_now() }",
                "not `tokio`",
            ),
            (
                "store",
                "use crate::wire::SpanDto; trait Store { fn add(&self, span: Vec<SpanDto>); }",
                "`SpanDto`",
            ),
            (
                "store",
                "trait Store { fn add(&self) -> crate::wire::SpanDto; }",
                "`SpanDto`",
            ),
        ] {
            let complaints = invariants(&[Module::snippet(module, text)]);
            tree::expect_one(&complaints, &["snippet.rs:1", complaint]);
        }
    }

    #[test]
    fn what_the_invariants_allow_passes() {
        for (module, text) in [
            ("algorithm", "use crate::store::Store;"),
            ("store::memory", "use super::{Command, lifecycle};"),
            (
                "store::lifecycle",
                "use crate::types::Rollout; fn f() { std::mem::take(x) }",
            ),
            (
                "server",
                "use crate::wire::SpanDto; fn f(s: SpanDto) {} trait T { fn g(&self); }",
            ),
        ] {
            tree::expect_none(&invariants(&[Module::snippet(module, text)]));
        }
    }
}
