//! What it costs to adapt a trace, and how that grows with its size.
//!
//! `cargo bench -p lightning-tests --bench adapting`. Prints milliseconds for traces of 50 000, 100 000 and 200 000 spans, and
//! the exponent of growth: 1 is linear, sorting has about 1.06, and larger traces miss the caches more often. What is
//! quadratic has 2: above 1.5 it fails. Time is that of the processor, where the system tells it, so that it matters less
//! what else is running.

use std::{fs, time::Instant};

use lightning_core::{
    adapter::{
        ProxyToTriplets, RewardPolicy, ToMessages, ToTrajectories, TraceAdapter, TraceTree, TracerToTriplets,
    },
    types::{Span, Timestamp},
};
use lightning_tests::traces::{Shape, trace};
use serde_json::json;

/// All of them larger than the caches, so that these do not show as growth.
const SIZES: [usize; 3] = [50_000, 100_000, 200_000];
const ROUNDS: usize = 5;
const STEEPEST: f64 = 1.5;

fn main() {
    let usual: Vec<_> = SIZES
        .iter()
        .map(|size| trace(7, *size, Shape::numbered(0)))
        .collect();
    let everything: Vec<_> = SIZES
        .iter()
        .map(|size| trace(7, *size, Shape::numbered(63)))
        .collect();
    let flat: Vec<_> = SIZES.iter().map(|size| side_by_side(*size)).collect();
    let deep: Vec<_> = SIZES.iter().map(|size| one_in_the_other(*size)).collect();

    let mut steep = false;
    let mut measure = |name: &str, traces: &[Vec<Span>], adapt: &dyn Fn(&[Span])| {
        let times: Vec<f64> = traces.iter().map(|spans| milliseconds(|| adapt(spans))).collect();
        let sizes: Vec<f64> = traces.iter().map(|spans| spans.len() as f64).collect();
        let exponent = slope(&sizes, &times);
        steep |= exponent > STEEPEST;
        let shown: Vec<String> = times.iter().map(|time| format!("{time:8.1}")).collect();
        println!("{name:44} {} ms   exponent {exponent:.2}", shown.join(" "));
    };

    let tracer = |policy: RewardPolicy| {
        move |spans: &[Span]| {
            TracerToTriplets::new()
                .rewards(policy.clone())
                .adapt(spans)
                .unwrap();
        }
    };
    measure(
        "triplets, sound trace",
        &usual,
        &tracer(RewardPolicy::FirstOccurrence),
    );
    measure(
        "triplets, to be repaired",
        &everything,
        &tracer(RewardPolicy::FirstOccurrence),
    );
    measure(
        "triplets, siblings",
        &everything,
        &tracer(RewardPolicy::FirstSibling),
    );
    measure(
        "triplets, side by side",
        &flat,
        &tracer(RewardPolicy::FirstOccurrence),
    );
    measure(
        "triplets, side by side, siblings",
        &flat,
        &tracer(RewardPolicy::FirstSibling),
    );
    measure(
        "triplets, one in the other",
        &deep,
        &tracer(RewardPolicy::FirstOccurrence),
    );
    measure("triplets of a proxy", &everything, &|spans| {
        ProxyToTriplets::new().adapt(spans).unwrap();
    });
    measure("trajectories, side by side", &flat, &|spans| {
        ToTrajectories::of(TracerToTriplets::new()).adapt(spans).unwrap();
    });
    measure("messages", &everything, &|spans| {
        ToMessages::new().adapt(spans).unwrap();
    });
    measure("tree as text and page, one in the other", &deep, &|spans| {
        let tree = TraceTree::new(spans).unwrap();
        assert!(!tree.to_string().is_empty() && !tree.to_html("trace").is_empty());
    });
    assert!(!steep, "something grows faster than its trace");
}

/// The best of the rounds: what else runs on the machine only adds.
fn milliseconds(adapt: impl Fn()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (began, busy) = (Instant::now(), processor_seconds());
        adapt();
        let on_processor = processor_seconds()
            .zip(busy)
            .map(|(after, before)| after - before);
        best = best.min(on_processor.unwrap_or_else(|| began.elapsed().as_secs_f64()) * 1e3);
    }
    best
}

/// How long this thread has been running, where Linux tells it.
fn processor_seconds() -> Option<f64> {
    let times = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(times.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
}

/// The slope of the line through the logarithms.
fn slope(sizes: &[f64], times: &[f64]) -> f64 {
    let count = sizes.len() as f64;
    let mean = |values: &[f64]| values.iter().map(|value| value.ln()).sum::<f64>() / count;
    let (size, time) = (mean(sizes), mean(times));
    let pairs = || {
        sizes
            .iter()
            .zip(times)
            .map(|(s, t)| (s.ln() - size, t.ln() - time))
    };
    pairs().map(|(s, t)| s * t).sum::<f64>() / pairs().map(|(s, _)| s * s).sum::<f64>()
}

fn made(
    number: usize,
    parent: Option<usize>,
    name: &str,
    times: (f64, f64),
    attributes: serde_json::Value,
) -> Span {
    let mut span = Span::new(
        "ro-1",
        "at-1",
        number as u64 + 1,
        "trace",
        format!("{number:016x}0"),
        name,
    );
    span.parent_id = parent.map(|parent| format!("{parent:016x}0"));
    (span.start_time, span.end_time) = (
        Some(Timestamp::from_secs_f64(times.0)),
        Some(Timestamp::from_secs_f64(times.1)),
    );
    span.attributes = attributes.as_object().cloned().unwrap_or_default();
    span
}

/// Everything under the root: calls that all have ended before the first reward, so that each reward has many to choose
/// from, and whose prompts do not go on from one another.
fn side_by_side(size: usize) -> Vec<Span> {
    let root = made(0, None, "root", (0.0, size as f64 + 1.0), json!({}));
    let rest = (1..size).map(|number| {
        let at = number as f64;
        if number <= size / 2 {
            let ids = json!({"prompt_token_ids": [1, 2, 3, number], "response_token_ids": [4, 5]});
            made(number, Some(0), "openai.chat.completion", (at, at + 0.5), ids)
        } else {
            let value = json!({"agentlightning.reward.0.value": 0.5});
            made(number, Some(0), "agentlightning.annotation", (at, at), value)
        }
    });
    [root].into_iter().chain(rest).collect()
}

/// Each span within the one before, and a call innermost.
fn one_in_the_other(size: usize) -> Vec<Span> {
    let chain = (0..size).map(|number| {
        let name = if number + 1 == size {
            "openai.chat.completion"
        } else {
            "step"
        };
        let (from, to) = (number as f64, 3.0 * size as f64 - number as f64);
        made(
            number,
            number.checked_sub(1),
            name,
            (from, to),
            json!({"agent.name": "planner"}),
        )
    });
    chain.collect()
}
