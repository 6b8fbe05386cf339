//! What people see of a run, on a screen.

use std::sync::Arc;

use super::{FitReport, TrainerError, builder::Parts};
use crate::{
    algorithm::AlgorithmContext,
    run::{ProgressSink, Recovered, RunContext},
    terminal::{Banner, RunSummary, Screen, TerminalProgress},
    types::{Dataset, without_password},
};

/// Shows a run, if it is to be shown.
pub(super) struct Display {
    shown: Option<(Screen, Arc<TerminalProgress>)>,
}

impl Display {
    pub(super) fn new(screen: Option<&Screen>) -> Self {
        let shown = screen.map(|screen| {
            let progress = TerminalProgress::new(screen.clone());
            (screen.clone(), Arc::new(progress))
        });
        Self { shown }
    }

    /// Where the run's progress goes.
    pub(super) fn progress(&self) -> Option<Arc<dyn ProgressSink>> {
        let (_, progress) = self.shown.as_ref()?;
        Some(Arc::clone(progress) as Arc<dyn ProgressSink>)
    }

    /// Says what will happen.
    pub(super) fn begin<T>(
        &self,
        run: &RunContext,
        parts: &Parts,
        cx: &AlgorithmContext<T>,
        agent: String,
        store: String,
    ) {
        let Some((screen, _)) = &self.shown else { return };
        let count = |tasks: Option<&Dataset<T>>| tasks.map(|tasks| tasks.len() as u64);
        let banner = Banner {
            run_id: run.id().to_owned(),
            algorithm: run.algorithm().clone(),
            agent,
            train_tasks: count(cx.train_dataset()),
            val_tasks: count(cx.val_dataset()),
            resources: parts.initial_resources.clone().unwrap_or_default(),
            adapter: cx.scope().describe_adapter().unwrap_or_default(),
            n_runners: Some(parts.n_runners),
            max_rollouts: parts.max_rollouts,
            rollout_config: parts.rollout_config.clone(),
            stop_when: parts.stop_when.clone(),
            seed: run.seed(),
            store,
            run_dir: (!run.folder().is_temporary()).then(|| run.folder().path().to_owned()),
            dashboard: None,
        };
        screen.print(&banner.text(screen.columns()));
    }

    /// Says what an earlier process of the run has left.
    pub(super) fn resumed(&self, found: Recovered) {
        let mut parts = vec![format!("{} rollouts had ended", found.ended)];
        for (count, what) in [
            (found.set_aside, "are taken up again when they are needed"),
            (found.going_on, "go on elsewhere"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        self.note(&format!(
            "This run was begun before and is resumed: {}.",
            parts.join(", ")
        ));
    }

    /// Says something while the run goes on.
    pub(super) fn note(&self, text: &str) {
        if let Some((screen, _)) = &self.shown {
            screen.print(text);
        }
    }

    /// Says what came of it.
    pub(super) fn end<O>(&self, report: &Result<FitReport<O>, TrainerError>, parts: &Parts) {
        let Some((screen, progress)) = &self.shown else {
            return;
        };
        progress.finish();
        // An error is for the caller to show.
        if let Ok(report) = report {
            screen.print(&summary(report, inspect(parts)).text(screen.columns()));
        }
    }
}

/// The command that shows the rollouts, where the store outlives the run.
fn inspect(parts: &Parts) -> String {
    match parts.store.url(parts.run_dir.as_deref()) {
        Some(url) if url.starts_with("sqlite:") => {
            format!("lightning store --backend {url}, then lightning rollouts list")
        }
        Some(url) if url.starts_with("http") => {
            format!("lightning rollouts list --url {}", without_password(&url))
        }
        _ => String::new(),
    }
}

fn summary<O>(report: &FitReport<O>, inspect: String) -> RunSummary {
    let scores = report.metrics.iter().filter(|metric| metric.name == "score");
    RunSummary {
        run_id: report.run_id.clone(),
        seconds: report.seconds,
        succeeded: report.rollouts.succeeded,
        failed: report.rollouts.failed,
        rewarded: report.rollouts.rewarded,
        mean_reward: report.rollouts.mean_reward,
        rewards: report
            .reward_curve
            .iter()
            .map(|point| point.mean_reward)
            .collect(),
        stopped: report.stopped.map(|reason| reason.to_string()),
        curve: scores.map(|metric| metric.value).collect(),
        models: report.model_usage.clone(),
        cost: report.cost.as_ref().map(ToString::to_string).unwrap_or_default(),
        inspect,
        run_dir: report.run_dir.clone(),
    }
}
