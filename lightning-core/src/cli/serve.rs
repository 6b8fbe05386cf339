//! `lightning store`.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::args::{LogStyle, StoreArgs, token_from_env};
use crate::{
    logging::{LogFormat, Logging},
    server::{ServerOptions, StoreServer},
    store::open_url,
    types::Secret,
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
    let token = match &args.token_file {
        Some(file) => Some(read_token(file)?),
        None => token_from_env(),
    };
    let options = ServerOptions {
        token,
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
    let signals = Signals::new()?;
    super::print(&format!(
        "lightning: a store {kind} listens on {}\n",
        server.url()
    ))?;
    until(signals, server.serve(stop.clone()), stop).await
}

/// Serves until a signal comes. The first stops the server in order, the second at once.
pub(super) async fn until(
    mut signals: Signals,
    serving: impl Future<Output = ()>,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    tokio::pin!(serving);
    for _ in 0..2 {
        tokio::select! {
            () = &mut serving => return Ok(ExitCode::SUCCESS),
            () = signals.next() => stop.cancel(),
        }
    }
    Ok(ExitCode::from(BROKEN_OFF))
}

/// The exit status of a program that was interrupted.
const BROKEN_OFF: u8 = 130;

fn read_token(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let token = text.trim();
    if token.is_empty() {
        bail!("{} holds no token", file.display());
    }
    Ok(token.into())
}

#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
