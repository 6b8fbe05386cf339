//! One way of adapting, by them and by us.

use std::collections::HashSet;

use lightning_core::{
    adapter::{AdaptError, ProxyToTriplets, ToMessages, TraceAdapter, TraceTree, TracerToTriplets, Triplets},
    types::Span,
};
use serde_json::{Map, Value, json};

use crate::Theirs;

pub(crate) struct Run {
    pub(crate) name: &'static str,
    adapter: &'static str,
    options: Value,
    ours: Box<Adapt>,
}

type Adapt = dyn Fn(&[Span]) -> Result<Value, AdaptError>;

/// How much was compared.
pub(crate) struct Compared {
    pub(crate) items: usize,
    pub(crate) rewarded: usize,
}

fn triplets(result: Triplets) -> Value {
    json!(result.triplets)
}

impl Run {
    pub(crate) fn tracer(name: &'static str, options: Value, ours: TracerToTriplets) -> Self {
        Self {
            name,
            adapter: "tracer",
            options,
            ours: Box::new(move |spans| ours.adapt(spans).map(triplets)),
        }
    }

    pub(crate) fn tracer_final(name: &'static str, reward: f64, ours: TracerToTriplets) -> Self {
        Self {
            name,
            adapter: "final",
            options: json!({"final_reward": reward}),
            ours: Box::new(move |spans| Ok(triplets(ours.adapt(spans)?.with_final_reward(reward)))),
        }
    }

    pub(crate) fn nested(name: &'static str, ours: TracerToTriplets) -> Self {
        Self {
            name,
            adapter: "final",
            options: json!({"dedup_llm_call": false}),
            ours: Box::new(move |spans| ours.adapt(spans).map(triplets)),
        }
    }

    pub(crate) fn proxy(name: &'static str, ours: ProxyToTriplets) -> Self {
        Self {
            name,
            adapter: "proxy",
            options: json!({}),
            ours: Box::new(move |spans| ours.adapt(spans).map(triplets)),
        }
    }

    pub(crate) fn messages(name: &'static str, ours: ToMessages) -> Self {
        Self {
            name,
            adapter: "messages",
            options: json!({}),
            ours: Box::new(move |spans| ours.adapt(spans).map(|result| json!(result.conversations))),
        }
    }

    pub(crate) fn tree(name: &'static str, repair: bool) -> Self {
        Self {
            name,
            adapter: "tree",
            options: json!({"repair": repair}),
            ours: Box::new(move |spans| {
                let mut tree = TraceTree::new(spans)?;
                if repair {
                    tree.repair();
                }
                let nodes = tree.depth_first();
                let nodes = nodes.map(|node| json!([node.name(), node.agent_name(), node.children().len()]));
                Ok(nodes.collect())
            }),
        }
    }

    pub(crate) fn question(&self) -> Value {
        json!({"adapter": self.adapter, "options": self.options})
    }

    pub(crate) fn ours(&self, spans: &[Span]) -> Result<Value, AdaptError> {
        (self.ours)(spans)
    }

    /// Compares field by field, but for the differences that are meant.
    pub(crate) fn compare(&self, spans: &[Span], theirs: &Theirs) -> Result<Compared, String> {
        let ours = match self.ours(spans) {
            Ok(ours) => Ok(ours),
            // What is empty has a reason.
            Err(AdaptError::Empty(_)) => Ok(json!([])),
            Err(error) => Err(error),
        };
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Theirs::Ok(theirs)) => (ours, theirs.clone()),
            (Err(_), Theirs::Error(_)) => {
                return Ok(Compared {
                    items: 0,
                    rewarded: 0,
                });
            }
            (Ok(ours), Theirs::Error(error)) => return Err(format!("they fail ({error}), we give {ours}")),
            (Err(error), Theirs::Ok(theirs)) => return Err(format!("we fail ({error}), they give {theirs}")),
        };
        let (ours, theirs) = match self.adapter {
            "tree" => (ours, tree_of_theirs(theirs)),
            "messages" => (with_nulls(ours), messages_of_theirs(spans, theirs)),
            "proxy" => (proxy_of_ours(ours), theirs),
            _ => (tracer_of_ours(ours), tracer_of_theirs(theirs)),
        };
        let (ours, theirs) = (numbers_alike(ours), numbers_alike(theirs));
        if ours != theirs {
            return Err(first_difference(&ours, &theirs, ""));
        }
        let items = ours.as_array().map_or(&[][..], Vec::as_slice);
        Ok(Compared {
            items: items.len(),
            rewarded: items
                .iter()
                .filter(|item| item.get("reward").is_some_and(Value::is_number))
                .count(),
        })
    }
}

