//! `lightning serve-model`.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{
    args::ServeModelArgs,
    serve::{Signals, until},
};
use crate::{
    lm::{Checkpoint, Engine, EngineOptions, Served},
    logging::Logging,
    model_server::ModelServer,
};

pub(super) async fn run(args: ServeModelArgs) -> anyhow::Result<ExitCode> {
    let logging = Logging::new().levels(&args.log_level).context("--log-level")?;
    logging.without_recording().install()?;
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
    let signals = Signals::new(false)?;
    super::print(&format!(
        "lightning: the model `{name}` of {parameters} numbers listens on {}/v1\n",
        server.url()
    ))?;
    let stop = CancellationToken::new();
    until(signals, server.serve(stop.clone()), stop, || {}).await
}

/// The name of a folder, also of `.`.
fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
