//! `lightning store`.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::args::{LogStyle, StoreArgs};
use crate::{
    client::token_from_env,
    logging::{LogFormat, Logging},
    server::{ServerOptions, StoreServer, Tokens},
    store::open_url,
};

pub(super) async fn run(args: StoreArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    let logging = Logging::new().levels(&args.log_level).context("--log-level")?;
    logging.format(format).without_recording().install()?;
    let backend = match args.backend.as_str() {
        "memory" => "memory:",
        url => url,
    };
    let store = open_url(backend).context("--backend")?;
    let kind = if store.capabilities().durable {
        args.backend.as_str()
    } else {
        "in memory"
    };
    let tokens = match &args.token_file {
        Some(file) => Tokens::read(file)?,
        None if args.insecure => Tokens::new(),
        None => token_from_env().map_or_else(Tokens::new, Tokens::from),
    };
    let options = ServerOptions {
        tokens: tokens.clone(),
        insecure: args.insecure,
        cors_origins: args.cors_origins,
        max_body_bytes: usize::try_from(args.max_body)
            .unwrap_or(usize::MAX)
            .saturating_mul(1 << 20),
        ..ServerOptions::default()
    };
    let address = if args.host.contains(':') {
        format!("[{}]:{}", args.host, args.port)
    } else {
        format!("{}:{}", args.host, args.port)
    };
    let server = StoreServer::bind(address, store, options).await?;
    let stop = CancellationToken::new();
    let signals = Signals::new(args.token_file.is_some())?;
    super::print(&format!(
        "lightning: a store {kind} listens on {}\n",
        server.url()
    ))?;
    let reload = || {
        if let Some(file) = &args.token_file {
            reload(&tokens, file);
        }
    };
    until(signals, server.serve(stop.clone()), stop, reload).await
}

/// Serves until a signal comes that asks for an end. The first stops the server in order, the second at once.
pub(super) async fn until(
    mut signals: Signals,
    serving: impl Future<Output = ()>,
    stop: CancellationToken,
    reload: impl Fn(),
) -> anyhow::Result<ExitCode> {
    tokio::pin!(serving);
    let mut asked = 0;
    while asked < 2 {
        tokio::select! {
            () = &mut serving => return Ok(ExitCode::SUCCESS),
            signal = signals.next() => match signal {
                Asked::Stop => {
                    asked += 1;
                    stop.cancel();
                }
                Asked::Reload => reload(),
            }
        }
    }
    Ok(ExitCode::from(BROKEN_OFF))
}

/// The exit status of a program that was interrupted.
pub(super) const BROKEN_OFF: u8 = 130;

/// Reads the tokens again. A file that cannot be used changes nothing.
pub(super) fn reload(tokens: &Tokens, file: &std::path::Path) {
    match Tokens::read(file) {
        Ok(read) => {
            tokens.replace(&read);
            tracing::info!(target: "lightning::server", ?tokens, "read the tokens again");
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(target: "lightning::server", error, "the tokens stay as they were");
        }
    }
}

/// What a signal asks for.
pub(super) enum Asked {
    Stop,
    Reload,
}

#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Listened to only where there is something to reload, and no terminal that could close: else it ends the program.
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new(reloads: bool) -> std::io::Result<Self> {
        use std::io::IsTerminal as _;
        use tokio::signal::unix::{SignalKind, signal};
        let listens = reloads && !std::io::stdin().is_terminal();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: listens.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    pub(super) async fn next(&mut self) -> Asked {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            _ = hang_up => Asked::Reload,
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new(_: bool) -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) -> Asked {
        let _ = tokio::signal::ctrl_c().await;
        Asked::Stop
    }
}
