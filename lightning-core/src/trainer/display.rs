//! What people see of a run, on a screen.

use std::sync::Arc;

use super::{FitReport, TrainerError, builder::Parts};
use crate::{
    algorithm::AlgorithmContext,
    run::{ProgressSink, RunContext},
    terminal::{Banner, RunSummary, Screen, TerminalProgress},
    types::Dataset,
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
        let mut banner = Banner::default();
        banner.run_id = run.id().to_owned();
        banner.algorithm = run.algorithm().clone();
        banner.agent = agent;
        (banner.train_tasks, banner.val_tasks) = (count(cx.train_dataset()), count(cx.val_dataset()));
        banner.resources = parts.initial_resources.clone().unwrap_or_default();
        banner.n_runners = Some(parts.n_runners);
        banner.max_rollouts = parts.max_rollouts;
        banner.rollout_config = parts.rollout_config.clone();
        banner.stop_when = parts.stop_when.clone();
        banner.seed = run.seed();
        banner.store = store;
        banner.run_dir = (!run.folder().is_temporary()).then(|| run.folder().path().to_owned());
        screen.print(&banner.text(screen.columns()));
    }

    /// Says something while the run goes on.
    pub(super) fn note(&self, text: &str) {
        if let Some((screen, _)) = &self.shown {
            screen.print(text);
        }
    }

    /// Says what came of it.
    pub(super) fn end<O>(&self, report: &Result<FitReport<O>, TrainerError>) {
        let Some((screen, progress)) = &self.shown else {
            return;
        };
        progress.finish();
        // An error is for the caller to show.
        if let Ok(report) = report {
            screen.print(&summary(report).text(screen.columns()));
        }
    }
}

fn summary<O>(report: &FitReport<O>) -> RunSummary {
    let mut summary = RunSummary::default();
    summary.run_id = report.run_id.clone();
    summary.seconds = report.seconds;
    (summary.succeeded, summary.failed) = (report.rollouts.succeeded, report.rollouts.failed);
    (summary.rewarded, summary.mean_reward) = (report.rollouts.rewarded, report.rollouts.mean_reward);
    summary.rewards = report
        .reward_curve
        .iter()
        .map(|point| point.mean_reward)
        .collect();
    summary.stopped = report.stopped.map(|reason| reason.to_string());
    let scores = report.metrics.iter().filter(|metric| metric.name == "score");
    summary.curve = scores.map(|metric| metric.value).collect();
    summary.models = report.model_usage.clone();
    summary.run_dir = report.run_dir.clone();
    summary
}
