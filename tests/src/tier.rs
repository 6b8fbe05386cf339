//! Tiers of tests: suites that need something which is not on every machine look for it here.
//!
//! What is absent makes a suite pass with one line on standard error, unless `LIGHTNING_TEST_REQUIRE` (a list with commas)
//! names it: then the suite fails. So a run that was meant to test something cannot pass by testing nothing.

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The release of the Python package that we are compared with; `tests/python/requirements.txt` pins it.
pub const AGENTLIGHTNING: &str = "0.3.0";

/// Where `.ci/run` builds the environment.
const PYTHON_TIER: &str = "target/python-tier/bin/python";

/// A Python interpreter that has `agentlightning` in the release that we are compared with.
#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// A command that runs this script of `tests/python`, whose warnings and logs are kept off standard output.
    pub fn script(&self, name: &str) -> Command {
        let mut command = self.command();
        command.arg(folder().join("python").join(name));
        command
    }

    /// A command that runs the interpreter.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.interpreter);
        // Importing litellm fetches a table of prices unless it is told to use its own; telemetry is not ours to send.
        command
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("PYTHONWARNINGS", "ignore")
            .env("PYTHONIOENCODING", "utf-8")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONHASHSEED", "0");
        command
    }
}

/// The Python tier: the interpreter that `LIGHTNING_PYTHON` names, else the one of `target/python-tier`.
///
/// # Panics
///
/// If there is none and `LIGHTNING_TEST_REQUIRE` names `python`; if `LIGHTNING_PYTHON` names one that is of no use.
pub fn python() -> Option<Python> {
    static FOUND: OnceLock<Option<Python>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let named = env::var_os("LIGHTNING_PYTHON").filter(|name| !name.is_empty());
            let found = look_for_python(named, &folder().join("..").join(PYTHON_TIER), agentlightning_of);
            let required = is_required(&env::var("LIGHTNING_TEST_REQUIRE").unwrap_or_default(), "python");
            settle("python", found, required)
        })
        .clone()
}

/// A program that makes terminals: `script` of util-linux.
#[derive(Clone, Copy, Debug)]
pub struct Terminal(());

impl Terminal {
    /// A command that runs this line of a shell on a terminal of 80 columns and repeats what the terminal was sent.
    pub fn command(self, line: &str) -> Command {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", line, "/dev/null"]);
        // Its size would be taken over.
        script.stdin(Stdio::null());
        script
    }
}

/// The terminal tier: `script`, if it is that of util-linux.
///
/// # Panics
///
/// If it is not there and `LIGHTNING_TEST_REQUIRE` names `terminal`.
pub fn terminal() -> Option<Terminal> {
    static FOUND: OnceLock<Option<Terminal>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let version = Command::new("script")
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let is_there =
            version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux"));
        let found = is_there.then_some(Terminal(())).ok_or_else(|| Absent {
            why: "there is no `script` of util-linux".to_owned(),
            is_a_mistake: false,
        });
        let required = is_required(
            &env::var("LIGHTNING_TEST_REQUIRE").unwrap_or_default(),
            "terminal",
        );
        settle("terminal", found, required)
    })
}

/// A browser that shows nothing: Debian's Chromium.
#[derive(Clone, Debug)]
pub struct Chromium {
    program: PathBuf,
}

impl Chromium {
    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// The browser tier: the program that `LIGHTNING_CHROMIUM` names, else `chromium-headless-shell` or `chromium` of the `PATH`.
///
/// # Panics
///
/// If there is none and `LIGHTNING_TEST_REQUIRE` names `browser`; if `LIGHTNING_CHROMIUM` names one that is of no use.
pub fn browser() -> Option<Chromium> {
    static FOUND: OnceLock<Option<Chromium>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let named = env::var_os("LIGHTNING_CHROMIUM").filter(|name| !name.is_empty());
            let found = look_for_chromium(named, |program| {
                let version = Command::new(program)
                    .arg("--version")
                    .stdin(Stdio::null())
                    .output();
                version.is_ok_and(|output| output.status.success())
            });
            let required = is_required(&env::var("LIGHTNING_TEST_REQUIRE").unwrap_or_default(), "browser");
            settle("browser", found, required)
        })
        .clone()
}

