//! Calls of language models, as spans tell them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{JsonObject, Span};
use crate::semconv;

/// The role of a call for which no span says anything else.
const ROLE_AGENT: &str = "agent";

/// One call of a language model.
#[derive(Clone, Copy, Debug)]
pub struct ModelCall<'a> {
    /// The span of the call.
    pub span: &'a Span,
    /// Whose call it is: [`CALL_ROLE`](semconv::CALL_ROLE), or `agent`.
    pub role: &'a str,
    /// The model that answered, or else the one that was asked for.
    pub model: Option<&'a str>,
    /// How many tokens went in, where the span says so.
    pub input_tokens: Option<u64>,
    /// How many tokens came out, where the span says so.
    pub output_tokens: Option<u64>,
}

/// The calls of language models among the spans of an attempt, in the order of the spans.
///
/// A call is a span that names a model or counts tokens by OpenTelemetry's `gen_ai` attributes and is not said to be
/// something else than a call (`gen_ai.operation.name`, such as `invoke_agent`); or one with the name that
/// instrumentations give to calls. A call inside a call is the same call, told by another layer. So are calls with equal
/// `gen_ai.response.id`: the first of them counts.
pub fn model_calls(spans: &[Span]) -> Vec<ModelCall<'_>> {
    if !spans.iter().any(is_call) {
        return Vec::new();
    }
    let inside = Nesting::of(spans);
    let mut answers = HashSet::new();
    spans
        .iter()
        .enumerate()
        .filter(|(index, span)| is_call(span) && !inside.a_call(*index))
        .filter(
            |(_, span)| match text(&span.attributes, semconv::GEN_AI_RESPONSE_ID) {
                Some(id) => answers.insert(id),
                None => true,
            },
        )
        .map(|(_, span)| ModelCall::read(span))
        .collect()
}

impl<'a> ModelCall<'a> {
    fn read(span: &'a Span) -> Self {
        let attributes = &span.attributes;
        let first = |keys: [&str; 2]| keys.into_iter().find_map(|key| attributes.get(key)?.as_u64());
        Self {
            span,
            role: text(attributes, semconv::CALL_ROLE).unwrap_or(ROLE_AGENT),
            model: text(attributes, semconv::GEN_AI_RESPONSE_MODEL)
                .or_else(|| text(attributes, semconv::GEN_AI_REQUEST_MODEL)),
            input_tokens: first([semconv::GEN_AI_INPUT_TOKENS, semconv::GEN_AI_PROMPT_TOKENS]),
            output_tokens: first([semconv::GEN_AI_OUTPUT_TOKENS, semconv::GEN_AI_COMPLETION_TOKENS]),
        }
    }
}

fn is_call(span: &Span) -> bool {
    if let Some(operation) = text(&span.attributes, semconv::GEN_AI_OPERATION) {
        return matches!(
            operation,
            "chat" | "text_completion" | "generate_content" | "embeddings"
        );
    }
    let named = [semconv::CHAT_COMPLETION, semconv::RAW_REQUEST].contains(&span.name.as_str());
    named
        || [
            semconv::GEN_AI_REQUEST_MODEL,
            semconv::GEN_AI_RESPONSE_MODEL,
            semconv::GEN_AI_RESPONSE_ID,
            semconv::GEN_AI_INPUT_TOKENS,
            semconv::GEN_AI_OUTPUT_TOKENS,
            semconv::GEN_AI_PROMPT_TOKENS,
            semconv::GEN_AI_COMPLETION_TOKENS,
        ]
        .iter()
        .any(|key| span.attributes.contains_key(*key))
}

/// Text that says something: exporters write empty text for what is not there.
fn text<'a>(attributes: &'a JsonObject, key: &str) -> Option<&'a str> {
    attributes
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Which spans lie within a call of a model.
struct Nesting(Vec<bool>);

