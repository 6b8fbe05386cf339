//! Tokens and the roles that they stand for.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::types::Secret;

/// What the bearer of a token may do. Which routes that opens says [`access`](super::access).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Everything. Algorithms need it.
    Admin,
    /// What a runner does: claim rollouts, read what belongs to them, store spans, report. Not: make rollouts, change
    /// resources, list what there is.
    Runner,
    /// Look at everything but secrets, and change nothing.
    Read,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Runner, Self::Read];

    /// The role's name, as token files have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Runner => "runner",
            Self::Read => "read",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tokens that a server knows. Without any, it asks for none.
///
/// Only digests are kept. Clones share the tokens, so that [`replace`](Self::replace) reaches a server that runs.
///
/// ```
/// use lightning_core::server::{Role, Tokens};
///
/// let tokens = Tokens::new()
///     .with(Role::Admin, "me", "a token that nobody guesses")
///     .with(Role::Runner, "box-1", "another one");
/// assert_eq!(format!("{tokens:?}"), "Tokens [admin me, runner box-1]");
/// ```
#[derive(Clone, Default)]
pub struct Tokens {
    known: Arc<RwLock<Arc<[Token]>>>,
}

#[derive(Clone)]
struct Token {
    digest: [u8; 32],
    role: Role,
    name: Arc<str>,
}

/// Who shows a token.
#[derive(Clone)]
pub(super) struct Bearer {
    pub(super) role: Role,
    /// What the token is called.
    pub(super) name: Arc<str>,
}

/// Why a file of tokens cannot be used. Nothing of its content is repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// The file cannot be read.
    #[error("cannot read the tokens in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A line is no token.
    #[error("line {line} of the tokens {problem}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// There is no token.
    #[error("there are no tokens; make one with `lightning token new --role admin --file FILE`")]
    Empty,
}

/// How long a token in a file must at least be: shorter ones can be guessed.
const SHORTEST: usize = 16;

impl Tokens {
    /// No token at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another token. Its name stands in logs in place of it. An empty token opens nothing.
    #[must_use]
    pub fn with(self, role: Role, name: &str, token: impl Into<Secret>) -> Self {
        let token = Token {
            digest: digest(token.into().expose().as_bytes()),
            role,
            name: name.into(),
        };
        let tokens: Arc<[Token]> = self.current().iter().cloned().chain([token]).collect();
        Self {
            known: Arc::new(RwLock::new(tokens)),
        }
    }

    /// Whether a server with these lets a runner in that shows this.
    pub(crate) fn admit_runner(&self, token: Option<&Secret>) -> bool {
        let Some(token) = token else {
            return self.is_empty();
        };
        let role = self.bearer(token.expose().as_bytes()).map(|bearer| bearer.role);
        self.is_empty() || matches!(role, Some(Role::Admin | Role::Runner))
    }

    /// Reads the lines of a file of tokens. Each is `ROLE TOKEN` or `ROLE TOKEN NAME`; what follows a `#` at the beginning
    /// of a line is a remark. A role is `admin`, `runner` or `read`. A token is visible ASCII of at least 16 characters, or
    /// `sha256:` and the 64 hexadecimal digits of its digest.
    ///
    /// # Errors
    ///
    /// [`TokensError::Line`] for the first line that is none of these, or that repeats a token; [`TokensError::Empty`].
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens: Vec<Token> = Vec::new();
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |problem: String| TokensError::Line {
                line: index + 1,
                problem,
            };
            let token = read_line(line, index + 1).map_err(refused)?;
            if let Some(earlier) = tokens.iter().position(|earlier| earlier.digest == token.digest) {
                return Err(refused(format!(
                    "repeats the token of line {}; give everybody one of their own",
                    lines.get(earlier).copied().unwrap_or_default()
                )));
            }
            tokens.push(token);
            lines.push(index + 1);
        }
        if tokens.is_empty() {
            return Err(TokensError::Empty);
        }
        Ok(Self {
            known: Arc::new(RwLock::new(tokens.into())),
        })
    }

    /// Reads a file of tokens, as [`parse`](Self::parse) does. Logs a warning if others on this machine may read or change
    /// it.
    ///
    /// # Errors
    ///
    /// [`TokensError::Read`], and those of [`parse`](Self::parse).
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TokensError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| TokensError::Read {
            path: path.to_owned(),
            source,
        })?;
        let tokens = Self::parse(&text)?;
        #[cfg(unix)]
        warn_of_others(path);
        Ok(tokens)
    }

    /// Takes over the tokens of `other`, also for a server that runs. Requests under way are not ended.
    pub fn replace(&self, other: &Self) {
        let tokens = other.current();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.current().is_empty()
    }

    /// Who bears this token. Takes the same time whichever it is, and as long for one that nobody bears.
    pub(super) fn bearer(&self, shown: &[u8]) -> Option<Bearer> {
        let shown_digest = digest(shown);
        let tokens = self.current();
        let mut found = 0;
        for (number, token) in (1_u64..).zip(tokens.iter()) {
            found.conditional_assign(&number, token.digest.ct_eq(&shown_digest));
        }
        found.conditional_assign(&0, Choice::from(u8::from(shown.is_empty())));
        let index = usize::try_from(found).ok()?.checked_sub(1)?;
        tokens.get(index).map(|token| Bearer {
            role: token.role,
            name: token.name.clone(),
        })
    }

    fn current(&self) -> Arc<[Token]> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<Secret> for Tokens {
    /// One token that may do everything.
    fn from(token: Secret) -> Self {
        Self::new().with(Role::Admin, "admin", token)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.current();
        let shown: Vec<String> = tokens
            .iter()
            .map(|token| format!("{} {}", token.role, token.name))
            .collect();
        write!(f, "Tokens [{}]", shown.join(", "))
    }
}