fn each(list: Value, change: impl Fn(&mut Value)) -> Value {
    let Value::Array(mut items) = list else {
        return list;
    };
    items.iter_mut().for_each(change);
    Value::Array(items)
}

/// We say more.
fn tracer_of_ours(ours: Value) -> Value {
    each(ours, |triplet| {
        triplet["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("span_id")
            .unwrap();
    })
}

/// No agent is none, not `*`.
fn tracer_of_theirs(theirs: Value) -> Value {
    each(theirs, |triplet| {
        if triplet["metadata"]["agent_name"] == "*" {
            triplet["metadata"]["agent_name"] = Value::Null;
        }
    })
}

/// They give nothing but tokens.
fn proxy_of_ours(ours: Value) -> Value {
    each(ours, |triplet| {
        let ids = |side: &str| json!({"token_ids": triplet[side]["token_ids"]});
        *triplet = json!({
            "prompt": ids("prompt"),
            "response": ids("response"),
            "reward": triplet["reward"],
            "metadata": {"response_id": triplet["metadata"]["response_id"]},
        });
    })
}

/// What is made up has one name.
fn tree_of_theirs(theirs: Value) -> Value {
    each(theirs, |node| {
        if node[0] == "virtual-root" {
            node[0] = json!("agentlightning.virtual");
        }
    })
}

fn with_nulls(ours: Value) -> Value {
    each(ours, |conversation| {
        let conversation = conversation.as_object_mut().unwrap();
        conversation.entry("tools").or_insert(Value::Null);
    })
}

/// They keep calls without an answer, and calls that were told before; and they leave parts as text.
fn messages_of_theirs(spans: &[Span], theirs: Value) -> Value {
    let mut answers = HashSet::new();
    let told = spans.iter().filter(|span| {
        let keys = [
            "gen_ai.prompt.",
            "gen_ai.completion.",
            "gen_ai.request.",
            "gen_ai.response.",
        ];
        span.attributes
            .keys()
            .any(|key| keys.iter().any(|prefix| key.starts_with(prefix)))
    });
    let Value::Array(conversations) = theirs else {
        return theirs;
    };
    let told: Vec<&Span> = told.collect();
    assert_eq!(told.len(), conversations.len());
    let kept = told.iter().zip(conversations).filter(|(span, conversation)| {
        let answered = conversation["messages"].as_array().unwrap().last();
        let answered = answered.is_some_and(|last| last["role"] == "assistant");
        let id = ["gen_ai.response.id", "agentlightning.operation.output.id"];
        let id = id.iter().find_map(|key| span.attributes.get(*key)?.as_str());
        answered && id.is_none_or(|id| answers.insert(id.to_owned()))
    });
    let kept = kept.map(|(_, mut conversation)| {
        for message in conversation["messages"].as_array_mut().unwrap() {
            let parts = message["content"]
                .as_str()
                .and_then(|text| serde_json::from_str::<Value>(text).ok());
            if let Some(parts) = parts.filter(Value::is_array) {
                message["content"] = parts;
            }
        }
        conversation
    });
    kept.collect()
}

fn numbers_alike(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(numbers_alike).collect(),
        Value::Object(object) => {
            let object: Map<String, Value> = object
                .into_iter()
                .map(|(key, value)| (key, numbers_alike(value)))
                .collect();
            Value::Object(object)
        }
        other => other,
    }
}

fn first_difference(ours: &Value, theirs: &Value, place: &str) -> String {
    let pairs: Vec<(String, &Value, &Value)> = match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .map(|(n, (a, b))| (n.to_string(), a, b))
            .collect(),
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => a
            .iter()
            .zip(b.values())
            .map(|((key, a), b)| (key.clone(), a, b))
            .collect(),
        _ => return format!("at `{place}` we give\n  {ours}\nthey give\n  {theirs}"),
    };
    let different = pairs.into_iter().find(|(_, a, b)| a != b);
    different.map_or_else(String::new, |(key, a, b)| {
        first_difference(a, b, &format!("{place}/{key}"))
    })
}