fn look_for_chromium(named: Option<OsString>, works: impl Fn(&Path) -> bool) -> Result<Chromium, Absent> {
    let is_a_mistake = named.is_some();
    let candidates = match named {
        Some(named) => vec![PathBuf::from(named)],
        None => vec!["chromium-headless-shell".into(), "chromium".into()],
    };
    let names: Vec<String> = candidates.iter().map(|name| name.display().to_string()).collect();
    match candidates.into_iter().find(|program| works(program)) {
        Some(program) => Ok(Chromium { program }),
        None => Err(Absent {
            why: format!(
                "{} cannot be started; install Debian's chromium-headless-shell, or name a Chromium in LIGHTNING_CHROMIUM",
                names.join(" and ")
            ),
            is_a_mistake,
        }),
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What was looked for is not there.
#[derive(Debug, PartialEq)]
struct Absent {
    why: String,
    /// Somebody said that it was there.
    is_a_mistake: bool,
}

fn look_for_python(
    named: Option<OsString>,
    default: &Path,
    release_of: impl Fn(&Path) -> Result<String, String>,
) -> Result<Python, Absent> {
    let is_a_mistake = named.is_some();
    let interpreter = named.map_or_else(|| default.to_owned(), PathBuf::from);
    let why = match release_of(&interpreter) {
        Ok(release) if release == AGENTLIGHTNING => return Ok(Python { interpreter }),
        Ok(other) => format!(
            "{} has agentlightning {other}, not {AGENTLIGHTNING}",
            interpreter.display()
        ),
        Err(problem) => format!(
            "{}: {problem}; install tests/python/requirements.txt there, or name an interpreter in LIGHTNING_PYTHON",
            interpreter.display()
        ),
    };
    Err(Absent { why, is_a_mistake })
}

fn agentlightning_of(interpreter: &Path) -> Result<String, String> {
    let program = "import importlib.metadata as m; print(m.version('agentlightning'))";
    let output = Command::new(interpreter)
        .args(["-c", program])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err("it has no agentlightning".to_owned())
    }
}

/// Whether the list names the tier.
fn is_required(list: &str, tier: &str) -> bool {
    list.split(',').any(|name| name.trim() == tier)
}

fn settle<T>(tier: &str, found: Result<T, Absent>, required: bool) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(Absent { why, is_a_mistake }) => {
            assert!(
                !required,
                "LIGHTNING_TEST_REQUIRE asks for `{tier}`, which is not there: {why}"
            );
            assert!(!is_a_mistake, "`{tier}` is not where the environment says: {why}");
            // Not `eprintln!`, which the harness keeps back when the test passes.
            let _ = writeln!(std::io::stderr(), "tier `{tier}` does not run: {why}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    fn absent(is_a_mistake: bool) -> Result<(), Absent> {
        let why = "gone".to_owned();
        Err(Absent { why, is_a_mistake })
    }

    #[test]
    fn what_is_required_must_be_there() {
        assert_eq!(settle("python", absent(false), false), None);
        for (is_a_mistake, required) in [(false, true), (true, false), (true, true)] {
            let settled = panic::catch_unwind(|| settle("python", absent(is_a_mistake), required));
            assert!(settled.is_err(), "{is_a_mistake} {required}");
        }
        assert_eq!(settle("python", Ok(()), true), Some(()));
    }

    #[test]
    fn the_list_of_what_is_required_has_commas() {
        for list in ["python", "postgres,python", "postgres, python ,browser"] {
            assert!(is_required(list, "python"), "{list}");
        }
        for list in ["", "postgres", "pythonic"] {
            assert!(!is_required(list, "python"), "{list}");
        }
    }

    #[test]
    fn the_smaller_browser_is_preferred_and_a_named_one_must_work() {
        let found = look_for_chromium(None, |_| true).unwrap();
        assert_eq!(found.program(), Path::new("chromium-headless-shell"));
        let found = look_for_chromium(None, |program| program == Path::new("chromium")).unwrap();
        assert_eq!(found.program(), Path::new("chromium"));
        let absent = look_for_chromium(Some("/mine".into()), |_| false).unwrap_err();
        assert!(absent.is_a_mistake && absent.why.contains("/mine"), "{absent:?}");
        assert!(!look_for_chromium(None, |_| false).unwrap_err().is_a_mistake);
    }

    #[test]
    fn only_the_release_that_we_are_compared_with_will_do() {
        let default = Path::new("/default");
        let look = |named: Option<&str>, release: Result<&str, &str>| {
            let release = release.map(str::to_owned).map_err(str::to_owned);
            look_for_python(named.map(OsString::from), default, |_| release.clone())
        };
        assert_eq!(look(None, Ok(AGENTLIGHTNING)).unwrap().interpreter, default);
        let named = look(Some("/mine"), Ok(AGENTLIGHTNING)).unwrap();
        assert_eq!(named.interpreter, Path::new("/mine"));
        let other = look(None, Ok("1.0.0")).unwrap_err();
        assert!(other.why.contains("1.0.0") && !other.is_a_mistake, "{other:?}");
        let missing = look(Some("/mine"), Err("no such file")).unwrap_err();
        assert!(
            missing.why.contains("/mine: no such file") && missing.is_a_mistake,
            "{missing:?}"
        );
    }
}
