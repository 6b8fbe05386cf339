//! `lightning train`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::args::TrainArgs;
use crate::train_process::{TrainJob, carry_out};

pub(super) async fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let path = args.job.display().to_string();
    let job = std::fs::read(&args.job).with_context(|| format!("cannot read {path}"))?;
    let job: TrainJob = serde_json::from_slice(&job).with_context(|| path)?;
    let train = move || {
        let say = |value: serde_json::Value| super::print(&format!("{value}\n")).is_ok();
        carry_out(&job, |step| say(serde_json::json!({"step": step})))
    };
    let trained = tokio::task::spawn_blocking(train).await??;
    super::print(&format!("{}\n", serde_json::json!({"trained": trained})))?;
    Ok(ExitCode::SUCCESS)
}
