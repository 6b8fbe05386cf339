//! What other crates may come in: where they are named, what a build without features holds, licences and bans.

use std::process::Command;

use serde_json::Value;

use crate::{
    source::{self, Module},
    tree::{self, Complaint},
};

/// Crates that only some modules of the core may name. What is above another row may name its crates only if listed.
const HOMES: &[(&[&str], &[&str])] = &[
    (
        &[
            "axum",
            "axum_server",
            "h2",
            "http",
            "http_body",
            "http_body_util",
            "hyper",
            "hyper_rustls",
            "hyper_util",
            "reqwest",
            "rustls",
            "tower",
            "tower_http",
            "tower_service",
            "utoipa",
            "utoipa_axum",
        ],
        &[
            "server",
            "client",
            "llm_proxy",
            "model_server",
            "chat::http",
            "chat::stream",
            "listening",
            "testing::llm",
            "transport",
        ],
    ),
    (&["opentelemetry_proto", "prost"], &["wire", "server"]),
    (&["rustix"], &["config::programs", "execution", "model_launcher"]),
    (&["brotli_decompressor", "ruzstd"], &["llm_proxy"]),
    (&["rusqlite", "libsqlite3_sys"], &["store::sqlite"]),
    (&["candle_core", "safetensors", "tokenizers"], &["lm"]),
    (
        &["tokio_postgres", "deadpool_postgres", "postgres_types"],
        &["store::postgres"],
    ),
];

/// What speaks HTTP or SQL or runs models, and has no place in a build without features; a name stands for its family (`hyper-util`).
const NOT_WITHOUT_FEATURES: &[&str] = &[
    "axum",
    "candle",
    "deadpool",
    "h2",
    "h3",
    "http",
    "hyper",
    "libsqlite3-sys",
    "opentelemetry",
    "postgres",
    "prost",
    "quinn",
    "reqwest",
    "rusqlite",
    "rustls",
    "sqlx",
    "tokenizers",
    "tokio-postgres",
    "tonic",
    "tower",
    "ureq",
];

fn strangers(module: &Module) -> Vec<Complaint> {
    source::mentions(module)
        .iter()
        .filter_map(|mention| {
            let name = mention.outside()?;
            let (_, homes) = HOMES.iter().find(|(crates, _)| crates.contains(&name))?;
            let at_home = homes.iter().any(|home| module.is_within(home));
            (!at_home).then(|| {
                Complaint::at(
                    format!("{}:{}", module.file, mention.line),
                    format!(
                        "`{}` names the crate `{name}`, which only {} may: put the code there behind a type of ours; \
                         a new home goes into `HOMES` in tests/suites/repository/crates.rs",
                        module.name(),
                        homes.map_quoted(),
                    ),
                )
            })
        })
        .collect()
}

trait Quoted {
    fn map_quoted(&self) -> String;
}

impl Quoted for &[&str] {
    fn map_quoted(&self) -> String {
        let quoted: Vec<String> = self.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    }
}

