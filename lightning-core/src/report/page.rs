//! The page.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::{
    RunReport, RunState,
    chart::Chart,
    html::{Escaped, Figure, Long, Said, cut, time},
    read::Output,
    tables,
};
use crate::terminal::{count, duration, number};

/// How many other figures are drawn.
const CHARTS: usize = 24;
/// How much of what the algorithm returned is shown.
const OUTPUT: usize = 50_000;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--curve:#2f7ed8;--bad:#c9302c;--good:#3c9a4b}\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin-bottom:.2rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 .5rem}\
.state{display:inline-block;border-radius:.3rem;padding:0 .5rem;font-size:1rem;color:#fff;background:#777;vertical-align:middle}\
.succeeded{background:var(--good)}.failed,.broken-off{background:var(--bad)}\
.sum{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;list-style:none}\
.sum li{border:1px solid var(--line);border-radius:.4rem;padding:.3rem .8rem}\
.sum b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}\
.problem{border-left:.3rem solid var(--bad);padding:.3rem .8rem;white-space:pre-wrap;overflow-wrap:anywhere}\
.bad{color:var(--bad)}.none,small{opacity:.7}\
section{overflow-x:auto}\
table{border-collapse:collapse;width:100%}\
th{text-align:left;font-weight:600;border-bottom:2px solid var(--line)}\
th,td{vertical-align:top;padding:.15rem .8rem .15rem 0}\
td{border-bottom:1px solid var(--line);overflow-wrap:break-word}\
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
.best{background:#3c9a4b22}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2rem 0}summary{cursor:pointer}\
figure{margin:.5rem 0;max-width:46rem}figcaption{opacity:.8}svg{width:100%;height:auto}\
.grid{stroke:var(--line)}.curve{fill:none;stroke:var(--curve);stroke-width:2;stroke-linejoin:round}\
circle{fill:var(--curve)}svg text{font-size:11px;fill:currentColor;opacity:.8}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}";

pub(super) fn of(report: &RunReport) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut page, report);
    page
}

fn write(page: &mut String, report: &RunReport) -> fmt::Result {
    let record = &report.record;
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body>\n",
        title = Escaped(&record.run_id),
    )?;
    let (class, state) = match report.state {
        RunState::Succeeded => ("succeeded", "succeeded"),
        RunState::Failed => ("failed", "failed"),
        RunState::GoingOn => ("going-on", "going on"),
        RunState::BrokenOff => ("broken-off", "broken off"),
    };
    writeln!(
        page,
        "<h1>{} <span class=\"state {class}\">{state}</span></h1><p>{} trains {}{}{}</p>",
        Said(&record.run_id),
        Said(&record.algorithm),
        Said(&record.agent),
        record
            .began
            .map(|at| format!(", begun {}", time(at)))
            .unwrap_or_default(),
        record
            .ended
            .map(|at| format!(", ended {}", time(at)))
            .unwrap_or_default(),
    )?;
    problems(page, report)?;
    sum(page, report)?;
    tables::alerts(page, report)?;
    curves(page, report)?;
    tables::candidates(page, report)?;
    tables::failures(page, report)?;
    tables::models(page, report)?;
    tables::evaluations(page, &report.evaluations)?;
    other_figures(page, report)?;
    settings(page, report)?;
    output(page, report)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// Why the run did not end well, and what could not be read.
fn problems(page: &mut String, report: &RunReport) -> fmt::Result {
    let error = report.record.error.as_deref();
    let problem = match report.state {
        RunState::Failed => error,
        RunState::BrokenOff => Some(
            "The process of this run ended without a word. Begin it again in the same folder, and it goes on from here.",
        ),
        _ => None,
    };
    if let Some(problem) = problem {
        write!(page, "<p class=\"problem\" id=\"problem\">{}</p>", Said(problem))?;
    }
    if let Some(stopped) = report.totals.stopped {
        write!(page, "<p>Stopped before its own end: {stopped}.</p>")?;
    }
    for what in &report.unreadable {
        write!(page, "<p class=\"bad\">cannot be read: {}</p>", Said(what))?;
    }
    Ok(())
}

/// The figures that people look for first.
fn sum(page: &mut String, report: &RunReport) -> fmt::Result {
    let (totals, counts) = (&report.totals, &report.totals.rollouts);
    page.push_str("<ul class=\"sum\">");
    let mut tile = |at: &str, value: f64, shown: &str, what: &str| {
        let figure = Figure { at, value, shown };
        write!(page, "<li><b>{figure}</b>{what}</li>")
    };
    tile(
        "/rollouts/succeeded",
        counts.succeeded as f64,
        &count(counts.succeeded),
        "rollouts succeeded",
    )
    .and_then(|()| {
        tile(
            "/rollouts/failed",
            counts.failed as f64,
            &count(counts.failed),
            "failed",
        )
    })
    .and_then(|()| {
        tile(
            "/rollouts/rewarded",
            counts.rewarded as f64,
            &count(counts.rewarded),
            "rewarded",
        )
    })?;
    if let Some(mean) = counts.mean_reward {
        tile("/rollouts/mean_reward", mean, &number(mean), "reward on average")?;
    }
    let score = report
        .score()
        .map(|series| series.points.as_slice())
        .unwrap_or_default();
    let best = score
        .iter()
        .map(|point| point.1)
        .filter(|score| score.is_finite());
    if let Some(best) = best.reduce(f64::max) {
        tile("best score", best, &number(best), "best score")?;
    }
    if let Some(seconds) = report.seconds() {
        tile("/seconds", seconds, &duration(seconds), "in all")?;
    }
    if let Some(cost) = &report.record.cost {
        let shown = format!("{} {}", (cost.amount * 1e4).round() / 1e4, cost.currency);
        tile("/cost/amount", cost.amount, &shown, "cost")?;
    }
    if totals.of_evaluations && report.state != RunState::Succeeded {
        page.push_str("<li class=\"none\">of the evaluations that have ended</li>");
    }
    page.push_str("</ul>");
    Ok(())
}

