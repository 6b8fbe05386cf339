//! `lightning serve-model`.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{
    args::ServeModelArgs,
    serve::{Signals, reload, until},
};
use crate::{
    lm::{Checkpoint, Engine, EngineOptions, Served},
    logging::Logging,
    model_server::ModelServer,
    server::Tokens,
};

pub(super) async fn run(args: ServeModelArgs) -> anyhow::Result<ExitCode> {
    let logging = Logging::new().levels(&args.log_level).context("--log-level")?;
    logging.without_recording().install()?;
    let admins = match &args.admin_token_file {
        Some(file) => Tokens::read(file)?,
        None => Tokens::new(),
    };
    let checkpoint = Checkpoint::load(&args.folder)?;
    let parameters = checkpoint.model.config().parameters();
    let options = EngineOptions {
        batch: args.batch,
        ..EngineOptions::default()
    };
    let engine = Engine::start(Served::new(checkpoint, args.model_version), options)?;
    let name = args.name.unwrap_or_else(|| name_of(&args.folder));
    let address = if args.host.contains(':') {
        format!("[{}]:{}", args.host, args.port)
    } else {
        format!("{}:{}", args.host, args.port)
    };
    let server = ModelServer::bind(address, Arc::new(engine), &name).await?;
    let server = server.admin(admins.clone());
    let signals = Signals::new(args.admin_token_file.is_some())?;
    super::print(&format!(
        "lightning: the model `{name}` of {parameters} numbers listens on {}/v1\n",
        server.url()
    ))?;
    let stop = CancellationToken::new();
    let read_again = || {
        if let Some(file) = &args.admin_token_file {
            reload(&admins, file);
        }
    };
    until(signals, server.serve(stop.clone()), stop, read_again).await
}

/// The name of a folder, also of `.`.
fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
