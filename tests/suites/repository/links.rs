//! Links between pages lead somewhere, and the book is whole.

use std::{collections::BTreeSet, path::Path};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::tree::{self, Complaint};

const BOOK: &str = "docs/src/";
const SUMMARY: &str = "docs/src/SUMMARY.md";
const SNIPPETS: &str = "tests/src/book.rs";

/// The files of the repository, as far as links are concerned.
trait Files {
    fn exists(&self, path: &str) -> bool;
    fn read(&self, path: &str) -> String;
}

struct Repository;

impl Files for Repository {
    fn exists(&self, path: &str) -> bool {
        tree::root().join(path).exists()
    }

    fn read(&self, path: &str) -> String {
        tree::read(path)
    }
}

/// Where the links of a page lead, with their lines.
fn links(markdown: &str) -> Vec<(usize, String)> {
    Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES)
        .into_offset_iter()
        .filter_map(|(event, range)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some((
                markdown[..range.start].matches('\n').count() + 1,
                dest_url.into_string(),
            )),
            _ => None,
        })
        .collect()
}

/// The anchors of a page: its headings as GitHub and mdBook write them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap_or_default());
                let taken = (1..).map(|count| format!("{anchor}-{count}"));
                let free = std::iter::once(anchor.clone())
                    .chain(taken)
                    .find(|name| !anchors.contains(name));
                anchors.extend(free);
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .flat_map(char::to_lowercase)
        .collect()
}

/// The links of the page at `path` that lead nowhere.
fn broken(path: &str, files: &dyn Files) -> Vec<Complaint> {
    let text = files.read(path);
    let mut complaints = Vec::new();
    for (line, link) in links(&text) {
        let mut complain = |what: String| complaints.push(Complaint::at(format!("{path}:{line}"), what));
        let external = link.contains("://") || link.starts_with("mailto:");
        if external {
            continue;
        }
        let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() {
            path.to_owned()
        } else {
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            match tree::normal(&folder.join(file)) {
                Some(target) => target.to_string_lossy().replace('\\', "/"),
                None => {
                    complain(format!("the link `{link}` leaves the repository"));
                    continue;
                }
            }
        };
        if path.starts_with(BOOK) && !target.starts_with(BOOK) {
            complain(format!(
                "the link `{link}` leaves the book, where readers of the rendered pages cannot follow: name the file in \
                 words"
            ));
        } else if !files.exists(&target) {
            complain(format!(
                "the link `{link}` leads to `{target}`, which is not there: mend the path"
            ));
        } else if !fragment.is_empty() && target.ends_with(".md") {
            let anchors = anchors(&files.read(&target));
            if !anchors.contains(fragment) {
                complain(format!(
                    "the link `{link}`: `{target}` has no heading `#{fragment}`; it has {}",
                    anchors.into_iter().collect::<Vec<_>>().join(", ")
                ));
            }
        }
    }
    complaints
}

/// Pages of the book that its table of contents leaves out, and pages with Rust that nobody compiles.
fn left_out(pages: &[(String, String)], summary: &str, snippets: &str) -> Vec<Complaint> {
    let listed: BTreeSet<String> = links(summary).into_iter().map(|(_, link)| link).collect();
    let mut complaints = Vec::new();
    for (path, text) in pages {
        let name = path.strip_prefix(BOOK).unwrap_or(path);
        if !listed.contains(name) {
            complaints.push(Complaint::at(
                path,
                format!("{SUMMARY} does not list the page: add it, or delete the page"),
            ));
        }
        let compiled = snippets.contains(&format!("../../{path}"));
        if text.contains("```rust") && !compiled {
            complaints.push(Complaint::at(
                path,
                format!("nobody compiles the snippets of the page: include it in {SNIPPETS}"),
            ));
        }
    }
    complaints
}

#[test]
fn links_between_pages_lead_somewhere() {
    let complaints: Vec<Complaint> = tree::files(".md")
        .iter()
        .flat_map(|path| broken(path, &Repository))
        .collect();
    tree::expect_none(&complaints);
}

#[test]
fn the_book_lists_and_compiles_all_its_pages() {
    let pages: Vec<(String, String)> = tree::files(".md")
        .into_iter()
        .filter(|path| path.starts_with(BOOK) && path != SUMMARY)
        .map(|path| (path.clone(), tree::read(&path)))
        .collect();
    assert!(!pages.is_empty(), "the book has no pages");
    tree::expect_none(&left_out(&pages, &tree::read(SUMMARY), &tree::read(SNIPPETS)));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(&'static str);

    impl Files for Two {
        fn exists(&self, path: &str) -> bool {
            ["docs/src/a.md", "docs/src/deep/b.md", "README.md"].contains(&path)
        }

        fn read(&self, path: &str) -> String {
            match path {
                "docs/src/a.md" => self.0.to_owned(),
                _ => "# The `Store`: what it *does*\n\n## Twice\n\n## Twice\n".to_owned(),
            }
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_refused() {
        for (text, part) in [
            (
                "word\n\n[x](c.md)",
                "a.md:3: the link `c.md` leads to `docs/src/c.md`",
            ),
            ("[x](deep/b.md#thrice)", "no heading `#thrice`"),
            ("[x](#here)", "no heading `#here`"),
            ("[x][y]\n\n[y]: c.md", "`c.md`"),
            ("| a |\n|---|\n| [x](c.md) |", "`c.md`"),
            ("![x](c.png)", "`c.png`"),
            ("[x](../../README.md)", "leaves the book"),
            ("[x](../../../etc)", "leaves the repository"),
        ] {
            tree::expect_one(&broken("docs/src/a.md", &Two(text)), &[part]);
        }
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "# Here\n[a](deep/b.md) [b](deep/b.md#the-store-what-it-does) [c](deep/b.md#twice-1) [d](#here) \
                    [e](https://example.org/x#y) `[f](c.md)`\n\n```text\n[g](c.md)\n```\n";
        tree::expect_none(&broken("docs/src/a.md", &Two(text)));
    }

    #[test]
    fn pages_that_are_left_out_are_refused() {
        let page = |text: &str| [("docs/src/a.md".to_owned(), text.to_owned())];
        let (listed, compiled) = ("- [A](a.md)", "#[doc = include_str!(\"../../docs/src/a.md\")]");
        tree::expect_one(
            &left_out(&page("words"), "- [B](b.md)", compiled),
            &["SUMMARY.md does not list"],
        );
        tree::expect_one(&left_out(&page("```rust\n```"), listed, ""), &["nobody compiles"]);
        tree::expect_none(&left_out(&page("```rust\n```"), listed, compiled));
        tree::expect_none(&left_out(&page("words"), listed, ""));
    }
}