impl Nesting {
    fn of(spans: &[Span]) -> Self {
        let by_id: HashMap<&str, usize> = spans
            .iter()
            .enumerate()
            .map(|(index, span)| (span.span_id.as_str(), index))
            .collect();
        let parent = |index: usize| {
            let above = by_id.get(spans[index].parent_id.as_deref()?).copied();
            above.filter(|above| *above != index)
        };
        let mut known: Vec<Option<bool>> = vec![None; spans.len()];
        for start in 0..spans.len() {
            // Upwards to a span whose place is known, to a call, or to the top; each span is passed once. What comes
            // round to itself has no top and lies within nothing.
            let (mut way, mut at, mut within) = (Vec::new(), start, false);
            while known[at].is_none() {
                known[at] = Some(false);
                way.push(at);
                match parent(at) {
                    Some(above) if is_call(&spans[above]) => {
                        within = true;
                        break;
                    }
                    Some(above) => {
                        at = above;
                        within = known[above].unwrap_or(false);
                    }
                    None => break,
                }
            }
            for passed in way {
                known[passed] = Some(within);
            }
        }
        Self(known.into_iter().map(|within| within == Some(true)).collect())
    }

    fn a_call(&self, index: usize) -> bool {
        self.0[index]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: Option<&str>, name: &str, attributes: &Value) -> Span {
        let mut span = Span::new("ro-1", "at-1", 1, "trace-1", id, name);
        span.parent_id = parent.map(str::to_owned);
        span.attributes = attributes.as_object().unwrap().clone();
        span
    }

    fn ids<'a>(calls: &[ModelCall<'a>]) -> Vec<&'a str> {
        calls.iter().map(|call| call.span.span_id.as_str()).collect()
    }

    #[test]
    fn a_call_tells_its_role_its_model_and_its_tokens() {
        let spans = [
            span(
                "a",
                None,
                semconv::CHAT_COMPLETION,
                &json!({
                    semconv::GEN_AI_REQUEST_MODEL: "small", semconv::GEN_AI_RESPONSE_MODEL: "small-2",
                    semconv::GEN_AI_PROMPT_TOKENS: 12, semconv::GEN_AI_OUTPUT_TOKENS: 3,
                }),
            ),
            span(
                "b",
                None,
                "anything",
                &json!({semconv::GEN_AI_INPUT_TOKENS: 7, semconv::CALL_ROLE: semconv::ROLE_JUDGE}),
            ),
        ];
        let calls = model_calls(&spans);
        assert_eq!((calls[0].role, calls[0].model), ("agent", Some("small-2")));
        assert_eq!(
            (calls[0].input_tokens, calls[0].output_tokens),
            (Some(12), Some(3))
        );
        assert_eq!((calls[1].role, calls[1].model), ("judge", None));
        assert_eq!((calls[1].input_tokens, calls[1].output_tokens), (Some(7), None));
    }

    #[test]
    fn what_only_surrounds_calls_is_none() {
        let model = |operation: &str| json!({semconv::GEN_AI_OPERATION: operation, semconv::GEN_AI_REQUEST_MODEL: "m"});
        let spans = [
            span("agent", None, "invoke_agent weather", &model("invoke_agent")),
            span("tool", Some("agent"), "execute_tool", &model("execute_tool")),
            span("call", Some("agent"), "chat m", &model("chat")),
            span("other", None, "work", &json!({"size": 3})),
        ];
        assert_eq!(ids(&model_calls(&spans)), ["call"]);
    }

    #[test]
    fn a_call_within_a_call_and_a_repeated_answer_count_once() {
        let answer = |id: &str| json!({semconv::GEN_AI_RESPONSE_ID: id});
        let spans = [
            span("raw", Some("step"), semconv::RAW_REQUEST, &json!({})),
            span("step", Some("proxy"), "retry", &json!({})),
            span("proxy", None, "litellm_request", &answer("r-1")),
            span("client", None, semconv::CHAT_COMPLETION, &answer("r-1")),
            span("next", None, semconv::CHAT_COMPLETION, &answer("r-2")),
            span("unnamed", None, semconv::CHAT_COMPLETION, &answer("")),
        ];
        assert_eq!(ids(&model_calls(&spans)), ["proxy", "next", "unnamed"]);
    }

    #[test]
    fn parents_that_go_round_in_a_circle_do_no_harm() {
        let spans = [
            span("a", Some("b"), "work", &json!({})),
            span("b", Some("a"), "work", &json!({})),
            span("c", Some("c"), semconv::CHAT_COMPLETION, &json!({})),
            span("d", Some("a"), semconv::CHAT_COMPLETION, &json!({})),
        ];
        assert_eq!(ids(&model_calls(&spans)), ["c", "d"]);
    }
}