/// Digests are compared, so that neither the length nor the beginning of a token shows in the time that it takes.
fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn read_line(line: &str, number: usize) -> Result<Token, String> {
    let mut words = line.split_whitespace();
    let role = words.next().and_then(Role::from_name);
    let role = role.ok_or("does not begin with a role: write `admin`, `runner` or `read`, then the token")?;
    let token = words.next().ok_or(
        "has a role and no token: write `ROLE TOKEN NAME`; `lightning token new --role ROLE --file FILE` adds one",
    )?;
    let name = words
        .next()
        .map_or_else(|| format!("line {number}"), ToOwned::to_owned);
    if words.next().is_some() {
        return Err("has more than a role, a token and a name; a name has no spaces".to_owned());
    }
    let digest = match token.strip_prefix("sha256:") {
        Some(digits) => {
            from_hex(digits).ok_or("has a digest that is none: write `sha256:` and 64 hexadecimal digits")?
        }
        None if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err("has a token with other characters than visible ASCII".to_owned());
        }
        None if token.len() < SHORTEST => {
            return Err(format!(
                "has a token of less than {SHORTEST} characters, which can be guessed"
            ));
        }
        None => digest(token.as_bytes()),
    };
    Ok(Token {
        digest,
        role,
        name: name.into(),
    })
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    (digits.len() == 64).then_some(bytes)?.try_into().ok()
}

/// The line of a token file that lets this token in, without the token itself.
///
/// ```
/// use lightning_core::server::{Role, Tokens, token_line};
///
/// let line = token_line(Role::Read, "dashboard", &"a token that nobody guesses".into());
/// assert!(line.starts_with("read sha256:") && line.ends_with(" dashboard"));
/// assert!(Tokens::parse(&line).is_ok());
/// ```
pub fn token_line(role: Role, name: &str, token: &Secret) -> String {
    use fmt::Write as _;
    let mut line = format!("{role} sha256:");
    for byte in digest(token.expose().as_bytes()) {
        // Writing to text does not fail.
        let _ = write!(line, "{byte:02x}");
    }
    line.push(' ');
    line.extend(name.chars().map(|c| if c.is_whitespace() { '-' } else { c }));
    line
}

/// Access by others is no error: it may be meant, and where the file system knows no owners it cannot be helped.
#[cfg(unix)]
fn warn_of_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o066 != 0 {
        tracing::warn!(
            target: "lightning::server",
            file = %path.display(),
            mode = format!("{mode:03o}"),
            "others on this machine may read or change the tokens; run `chmod 600` on the file"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role_of(tokens: &Tokens, shown: &str) -> Option<(Role, String)> {
        tokens
            .bearer(shown.as_bytes())
            .map(|bearer| (bearer.role, bearer.name.to_string()))
    }

    #[test]
    fn each_token_has_its_role() {
        let hashed = token_line(Role::Read, "the board", &"read-read-read-read".into());
        let file = format!(
            "\u{feff}# who may do what\n\n  admin\tadmin-admin-admin \r\nrunner run#run-run-run-run box-1\n{hashed}\n"
        );
        let tokens = Tokens::parse(&file).unwrap();
        let found = |shown| role_of(&tokens, shown);
        assert_eq!(
            found("admin-admin-admin"),
            Some((Role::Admin, "line 3".to_owned()))
        );
        assert_eq!(
            found("run#run-run-run-run"),
            Some((Role::Runner, "box-1".to_owned()))
        );
        assert_eq!(
            found("read-read-read-read"),
            Some((Role::Read, "the-board".to_owned()))
        );
        for wrong in [
            "",
            "admin",
            "admin-admin-admi",
            "admin-admin-admin ",
            "Admin-admin-admin",
            &hashed,
        ] {
            assert_eq!(found(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let tokens = Tokens::new().with(Role::Admin, "x", "");
        assert!(!tokens.is_empty());
        assert_eq!(role_of(&tokens, ""), None);
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_line_and_not_repeated() {
        let twice = token_line(Role::Read, "x", &"secret-secret-secret".into());
        for (file, part) in [
            (
                "secret-secret-secret",
                "line 1 of the tokens does not begin with a role",
            ),
            ("root secret-secret-secret", "does not begin with a role"),
            ("\n\nadmin", "line 3 of the tokens has a role and no token"),
            ("admin secret-short", "less than 16"),
            ("admin sécret-secret-secret", "visible ASCII"),
            ("admin sha256:secret", "64 hexadecimal digits"),
            ("admin sha256:", "64 hexadecimal digits"),
            ("admin secret-secret-secret my name", "a name has no spaces"),
            (
                &format!("admin secret-secret-secret\n{twice}"),
                "line 2 of the tokens repeats the token of line 1",
            ),
            ("# nothing\n", "lightning token new"),
            ("", "lightning token new"),
        ] {
            let error = Tokens::parse(file).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(part), "{file:?}: {told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn tokens_are_exchanged_for_those_who_have_them_already() {
        let first = Tokens::from(Secret::from("one"));
        let held = first.clone();
        first.replace(&Tokens::new().with(Role::Runner, "r", "two"));
        assert_eq!(role_of(&held, "one"), None);
        assert_eq!(role_of(&held, "two"), Some((Role::Runner, "r".to_owned())));
    }
}
