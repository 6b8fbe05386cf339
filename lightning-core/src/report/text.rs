//! The report on a screen.

use super::{RunReport, RunState};
use crate::{
    run::StopReason,
    terminal::{Rows, RunSummary, counted},
    types::AttemptStatus,
};

/// How many reasons for failures are shown.
const REASONS: usize = 5;

pub(super) fn of(report: &RunReport, columns: usize) -> String {
    let (record, totals) = (&report.record, &report.totals);
    let mut state = Rows::new(&format!("{} trains {}", record.algorithm, record.agent), columns);
    state.add(
        "state",
        match report.state {
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::GoingOn => "going on; the figures are of the evaluations that have ended",
            RunState::BrokenOff => {
                "broken off; begin it again in the same folder, and it goes on. The figures are of the evaluations that ended"
            }
        },
    );
    if let Some(error) = &record.error {
        state.add_whole("error", error);
    }
    for what in &report.unreadable {
        state.add_whole("not readable", what);
    }
    let summary = RunSummary {
        run_id: record.run_id.clone(),
        seconds: report.seconds().unwrap_or(f64::NAN),
        succeeded: totals.rollouts.succeeded,
        failed: totals.rollouts.failed,
        rewarded: totals.rollouts.rewarded,
        mean_reward: totals.rollouts.mean_reward,
        rewards: totals
            .reward_curve
            .iter()
            .map(|point| point.mean_reward)
            .collect(),
        stopped: totals.stopped.as_ref().map(StopReason::to_string),
        curve: report
            .score()
            .map(|series| series.points.iter().map(|point| point.1).collect())
            .unwrap_or_default(),
        models: totals.model_usage.clone(),
        cost: record.cost.as_ref().map(ToString::to_string).unwrap_or_default(),
        inspect: String::new(),
        run_dir: Some(report.folder.clone()),
    };
    let mut more = Rows::new("", columns);
    let evaluations = report.evaluations.len() as u64;
    if evaluations > 0 {
        more.add("evaluations", &counted(evaluations, "evaluation"));
    }
    let mut name = "failures";
    for one in totals.failures.iter().take(REASONS) {
        let how = match one.status {
            AttemptStatus::Succeeded => "no reward",
            other => other.as_str(),
        };
        let words = format!("{} {how}: {} ({})", one.count, one.reason, one.rollout_id);
        more.add(std::mem::take(&mut name), &words);
    }
    let mut name = "alerts";
    for alert in &record.alerts {
        let cleared = if alert.cleared.is_some() { "cleared: " } else { "" };
        more.add_whole(std::mem::take(&mut name), &format!("{cleared}{}", alert.message));
    }
    let more = more.into_text();
    format!(
        "{}{}{}",
        state.into_text(),
        summary.text(columns),
        more.trim_start_matches('\n')
    )
}
