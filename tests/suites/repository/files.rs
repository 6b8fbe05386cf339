//! Names and sizes of files, and what no source file may contain.

use syn::{Attribute, visit::Visit};

use crate::tree::{self, Complaint};

/// Names that say nothing about what a file is about.
const EMPTY_NAMES: [&str; 4] = ["utils.rs", "helpers.rs", "common.rs", "base.rs"];
/// A file is split at about 600 lines; here it has to be.
const MOST_LINES: usize = 700;

fn name(path: &str) -> Vec<Complaint> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let folder = path.rsplit('/').nth(1).unwrap_or_default();
    let empty = EMPTY_NAMES
        .iter()
        .any(|empty| *empty == name || (name == "mod.rs" && empty.strip_suffix(".rs") == Some(folder)));
    empty
        .then(|| {
            Complaint::at(
                path,
                "the name says nothing: name the module after the one thing that it is about",
            )
        })
        .into_iter()
        .collect()
}

fn size(path: &str, text: &str) -> Vec<Complaint> {
    let lines = text.lines().count();
    (lines > MOST_LINES)
        .then(|| {
            Complaint::at(
                path,
                format!("{lines} lines, more than {MOST_LINES}: split the file by concept"),
            )
        })
        .into_iter()
        .collect()
}

fn attributes(path: &str, text: &str) -> Vec<Complaint> {
    let syntax = match syn::parse_file(text) {
        Ok(syntax) => syntax,
        Err(error) => return vec![Complaint::at(path, format!("does not parse: {error}"))],
    };
    let mut finder = Finder(Vec::new());
    finder.visit_file(&syntax);
    finder
        .0
        .into_iter()
        .map(|(line, what)| Complaint::at(format!("{path}:{line}"), what))
        .collect()
}

struct Finder(Vec<(usize, &'static str)>);

impl<'ast> Visit<'ast> for Finder {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let line = attribute.pound_token.spans[0].start().line;
        let path = attribute.path();
        if path.is_ident("ignore") {
            self.0
                .push((line, "an ignored test shows nothing: make it run, or delete it"));
        }
        let suppresses = path.is_ident("allow") || path.is_ident("expect");
        let gives_reason = attribute
            .meta
            .require_list()
            .is_ok_and(|list| list.tokens.to_string().contains("reason ="));
        if suppresses && !gives_reason {
            self.0
                .push((line, "a lint is suppressed without `reason = \"…\"`: say why"));
        }
    }
}

/// Folders of programs that tests compile, and of what the macros make of programs.
const FIXTURES: [&str; 2] = ["tests/suites/compile_fail/", "tests/suites/expansion/"];

/// Whether the file is a source of one of our packages, and not the input or the expected output of a test.
fn is_source(path: &str) -> bool {
    !FIXTURES.iter().any(|folder| path.starts_with(folder))
}

/// What is wrong with a block of code on a page.
fn page(path: &str, text: &str) -> Vec<Complaint> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.trim_start().starts_with("```rust") && line.contains("ignore"))
        .map(|(at, _)| {
            let place = format!("{path}:{}", at + 1);
            Complaint::at(
                place,
                "the snippet is ignored: make it compile (`no_run`, if it must not run)",
            )
        })
        .collect()
}

#[test]
fn files_have_a_name_and_a_size_that_one_can_live_with() {
    let mut complaints = Vec::new();
    for path in tree::files(".rs") {
        complaints.extend(name(&path));
        if is_source(&path) {
            complaints.extend(size(&path, &tree::read(&path)));
        }
    }
    tree::expect_none(&complaints);
}

#[test]
fn nothing_is_ignored_and_no_lint_is_suppressed_without_a_reason() {
    let mut complaints = Vec::new();
    for path in tree::files(".rs").iter().filter(|path| is_source(path)) {
        complaints.extend(attributes(path, &tree::read(path)));
    }
    for path in tree::files(".md") {
        complaints.extend(page(&path, &tree::read(&path)));
    }
    tree::expect_none(&complaints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_refused() {
        for path in [
            "tests/src/utils.rs",
            "lightning-core/src/store/common.rs",
            "lightning-core/src/helpers/mod.rs",
        ] {
            tree::expect_one(&name(path), &[path, "says nothing"]);
        }
        tree::expect_none(&name("lightning-core/src/store/mod.rs"));
        tree::expect_none(&name("lightning-core/src/database.rs"));
    }

    #[test]
    fn long_files_are_refused() {
        tree::expect_one(
            &size("a.rs", &"\n".repeat(MOST_LINES + 1)),
            &["701 lines", "split"],
        );
        tree::expect_none(&size("a.rs", &"\n".repeat(MOST_LINES)));
    }

    #[test]
    fn ignored_tests_and_bare_suppressions_are_refused() {
        for (text, part) in [
            ("#[test]\n#[ignore]\nfn f() {}", "a.rs:2"),
            ("#[test]\n#[ignore = \"slow\"]\nfn f() {}", "make it run"),
            ("#[allow(dead_code)] fn f() {}", "say why"),
            ("#![allow(dead_code)]", "say why"),
            ("fn f() { #[expect(unused)] let x = 1; }", "say why"),
        ] {
            tree::expect_one(&attributes("a.rs", text), &[part]);
        }
        tree::expect_one(&attributes("a.rs", "fn"), &["does not parse"]);
        tree::expect_none(&attributes(
            "a.rs",
            "#[expect(unused, reason = \"it is\")] fn f() {}",
        ));
    }

    #[test]
    fn ignored_snippets_are_refused() {
        tree::expect_one(&page("a.md", "text\n```rust,ignore\n"), &["a.md:2"]);
        tree::expect_none(&page("a.md", "```rust,no_run\n"));
    }
}
