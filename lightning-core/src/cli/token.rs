//! `lightning token`, and the tokens that the other commands show.

use std::{
    fs::OpenOptions,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{
    args::{TokenSource, TokenTask},
    print,
};
use crate::{
    client::{StoreClient, TOKEN_VARIABLE, token_from_env},
    ids::{IdSource as _, RandomIds},
    server::{Tokens, token_line},
    types::Secret,
};

pub(super) fn run(task: TokenTask) -> anyhow::Result<()> {
    let TokenTask::New { role, name, file } = task;
    // As many random bits as the digest has.
    let token: Secret = (0..4).map(|_| RandomIds.hex(16)).collect::<String>().into();
    let name = name.unwrap_or_else(|| format!("{role}-{}", RandomIds.hex(4)));
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_.@+".contains(c)) {
        bail!("`--name` takes letters, digits and `-_.@+`");
    }
    let line = token_line(role, &name, &token);
    append(&file, &line).with_context(|| format!("cannot add the token to {}", file.display()))?;
    print(&format!("{}\n", token.expose()))
}

/// Adds a line to a file that is the owner's alone if it is made here. What is in it must be tokens already.
fn append(path: &Path, line: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    let separator = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    Tokens::parse(&format!("{text}{separator}{line}"))?;
    // In one piece, so that two who add at once do not mix their lines.
    file.write_all(format!("{separator}{line}\n").as_bytes())?;
    file.sync_all()?;
    Ok(())
}

/// A client that gives up soon: somebody is looking at the screen.
pub(super) async fn connect(url: &str, source: &TokenSource) -> anyhow::Result<StoreClient> {
    refuse_shown_password(url, std::env::args_os())?;
    let mut client = StoreClient::builder(url).retry_for(Duration::from_millis(500));
    let token = match &source.file {
        Some(file) => Some(read(file)?),
        None => token_from_env(),
    };
    if let Some(token) = token {
        client = client.token(token);
    }
    let client = client.build()?;
    client.probe().await?;
    Ok(client)
}

/// The only word of a file.
fn read(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(token), None) => Ok(token.into()),
        (None, _) => bail!("{} holds no token", file.display()),
        (Some(_), Some(_)) => bail!(
            "{} holds more than one token; the file of a server is no use here: it says who is let in",
            file.display()
        ),
    }
}

/// Everybody on the machine can list the arguments of a program.
fn refuse_shown_password(
    url: &str,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> anyhow::Result<()> {
    let has_password = crate::types::without_password(url) != url;
    if has_password
        && arguments
            .into_iter()
            .any(|argument| argument.to_string_lossy().contains(url))
    {
        bail!(
            "a token in an argument can be read by everybody on this machine; put it into the variable {TOKEN_VARIABLE}, or \
             name a file with --token-file"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_refused_where_others_see_them() {
        let url = "http://x:secret@h:1";
        let refuse = |url, arguments: &[&str]| refuse_shown_password(url, arguments.iter().map(Into::into));
        let error = refuse(url, &["lightning", &format!("--url={url}")]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(refuse(url, &["lightning", "rollouts"]).is_ok());
        assert!(refuse("http://h:1", &["lightning", "http://h:1"]).is_ok());
    }
}
