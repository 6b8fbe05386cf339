//! `lightning new`: a project to begin with.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct NewArgs {
    /// The folder to make; its last part is the name of the package.
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The checkout of Lightning that the project depends on; the one that this program was built from if left out.
    #[arg(long, value_name = "CHECKOUT", conflicts_with = "git")]
    path: Option<PathBuf>,
    /// The address of a git repository of Lightning that the project depends on, in place of a checkout.
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// The commit of that repository.
    #[arg(long, value_name = "COMMIT", requires = "git")]
    rev: Option<String>,
}

/// What the files of the template call the package.
const TEMPLATE_NAME: &str = "lightning-starter";
/// What stands in the template's manifest for where Lightning is.
const DEPENDENCY: &str = "lightning-core = { ";

/// The files. They are a program of this repository's tests, so that they cannot rot.
const FILES: [(&str, &str); 9] = [
    (
        "Cargo.toml",
        include_str!("../../templates/starter/manifest.toml"),
    ),
    (".gitignore", include_str!("../../templates/starter/gitignore")),
    ("README.md", include_str!("../../templates/starter/README.md")),
    ("run.yaml", include_str!("../../templates/starter/run.yaml")),
    (
        "data/train.jsonl",
        include_str!("../../templates/starter/data/train.jsonl"),
    ),
    (
        "data/val.jsonl",
        include_str!("../../templates/starter/data/val.jsonl"),
    ),
    (
        "src/agent.rs",
        include_str!("../../templates/starter/src/agent.rs"),
    ),
    (
        "src/algorithm.rs",
        include_str!("../../templates/starter/src/algorithm.rs"),
    ),
    ("src/main.rs", include_str!("../../templates/starter/src/main.rs")),
];

pub(super) fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let name = args
        .folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    check_name(&name)?;
    let source = source(args)?;
    make(&args.folder)?;
    for (path, text) in FILES {
        let mut text = text.replace(TEMPLATE_NAME, &name);
        if path == "Cargo.toml" {
            text = text.replace(DEPENDENCY, &format!("{DEPENDENCY}{}, ", source.dependency()));
        }
        write(&args.folder.join(path), text.as_bytes())?;
    }
    source.copy_lock(&args.folder)?;
    super::print(&format!(
        "made {name}, which depends on {}\n\n  cd {}\n  cargo test\n  cargo run -- run run.yaml\n  cargo run -- report runs/first\n",
        source.dependency(),
        args.folder.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the project gets Lightning from.
enum Source {
    /// A checkout.
    Path(PathBuf),
    Git {
        url: String,
        rev: Option<String>,
    },
}

/// Nothing is published at a registry, so it is a checkout or a git repository.
fn source(args: &NewArgs) -> anyhow::Result<Source> {
    if let Some(url) = &args.git {
        return Ok(Source::Git {
            url: url.clone(),
            rev: args.rev.clone(),
        });
    }
    let Some(checkout) = &args.path else {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        anyhow::ensure!(
            own.join("Cargo.toml").is_file(),
            "the checkout that this program was built from is gone ({}); say where Lightning is with --path CHECKOUT or \
             --git URL",
            own.display()
        );
        return Ok(Source::Path(own.to_owned()));
    };
    // Either the checkout, or the package within it.
    let package = [checkout.join("lightning-core"), checkout.clone()]
        .into_iter()
        .find(|folder| is_lightning(folder));
    let package = package.with_context(|| {
        format!(
            "{} is no checkout of Lightning: it has no lightning-core/Cargo.toml",
            checkout.display()
        )
    })?;
    let package = package
        .canonicalize()
        .with_context(|| format!("cannot find {}", package.display()))?;
    Ok(Source::Path(package))
}

fn is_lightning(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"lightning-core\""))
}

