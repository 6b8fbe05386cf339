//! The tables of a page.

use std::fmt::{self, Write as _};

use super::{
    RunReport,
    candidates::{self, Candidate},
    html::{Escaped, Figure, Long, Said, time},
};
use crate::{
    run::EvaluationRecord,
    terminal::{count, number},
    types::AttemptStatus,
};

/// How many evaluations are shown: the best half, and the latest.
const EVALUATIONS: usize = 1000;
/// How many candidates are shown: the best.
const CANDIDATES: usize = 200;
/// How many rejections are shown: the latest.
const REJECTIONS: usize = 200;

/// What each candidate came to, and what was not even tried.
pub(super) fn candidates(page: &mut String, report: &RunReport) -> fmt::Result {
    let Some(said) = report.said() else { return Ok(()) };
    let all = candidates::candidates(said);
    if !all.is_empty() {
        let total = all.len();
        let shown = best(all, CANDIDATES);
        write!(page, "<section id=\"candidates\"><h2>Candidates</h2>")?;
        left_out(page, shown.len(), total, "the best")?;
        page.push_str(
            "<table><thead><tr><th>#</th><th>score</th><th>candidate</th><th>round</th><th>made by</th></tr></thead><tbody>",
        );
        for one in shown {
            candidate(page, &one)?;
        }
        page.push_str("</tbody></table></section>");
    }
    let rejections = candidates::rejections(said);
    if rejections.is_empty() {
        return Ok(());
    }
    let first = rejections.len().saturating_sub(REJECTIONS);
    write!(page, "<section id=\"rejections\"><h2>Proposed and not tried</h2>")?;
    left_out(page, rejections.len() - first, rejections.len(), "the latest")?;
    page.push_str("<table><thead><tr><th>why not</th><th>proposal</th></tr></thead><tbody>");
    for one in &rejections[first..] {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            Long(&one.reason),
            Long(&one.text)
        )?;
    }
    page.push_str("</tbody></table></section>");
    Ok(())
}

fn best(mut all: Vec<Candidate>, most: usize) -> Vec<Candidate> {
    if all.len() > most {
        // Stable, so of equals the earlier stay.
        all.sort_by(|a, b| b.is_best.cmp(&a.is_best).then(b.rank().total_cmp(&a.rank())));
        all.truncate(most);
        all.sort_by_key(|one| one.place);
    }
    all
}

fn candidate(page: &mut String, one: &Candidate) -> fmt::Result {
    let class = if one.is_best { " class=\"best\"" } else { "" };
    write!(page, "<tr{class}><td class=\"n\">{}</td><td>", one.place)?;
    for (name, at, score) in &one.scores {
        let shown = number(*score);
        let figure = Figure {
            at: &format!("/output{at}"),
            value: *score,
            shown: &shown,
        };
        write!(page, "<div>{figure} <small>{name}</small></div>")?;
    }
    if let Some(problem) = &one.problem {
        write!(page, "<div class=\"bad\">{}</div>", Long(problem))?;
    }
    let best = if one.is_best { "<strong>best</strong> " } else { "" };
    let round = one.round.map(|round| round.to_string()).unwrap_or_default();
    write!(
        page,
        "</td><td>{best}{}</td><td class=\"n\">{round}</td><td>{}</td></tr>",
        Long(&one.text),
        Long(&one.origin)
    )
}

fn left_out(page: &mut String, shown: usize, total: usize, which: &str) -> fmt::Result {
    if shown == total {
        return Ok(());
    }
    write!(
        page,
        "<p class=\"none\">{which} {} of {} are shown</p>",
        count(shown as u64),
        count(total as u64)
    )
}

/// What each evaluation came to.
pub(super) fn evaluations(page: &mut String, all: &[EvaluationRecord]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    let shown = chosen(all);
    write!(page, "<section id=\"evaluations\"><h2>Evaluations</h2>")?;
    left_out(page, shown.len(), all.len(), "the best and the latest")?;
    if shown.len() < all.len() {
        page.push_str("<p class=\"none\">evaluations.jsonl in the run folder has all of them</p>");
    }
    page.push_str(
        "<table><thead><tr><th>#</th><th>what</th><th>for</th><th>mean reward</th><th>rollouts</th><th>rewarded</th>\
         <th>no reward</th><th>failed</th><th>ended</th><th>the first without a reward</th></tr></thead><tbody>",
    );
    for index in shown {
        let one = &all[index];
        let mean = one.mean_reward.map_or_else(|| "–".to_owned(), number);
        write!(
            page,
            "<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{mean}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            index + 1,
            Said(&one.label),
            one.mode.map_or("", |mode| mode.as_str()),
            count(one.rollouts as u64),
            count(one.rewarded as u64),
            count(one.without_reward as u64),
            count(one.failed as u64),
            Escaped(&time(one.time)),
            Long(one.problem.as_deref().unwrap_or_default())
        )?;
    }
    page.push_str("</tbody></table></section>");
    Ok(())
}