/// The crates of `cargo tree --prefix none` that speak HTTP or SQL.
fn heavy(listing: &str) -> Vec<Complaint> {
    let mut names: Vec<&str> = listing
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| {
            NOT_WITHOUT_FEATURES.iter().any(|heavy| {
                name.strip_prefix(heavy)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        })
        .map(|name| {
            Complaint::at(
                "lightning-core/Cargo.toml",
                format!(
                    "a build without features holds `{name}`: make what brings it in optional, behind a feature \
                     (`cargo tree -p lightning-core --no-default-features -i {name}` shows the way)"
                ),
            )
        })
        .collect()
}

/// Dependencies of a package that its sources never name.
fn idle(folder: &str, manifest: &str, sources: &str) -> Vec<Complaint> {
    let manifest: toml::Table = manifest.parse().unwrap();
    ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(toml::Table::keys)
        .filter(|name| !names(sources, &name.replace('-', "_")))
        .map(|name| {
            Complaint::at(
                format!("{folder}/Cargo.toml"),
                format!("no source names the dependency `{name}`: take it out"),
            )
        })
        .collect()
}

/// Whether the text has a path that begins with the crate.
fn names(sources: &str, crate_name: &str) -> bool {
    sources.match_indices(crate_name).any(|(at, _)| {
        let before = sources[..at].chars().next_back();
        let after = &sources[at + crate_name.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && ["::", ";", " as "].iter().any(|next| after.starts_with(next))
    })
}

/// A crate of the tree, as `cargo metadata` has it.
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// What `deny.toml` says.
struct Policy {
    licenses: Vec<String>,
    /// Banned crates with the reason.
    bans: Vec<(String, String)>,
    registries: Vec<String>,
}

impl Policy {
    fn parse(text: &str) -> Self {
        let policy: toml::Table = text.parse().unwrap();
        let texts = |value: &toml::Value| -> Vec<String> {
            let list = value.as_array().unwrap();
            list.iter()
                .map(|text| text.as_str().unwrap().to_owned())
                .collect()
        };
        let bans = policy["bans"]["deny"].as_array().unwrap();
        Self {
            licenses: texts(&policy["licenses"]["allow"]),
            bans: bans
                .iter()
                .map(|ban| {
                    let text = |key: &str| ban[key].as_str().unwrap().to_owned();
                    (text("crate"), text("reason"))
                })
                .collect(),
            registries: texts(&policy["sources"]["allow-registry"]),
        }
    }

    fn refuses(&self, packages: &[Package]) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for package in packages {
            let mut complain = |what: String| {
                complaints.push(Complaint::at(
                    format!("{} {}", package.name, package.version),
                    what,
                ));
            };
            match package.license.as_deref().map(expression) {
                Some(Ok(licence)) => {
                    let met = licence.evaluate(|requirement| {
                        requirement.addition.is_none()
                            && requirement
                                .license
                                .id()
                                .is_some_and(|id| self.licenses.iter().any(|name| name == id.name))
                    });
                    if !met {
                        complain(format!(
                            "its licence `{licence}` is not met by the list in deny.toml: replace the crate, or, if the \
                             licence is permissive, add it to `licenses.allow`"
                        ));
                    }
                }
                Some(Err(error)) => complain(format!("its licence is no SPDX expression: {}", error.reason)),
                None => complain("it states no licence: replace the crate".to_owned()),
            }
            if let Some((_, reason)) = self.bans.iter().find(|(name, _)| *name == package.name) {
                complain(format!(
                    "it is banned in deny.toml ({reason}): `cargo tree -i {}` shows who brings it in",
                    package.name
                ));
            }
            if let Some(source) = &package.source
                && !self
                    .registries
                    .iter()
                    .any(|registry| *source == format!("registry+{registry}"))
            {
                complain(format!(
                    "it comes from `{source}`, which deny.toml does not list under `sources`"
                ));
            }
        }
        complaints
    }

    /// Licences on the list that no crate of the tree names.
    fn superfluous(&self, packages: &[Package]) -> Vec<Complaint> {
        self.licenses
            .iter()
            .filter(|name| {
                !packages.iter().any(|package| {
                    package
                        .license
                        .as_ref()
                        .and_then(|licence| expression(licence).ok())
                        .is_some_and(|licence| {
                            licence
                                .requirements()
                                .any(|part| part.req.license.id().is_some_and(|id| id.name == **name))
                        })
                })
            })
            .map(|name| {
                Complaint::at(
                    "deny.toml",
                    format!("no crate of the tree names the licence `{name}`: take it off the list"),
                )
            })
            .collect()
    }
}

/// Reads a licence. Old crates write `MIT/Apache-2.0` and mean a choice.
fn expression(licence: &str) -> Result<spdx::Expression, spdx::ParseError> {
    spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(tree::root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// Every crate that `Cargo.lock` can bring in, for whatever machine and with whatever features.
fn packages() -> Vec<Package> {
    let metadata: Value = serde_json::from_str(&cargo(&[
        "metadata",
        "--locked",
        "--all-features",
        "--format-version",
        "1",
    ]))
    .unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| Package {
            name: text(package, "name").unwrap(),
            version: text(package, "version").unwrap(),
            license: text(package, "license"),
            source: text(package, "source"),
        })
        .collect()
}

#[test]
fn crates_are_named_only_where_they_belong() {
    let complaints: Vec<Complaint> = source::modules_of("lightning-core/src/lib.rs")
        .iter()
        .flat_map(strangers)
        .collect();
    tree::expect_none(&complaints);
}

#[test]
fn a_build_without_features_has_no_http_and_no_sql() {
    let listing = cargo(&[
        "tree",
        "--locked",
        "-e",
        "normal",
        "--no-default-features",
        "-p",
        "lightning-core",
        "--prefix",
        "none",
        "--target",
        "all",
    ]);
    assert!(
        listing.contains("tokio v"),
        "this is no listing of the core: {listing}"
    );
    tree::expect_none(&heavy(&listing));
}

#[test]
fn every_dependency_is_named_somewhere() {
    let files = tree::files(".rs");
    let complaints: Vec<Complaint> = ["lightning-core", "lightning-macros", "examples", "tests"]
        .iter()
        .flat_map(|folder| {
            let sources: String = files
                .iter()
                // The suite `expansion` compiles the sources of the macros into itself.
                .filter(|file| {
                    file.starts_with(&format!("{folder}/"))
                        || (*folder == "tests" && file.starts_with("lightning-macros/"))
                })
                .map(|file| tree::read(file))
                .collect();
            // A package that is only laid out has no code yet that could name anything.
            let manifest = if sources.contains("fn ") {
                tree::read(&format!("{folder}/Cargo.toml"))
            } else {
                String::new()
            };
            idle(folder, &manifest, &sources)
        })
        .collect();
    tree::expect_none(&complaints);
}

#[test]
fn the_macros_know_nothing_of_the_runtime() {
    let listing = cargo(&[
        "tree",
        "--locked",
        "-e",
        "normal",
        "-p",
        "lightning-macros",
        "--prefix",
        "none",
    ]);
    let named: Vec<&str> = listing
        .lines()
        .filter(|line| line.starts_with("lightning-"))
        .collect();
    assert!(
        matches!(named[..], [only] if only.starts_with("lightning-macros ")),
        "lightning-macros only translates and depends on none of our packages: {named:?}"
    );
}

#[test]
fn licences_bans_and_sources_are_those_of_deny_toml() {
    let packages = packages();
    assert!(
        packages.len() > 30,
        "cargo metadata shows only {} crates",
        packages.len()
    );
    let policy = Policy::parse(&tree::read("deny.toml"));
    let mut complaints = policy.refuses(&packages);
    complaints.extend(policy.superfluous(&packages));
    tree::expect_none(&complaints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_away_from_home_is_refused() {
        for (module, text, home) in [
            (
                "runner",
                "use reqwest::Client;",
                "`server`, `client`, `llm_proxy`",
            ),
            (
                "store::memory",
                "fn f() -> axum::Router { x }",
                "`server`, `client`, `llm_proxy`",
            ),
            ("testing", "use axum::Router;", "`testing::llm`"),
            ("store::postgres", "use rusqlite as sql;", "`store::sqlite`"),
            ("store", "use tokio_postgres;", "`store::postgres`"),
        ] {
            tree::expect_one(
                &strangers(&Module::snippet(module, text)),
                &["snippet.rs:1", home],
            );
        }
    }

    #[test]
    fn a_crate_at_home_passes() {
        for (module, text) in [
            ("client::retry", "use reqwest::Client;"),
            ("testing::llm::serve", "use axum::Router;"),
            ("store::sqlite::rows", "use rusqlite::Row;"),
            ("runner", "use tokio::task; use crate::types::Span;"),
        ] {
            tree::expect_none(&strangers(&Module::snippet(module, text)));
        }
    }

    #[test]
    fn http_and_sql_in_a_build_without_features_are_refused() {
        tree::expect_one(
            &heavy("serde v1.0.0\nhyper-util v0.1.0\nhyper-util v0.1.0 (*)\n"),
            &["holds `hyper-util`"],
        );
        tree::expect_one(&heavy("libsqlite3-sys v0.30.0\n"), &["holds `libsqlite3-sys`"]);
        tree::expect_none(&heavy("serde v1.0.0\nhttparse v1.0.0\n"));
    }

    #[test]
    fn a_dependency_that_nobody_names_is_refused() {
        let manifest = "[dependencies]\nserde-saphyr.workspace = true\n[dev-dependencies]\ntokio = \"1\"\n";
        let complaints = idle(
            "tests",
            manifest,
            "use tokio::task; fn my_serde_saphyr() {} // serde_saphyr",
        );
        tree::expect_one(&complaints, &["tests/Cargo.toml", "`serde-saphyr`"]);
        tree::expect_none(&idle(
            "tests",
            manifest,
            "use tokio; fn f() { serde_saphyr::from_str(x) }",
        ));
    }

    fn package(license: Option<&str>) -> Package {
        Package {
            name: "fancy".to_owned(),
            version: "1.2.3".to_owned(),
            license: license.map(str::to_owned),
            source: Some("registry+https://registry.example".to_owned()),
        }
    }

    fn policy(banned: &str) -> Policy {
        Policy::parse(&format!(
            r#"
            [licenses]
            allow = ["MIT", "Unicode-3.0"]
            [bans]
            deny = [{{ crate = "{banned}", reason = "it is too fancy" }}]
            [sources]
            allow-registry = ["https://registry.example"]
            "#
        ))
    }

    #[test]
    fn a_licence_that_is_not_on_the_list_is_refused() {
        for licence in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            let complaints = policy("other").refuses(&[package(Some(licence))]);
            tree::expect_one(&complaints, &["fancy 1.2.3", licence, "deny.toml"]);
        }
        tree::expect_one(&policy("other").refuses(&[package(None)]), &["states no licence"]);
        tree::expect_one(
            &policy("other").refuses(&[package(Some("free, as in beer"))]),
            &["no SPDX expression"],
        );
        for licence in [
            "MIT",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            tree::expect_none(&policy("other").refuses(&[package(Some(licence))]));
        }
    }

    #[test]
    fn a_banned_crate_and_a_foreign_source_are_refused() {
        tree::expect_one(
            &policy("fancy").refuses(&[package(Some("MIT"))]),
            &["fancy 1.2.3", "it is too fancy"],
        );
        let mut stranger = package(Some("MIT"));
        stranger.source = Some("git+https://git.example/fancy".to_owned());
        tree::expect_one(
            &policy("other").refuses(&[stranger]),
            &["git+https://git.example/fancy"],
        );
    }

    #[test]
    fn a_licence_that_nothing_needs_is_refused() {
        let complaints = policy("other").superfluous(&[package(Some("MIT"))]);
        tree::expect_one(&complaints, &["`Unicode-3.0`", "take it off"]);
    }
}