impl Source {
    /// As it stands in a manifest.
    fn dependency(&self) -> String {
        // Strings of JSON are strings of TOML.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Path(path) => format!("path = {}", quoted(&path.display().to_string())),
            Self::Git { url, rev: None } => format!("git = {}", quoted(url)),
            Self::Git { url, rev: Some(rev) } => format!("git = {}, rev = {}", quoted(url), quoted(rev)),
        }
    }

    /// The versions that Lightning is tested with are those that the project begins with; Cargo drops what it does not need.
    fn copy_lock(&self, folder: &Path) -> anyhow::Result<()> {
        let Self::Path(package) = self else { return Ok(()) };
        let Some(lock) = package.parent().map(|checkout| checkout.join("Cargo.lock")) else {
            return Ok(());
        };
        match fs::read(&lock) {
            Ok(contents) => write(&folder.join("Cargo.lock"), &contents),
            Err(_) => Ok(()),
        }
    }
}

/// What Cargo takes for the name of a package, and what does not get into the way of the project's own dependencies.
fn check_name(name: &str) -> anyhow::Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins_well || !name.chars().all(allowed) {
        let mut better: String = name
            .chars()
            .map(|c| if allowed(c) { c.to_ascii_lowercase() } else { '-' })
            .collect();
        better = better.trim_matches(|c: char| !c.is_ascii_alphabetic()).to_owned();
        let such_as = if better.is_empty() { "demo" } else { &better };
        anyhow::bail!(
            "`{name}` cannot be the name of a package: it begins with a letter and has letters, digits, `-` and `_` only; \
             `{such_as}` would do"
        );
    }
    let crate_name = name.replace('-', "_");
    let taken = [
        "alloc",
        "anyhow",
        "core",
        "lightning_core",
        "lightning_macros",
        "proc_macro",
        "serde",
        "serde_json",
        "std",
        "test",
        "tokio",
    ];
    let is_keyword = KEYWORDS.contains(&crate_name.as_str());
    anyhow::ensure!(
        !is_keyword && !taken.contains(&crate_name.as_str()),
        "`{name}` cannot be the name of a package: {}; `{name}-agent` would do",
        if is_keyword {
            "it is a word of Rust"
        } else {
            "a crate of that name is needed"
        }
    );
    Ok(())
}

/// The words that Rust keeps for itself.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "union", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// Makes the folder. One that is there must be empty, but for a repository that was begun in it.
fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let name = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .file_name();
        anyhow::ensure!(
            name == ".git",
            "{} is not empty: it has `{}`; choose another folder, or empty this one",
            folder.display(),
            name.display()
        );
    }
    Ok(())
}

/// A new file; nothing is ever overwritten.
fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut file = fs::File::create_new(path).with_context(failed)?;
    file.write_all(contents).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_would_not_take_are_refused_with_one_that_it_would() {
        for name in ["demo", "my-agent_2", "X"] {
            check_name(name).unwrap();
        }
        for (name, remedy) in [
            ("", "`demo`"),
            ("9 lives", "`lives`"),
            ("müll", "`m-ll`"),
            ("日本", "`demo`"),
            ("a b", "`a-b`"),
            ("..", "`demo`"),
            ("match", "`match-agent`"),
            ("lightning-core", "`lightning-core-agent`"),
            ("serde", "`serde-agent`"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(remedy), "{name}: {error}");
            check_name(remedy.trim_matches('`')).unwrap();
        }
    }

    #[test]
    fn addresses_are_quoted_as_toml_has_them() {
        let git = Source::Git {
            url: "https://example.org/a\"b".to_owned(),
            rev: Some("abc".to_owned()),
        };
        let manifest: toml::Table = toml::from_str(&format!("x = {{ {} }}", git.dependency())).unwrap();
        assert_eq!(manifest["x"]["git"].as_str(), Some("https://example.org/a\"b"));
        assert_eq!(manifest["x"]["rev"].as_str(), Some("abc"));
    }

    #[test]
    fn the_manifest_has_a_place_for_where_lightning_is() {
        let (_, manifest) = FILES[0];
        assert_eq!(manifest.matches(DEPENDENCY).count(), 1);
    }
}
