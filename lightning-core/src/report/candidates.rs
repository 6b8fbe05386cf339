//! Candidates, as the algorithms that ship return and save them; those of other algorithms, if they look alike.

use serde_json::Value;

/// One thing that an algorithm tried.
#[derive(Debug, PartialEq)]
pub(super) struct Candidate {
    /// Its place among all.
    pub(super) place: usize,
    pub(super) text: String,
    pub(super) round: Option<u64>,
    pub(super) origin: String,
    /// Its scores by name, and where they are within the output.
    pub(super) scores: Vec<(&'static str, String, f64)>,
    pub(super) problem: Option<String>,
    pub(super) is_best: bool,
}

impl Candidate {
    /// What candidates are ranked by.
    pub(super) fn rank(&self) -> f64 {
        self.scores
            .first()
            .map_or(f64::NEG_INFINITY, |(_, _, score)| *score)
    }
}

/// Something that was proposed and not tried.
#[derive(Debug, PartialEq)]
pub(super) struct Rejection {
    pub(super) text: String,
    pub(super) reason: String,
}

/// What an algorithm tried: the entries of `candidates` that have a prompt.
pub(super) fn candidates(said: &Value) -> Vec<Candidate> {
    let Some(all) = said.get("candidates").and_then(Value::as_array) else {
        return Vec::new();
    };
    let best = said.get("best_candidate").and_then(Value::as_u64);
    let best_prompt = said.get("best").filter(|best| !best.is_null());
    let read = |(place, one): (usize, &Value)| {
        let prompt = one.get("prompt")?;
        let scores = [("score", "score"), ("validation", "val"), ("training", "train")]
            .into_iter()
            .filter_map(|(name, key)| {
                Some((
                    name,
                    format!("/candidates/{place}/{key}"),
                    one.get(key)?.as_f64()?,
                ))
            });
        let batch = one
            .get("batch_scores")
            .and_then(Value::as_array)
            .and_then(|batches| {
                let last = batches.len().checked_sub(1)?;
                let mean = batches[last].get("mean")?.as_f64()?;
                Some((
                    "last batch",
                    format!("/candidates/{place}/batch_scores/{last}/mean"),
                    mean,
                ))
            });
        Some(Candidate {
            place,
            text: text_of(prompt),
            round: one.get("round").and_then(Value::as_u64),
            origin: one.get("origin").map(tagged).unwrap_or_default(),
            scores: scores.chain(batch).collect(),
            problem: one.get("problem").and_then(Value::as_str).map(str::to_owned),
            is_best: match best {
                Some(best) => best == place as u64,
                None => best_prompt == Some(prompt),
            },
        })
    };
    all.iter().enumerate().filter_map(read).collect()
}

/// What was proposed and not tried.
pub(super) fn rejections(said: &Value) -> Vec<Rejection> {
    let all = said.get("rejections").and_then(Value::as_array);
    let read = |one: &Value| Rejection {
        text: one
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        reason: one.get("reason").map(tagged).unwrap_or_default(),
    };
    all.into_iter().flatten().map(read).collect()
}

fn text_of(prompt: &Value) -> String {
    let text = prompt.get("template").unwrap_or(prompt);
    text.as_str().map_or_else(|| text.to_string(), str::to_owned)
}

/// A value with a `kind` in words: the kind, and what else it says.
fn tagged(value: &Value) -> String {
    let Some(object) = value.as_object() else {
        return value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    };
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let mut words = kind.replace('_', " ");
    for (name, value) in object.iter().filter(|(name, _)| *name != "kind") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        words.push_str(&format!("; {}: {value}", name.replace('_', " ")));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn candidates_of_both_kinds_of_search_are_read() {
        let said = json!({
            "best_candidate": 1,
            "candidates": [
                {"prompt": {"template": "a"}, "round": 0, "origin": {"kind": "seed"}, "score": 0.5, "batch_scores": []},
                {"prompt": {"template": "b"}, "round": 1, "origin": {"kind": "edit", "parent": 0, "critique": "too long"},
                 "score": null, "batch_scores": [{"round": 1, "mean": 0.25}], "problem": "no network"},
                {"no prompt": 1},
            ],
            "rejections": [{"text": "c", "reason": {"kind": "lost_placeholders", "names": ["x"]}}],
        });
        let all = candidates(&said);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].rank(), all[0].is_best), (0.5, false));
        assert_eq!(all[1].origin, "edit; critique: too long; parent: 0");
        assert_eq!(
            all[1].scores,
            [("last batch", "/candidates/1/batch_scores/0/mean".to_owned(), 0.25)]
        );
        assert!(all[1].is_best && all[1].problem.is_some());
        assert_eq!(rejections(&said)[0].reason, "lost placeholders; names: [\"x\"]");

        let said = json!({
            "best": {"template": "b"},
            "candidates": [{"prompt": {"template": "a"}, "train": 0.1, "val": null}, {"prompt": {"template": "b"}, "train": 0.2, "val": 0.3}],
        });
        let all = candidates(&said);
        assert_eq!(all[1].scores.len(), 2);
        assert!(all[1].is_best && !all[0].is_best);
    }

    #[test]
    fn whatever_else_an_algorithm_says_has_no_candidates() {
        for said in [
            json!(null),
            json!(3),
            json!({"candidates": 3}),
            json!({"candidates": [1, "a", null, []]}),
        ] {
            assert_eq!(candidates(&said), [], "{said}");
            assert_eq!(rejections(&said), []);
        }
    }
}