/// Which evaluations are shown, by their places.
fn chosen(all: &[EvaluationRecord]) -> Vec<usize> {
    if all.len() <= EVALUATIONS {
        return (0..all.len()).collect();
    }
    let mean = |index: &usize| all[*index].mean_reward.unwrap_or(f64::NEG_INFINITY);
    let mut earlier: Vec<usize> = (0..all.len() - EVALUATIONS / 2).collect();
    earlier.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    earlier.truncate(EVALUATIONS / 2);
    earlier.extend(all.len() - EVALUATIONS / 2..all.len());
    earlier.sort_unstable();
    earlier
}

/// What failed, and why.
pub(super) fn failures(page: &mut String, report: &RunReport) -> fmt::Result {
    if report.totals.failures.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<section id=\"failures\"><h2>What failed, and why</h2><table><thead><tr><th>attempts</th><th>how</th><th>why</th>\
         <th>such as</th></tr></thead><tbody>",
    );
    for (index, one) in report.totals.failures.iter().enumerate() {
        let shown = count(one.count);
        let figure = Figure {
            at: &format!("/failures/{index}/count"),
            value: one.count as f64,
            shown: &shown,
        };
        let how = match one.status {
            AttemptStatus::Succeeded => "succeeded without a reward",
            other => other.as_str(),
        };
        write!(
            page,
            "<tr><td class=\"n\">{figure}</td><td>{how}</td><td>{}</td><td><code>{}</code></td></tr>",
            Long(&one.reason),
            Escaped(one.rollout_id.as_str())
        )?;
    }
    page.push_str("</tbody></table></section>");
    Ok(())
}

/// What was used of models, by role.
pub(super) fn models(page: &mut String, report: &RunReport) -> fmt::Result {
    let used = &report.totals.model_usage;
    if used.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<section id=\"models\"><h2>Models</h2><table><thead><tr><th>role</th><th>model</th><th>calls</th><th>tokens in</th>\
         <th>tokens out</th><th>calls without a number of tokens</th></tr></thead><tbody>",
    );
    for (index, one) in used.iter().enumerate() {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td>",
            Said(&one.role),
            Said(one.model.as_deref().unwrap_or("–"))
        )?;
        for (name, value) in [
            ("calls", one.calls),
            ("input_tokens", one.input_tokens),
            ("output_tokens", one.output_tokens),
            ("calls_without_tokens", one.calls_without_tokens),
        ] {
            let shown = count(value);
            let figure = Figure {
                at: &format!("/model_usage/{index}/{name}"),
                value: value as f64,
                shown: &shown,
            };
            write!(page, "<td class=\"n\">{figure}</td>")?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
    if let Some(cost) = &report.record.cost {
        write!(page, "<p>Cost: {}</p>", Escaped(&cost.to_string()))?;
    }
    page.push_str("</section>");
    Ok(())
}

/// What was wrong with the run's health.
pub(super) fn alerts(page: &mut String, report: &RunReport) -> fmt::Result {
    if report.record.alerts.is_empty() {
        return Ok(());
    }
    page.push_str("<section id=\"alerts\"><h2>Alerts</h2><ul>");
    for alert in &report.record.alerts {
        let (class, cleared) = match alert.cleared {
            Some(at) => ("", format!(", cleared {}", time(at))),
            None => ("bad", String::new()),
        };
        write!(
            page,
            "<li class=\"{class}\">{} <small>{}{cleared}</small></li>",
            Said(&alert.message),
            time(alert.raised)
        )?;
    }
    page.push_str("</ul></section>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn of_very_many_evaluations_the_best_and_the_latest_are_shown() {
        let all: Vec<EvaluationRecord> = (0..10_000)
            .map(|index| {
                serde_json::from_value(serde_json::json!({
                    "key": "k", "label": "l", "mode": null, "resources_id": null, "rollouts": 1, "rewarded": 1,
                    "without_reward": 0, "failed": 0, "mean_reward": if index == 77 { 1.0 } else { 0.0 }, "problem": null,
                    "time": Timestamp::from_secs_f64(1.0),
                }))
                .unwrap()
            })
            .collect();
        let shown = chosen(&all);
        assert_eq!(shown.len(), EVALUATIONS);
        assert!(shown.contains(&77) && shown.contains(&9_500) && shown.contains(&9_999));
        assert!(shown.is_sorted());
        let mut page = String::new();
        evaluations(&mut page, &all).unwrap();
        assert!(page.contains("the best and the latest 1,000 of 10,000 are shown"));
        assert!(page.len() < 400_000, "{}", page.len());
    }
}