fn curves(page: &mut String, report: &RunReport) -> fmt::Result {
    let rewards: Vec<(f64, f64)> = report
        .totals
        .reward_curve
        .iter()
        .map(|point| (point.rewarded as f64, point.mean_reward))
        .collect();
    let means: Vec<(f64, f64)> = report
        .evaluations
        .iter()
        .enumerate()
        .filter_map(|(index, one)| Some(((index + 1) as f64, one.mean_reward?)))
        .collect();
    let charts = [
        ("Reward", "rewarded rollouts", rewards.as_slice()),
        (
            "Score",
            "rounds",
            report
                .score()
                .map(|series| series.points.as_slice())
                .unwrap_or_default(),
        ),
        ("Mean reward of evaluations", "evaluations", means.as_slice()),
    ];
    if charts.iter().all(|(.., points)| points.is_empty()) {
        return Ok(());
    }
    page.push_str("<section id=\"curves\"><h2>Course</h2>");
    for (title, along, points) in charts {
        if !points.is_empty() {
            write!(page, "{}", Chart { title, along, points })?;
        }
    }
    page.push_str("</section>");
    Ok(())
}

fn other_figures(page: &mut String, report: &RunReport) -> fmt::Result {
    let others = || report.metrics.iter().filter(|series| series.name != "score");
    let total = others().count();
    if total == 0 {
        return Ok(());
    }
    page.push_str("<section id=\"figures\"><h2>Figures of the algorithm</h2>");
    for series in others().take(CHARTS) {
        let chart = Chart {
            title: &series.name,
            along: "steps",
            points: &series.points,
        };
        write!(page, "{chart}")?;
    }
    if total > CHARTS {
        write!(
            page,
            "<p class=\"none\">{CHARTS} of {total} are drawn; metrics.jsonl in the run folder has all of them</p>"
        )?;
    }
    page.push_str("</section>");
    Ok(())
}

fn settings(page: &mut String, report: &RunReport) -> fmt::Result {
    let record = &report.record;
    page.push_str("<section id=\"parameters\"><h2>Parameters</h2><dl>");
    for (name, value) in &record.parameters {
        term(page, name, &plain(value))?;
    }
    page.push_str("</dl></section><section id=\"settings\"><h2>Settings and versions</h2><dl>");
    let mut plain_terms: Vec<(&str, String)> = vec![
        (
            "algorithm",
            format!("{}, version {}", record.algorithm, record.version),
        ),
        ("agent", record.agent.clone()),
        ("Lightning", record.lightning.clone()),
        ("seed", record.seed.to_string()),
        ("runners", record.n_runners.to_string()),
    ];
    plain_terms.extend(
        record
            .max_rollouts
            .map(|most| ("rollouts of each runner", most.to_string())),
    );
    for (name, tasks) in [
        ("training tasks", record.train_tasks),
        ("validation tasks", record.val_tasks),
    ] {
        plain_terms.extend(tasks.map(|tasks| (name, count(tasks as u64))));
    }
    for (name, limits) in [
        ("limits of a rollout", &Value::from(record.rollout_config.clone())),
        ("stops when", &record.stop_when),
    ] {
        let set = limits
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null());
        let set: Vec<String> = set
            .map(|(name, value)| format!("{name}: {}", plain(value)))
            .collect();
        if !set.is_empty() {
            plain_terms.push((name, set.join(", ")));
        }
    }
    for (name, value) in plain_terms {
        term(page, name, &value)?;
    }
    for (name, kind) in &record.initial_resources {
        term(page, "initial resource", &format!("{name} ({kind})"))?;
    }
    for (index, process) in record.processes.iter().enumerate() {
        let end = process.ended.map_or_else(|| "?".to_owned(), time);
        let name = if index == 0 { "process" } else { "resumed" };
        let words = format!("{} to {end}, {} runners", time(process.began), process.n_runners);
        term(page, name, &words)?;
    }
    for version in &record.configuration {
        let changes = match version.changes.is_empty() {
            true => String::new(),
            false => format!(": {}", version.changes.join("; ")),
        };
        let words = format!("{} from {}{changes}", version.file, time(version.time));
        term(page, "run file", &words)?;
    }
    term(page, "run folder", &report.folder.display().to_string())?;
    page.push_str("</dl></section>");
    Ok(())
}

fn term(page: &mut String, name: &str, value: &str) -> fmt::Result {
    write!(page, "<dt>{}</dt><dd>{}</dd>", Said(name), Long(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn output(page: &mut String, report: &RunReport) -> fmt::Result {
    let (title, value) = match &report.output {
        Some(Output::Returned(value)) => ("What the algorithm returned", value),
        Some(Output::Saved(value)) => ("What the algorithm saved last", value),
        None => return Ok(()),
    };
    let text = format!("{value:#}");
    let shown = cut(&text, OUTPUT);
    let more = if shown.len() < text.len() { "…" } else { "" };
    writeln!(
        page,
        "<section id=\"output\"><h2>{title}</h2><details><summary>JSON</summary><pre>{}{more}</pre></details></section>",
        Escaped(shown)
    )
}
