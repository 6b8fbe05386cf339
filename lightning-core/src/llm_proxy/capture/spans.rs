//! A call as the two spans that `agentlightning==0.3.0` finds in a proxy's traces: the request, with what was said, and
//! within it the raw request, with what it was said in.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Exchange,
    body::{self, MAX_INFLATED},
};
use crate::{
    ids::IdSource,
    model_wire::{self, Endpoint, attributes, tokens},
    semconv,
    types::{
        AttemptId, JsonObject, RolloutId, Span, SpanContext, SpanEvent, SpanResource, SpanStatus,
        SpanStatusCode, Timestamp,
    },
};

/// Under which name the raw request has what the server said, whatever the server is.
const RAW: &str = "llm.hosted_vllm";
/// What the raw request does not repeat of a request, as the request has it, or as it says nothing.
const NOT_RAW: [&str; 8] = [
    "messages",
    "prompt",
    "input",
    "system",
    "instructions",
    "tools",
    "functions",
    "stream",
];
/// How much is kept of what a server says against a request.
const MESSAGE_CHARS: usize = 2000;

/// What a call becomes: its span, and the raw one where there was an answer. The sequence ids are those of the exchange, or 0.
/// And how many bytes were read for that.
pub(super) fn of_call(
    call: &Exchange,
    ids: &dyn IdSource,
    resource: &Arc<SpanResource>,
) -> (Vec<Span>, usize) {
    let request: Value = serde_json::from_slice(&call.request).unwrap_or_default();
    let told = Told::read(call);
    let asked = model_wire::request_as_chat(call.endpoint, &request);
    let answered = model_wire::answer_as_chat(call.endpoint, &told.answer);

    let trace_id = ids.hex(16) + &ids.hex(16);
    let span = |name: &str| {
        let (rollout, attempt) = (call.rollout.clone(), call.attempt.clone());
        let sequence_id = call.sequence_id.unwrap_or_default();
        let mut span = Span::new(
            rollout,
            attempt,
            sequence_id,
            trace_id.as_str(),
            ids.hex(16),
            name,
        );
        span.start_time = Some(call.started);
        span.end_time = Some(call.ended);
        span.resource = Arc::clone(resource);
        span
    };
    let mut call_span = span(semconv::PROXY_REQUEST);
    call_span.attributes = request_attributes(call, &asked, &answered);
    call_span.attributes.extend(figures(call, told.cut));
    match &told.problem {
        None => call_span.status = status(SpanStatusCode::Ok, None),
        Some(problem) => {
            call_span.status = status(SpanStatusCode::Error, Some(problem.clone()));
            call_span.events.push(exception(problem, call.ended));
        }
    }
    let mut spans = vec![call_span];
    if answered.get("choices").is_some_and(Value::is_array) {
        let call_span = &mut spans[0];
        let reasons = finish_reasons(&answered);
        if !reasons.is_empty() {
            call_span
                .attributes
                .insert(FINISH_REASONS.to_owned(), reasons.clone().into());
        }
        let mut raw = span(semconv::RAW_REQUEST);
        raw.parent_id = Some(call_span.span_id.clone());
        raw.parent = Some(SpanContext::new(
            call_span.trace_id.clone(),
            call_span.span_id.clone(),
        ));
        raw.status.clone_from(&call_span.status);
        raw.attributes = raw_attributes(&request, answered);
        if !reasons.is_empty() {
            raw.attributes.insert(FINISH_REASONS.to_owned(), reasons.into());
        }
        spans.push(raw);
    }
    (spans, call.request.len() + told.length)
}

const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";

/// What says that calls of an attempt were not recorded.
pub(super) fn of_loss(
    (rollout, attempt): &(RolloutId, AttemptId),
    calls: u64,
    now: Timestamp,
    ids: &dyn IdSource,
    resource: &Arc<SpanResource>,
) -> Span {
    let trace_id = ids.hex(16) + &ids.hex(16);
    let mut span = Span::new(
        rollout.clone(),
        attempt.clone(),
        0,
        trace_id,
        ids.hex(16),
        semconv::CALLS_DROPPED,
    );
    span.attributes
        .insert(semconv::CALLS_DROPPED_COUNT.to_owned(), calls.into());
    let problem = format!("{calls} calls of models were not recorded: the store did not take them in time");
    span.status = status(SpanStatusCode::Error, Some(problem));
    span.start_time = Some(now);
    span.end_time = Some(now);
    span.resource = Arc::clone(resource);
    span
}

/// What the answer says.
struct Told {
    /// In the shape of the interface; null where it cannot be read.
    answer: Value,
    /// Whether there is more of it than could be read.
    cut: bool,
    problem: Option<String>,
    /// How many bytes it had without its encoding.
    length: usize,
}

impl Told {
    fn read(call: &Exchange) -> Self {
        let encoding = call.content_encoding.as_deref();
        let Some(plain) = body::plain(&call.response, encoding, MAX_INFLATED) else {
            let encoding = encoding.unwrap_or_default();
            return Self {
                answer: Value::Null,
                cut: true,
                length: 0,
                problem: Self::failure(call, &Value::Null).or_else(|| {
                    Some(format!(
                        "the answer is encoded as `{encoding}`, which is not recorded"
                    ))
                }),
            };
        };
        let cut = plain.cut || call.truncated;
        let is_ok = (200..300).contains(&call.http_status);
        let (answer, early) = if is_stream(call.streamed, &plain.bytes) {
            let all = model_wire::assemble(call.endpoint, &plain.bytes);
            (
                all.answer,
                (!all.complete).then_some("the answer broke off before its end"),
            )
        } else {
            let answer = serde_json::from_slice(&plain.bytes).unwrap_or_default();
            let unread = matches!(answer, Value::Null) && is_ok;
            (answer, unread.then_some("the answer is no JSON"))
        };
        let problem = match &answer {
            // A refusal may be text.
            Value::Null => Self::failure(call, &String::from_utf8_lossy(&plain.bytes).trim().into()),
            answer => Self::failure(call, answer),
        };
        let early = early.filter(|_| !cut).map(str::to_owned);
        Self {
            cut,
            problem: problem.or(early),
            length: plain.bytes.len(),
            answer,
        }
    }

    /// What went wrong, in the server's words where it said some.
    fn failure(call: &Exchange, said: &Value) -> Option<String> {
        if call.http_status == 0 {
            let error = call.error.as_deref().unwrap_or("nothing came back");
            return Some(format!("no answer: {error}"));
        }
        let refusal = attributes::refusal(said);
        if (200..300).contains(&call.http_status) {
            return call.error.clone().or(refusal.as_deref().map(shortened));
        }
        let message = refusal
            .or_else(|| {
                ["message", "detail"]
                    .into_iter()
                    .find_map(|key| Some(said[key].as_str()?.to_owned()))
            })
            .or_else(|| said.as_str().map(str::to_owned))
            .unwrap_or_else(|| said.to_string());
        Some(match message.as_str() {
            "" => format!("the model's server answered {}", call.http_status),
            message => format!(
                "the model's server answered {}: {}",
                call.http_status,
                shortened(message)
            ),
        })
    }
}

/// A refusal comes in one piece, also where a stream was asked for.
fn is_stream(streamed: bool, body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    let begins = |words: [&str; 2]| words.iter().any(|word| body.starts_with(word.as_bytes()));
    !begins(["{", "["]) && (streamed || begins(["data:", "event:"]))
}

fn shortened(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS).collect()
}

fn request_attributes(call: &Exchange, asked: &Value, answered: &Value) -> JsonObject {
    let mut attributes = attributes::of_request(asked);
    let (operation, kind) = match call.endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => ("chat", "chat"),
        Endpoint::Completions => ("text_completion", "completion"),
        Endpoint::Embeddings => ("embeddings", "embedding"),
    };
    let system = match call.endpoint {
        Endpoint::Messages => "Anthropic",
        _ => "OpenAI",
    };
    for (key, value) in [
        (semconv::GEN_AI_OPERATION, operation),
        ("gen_ai.request.type", kind),
        ("gen_ai.system", system),
    ] {
        attributes.insert(key.to_owned(), value.into());
    }
    attributes.insert(
        semconv::GEN_AI_REQUEST_MODEL.to_owned(),
        call.model.as_str().into(),
    );
    attributes.extend(attributes::figures_and_texts(answered));
    attributes.extend(attributes::tool_calls(answered));
    attributes
}

/// How the call went.
fn figures(call: &Exchange, cut: bool) -> JsonObject {
    let mut attributes = JsonObject::new();
    let mut put = |key: &str, value: Value| attributes.insert(key.to_owned(), value);
    put(semconv::CALL_LATENCY, (call.ended - call.started).max(0.0).into());
    // Of an answer in one piece, the first byte tells nothing.
    if let Some(first) = call.first_byte.filter(|_| call.streamed) {
        put(semconv::CALL_FIRST_TOKEN, (first - call.started).max(0.0).into());
    }
    put(semconv::CALL_RETRIES, call.retries.into());
    put(semconv::CALL_BACKEND, call.backend.as_str().into());
    put(semconv::CALL_UPSTREAM_MODEL, call.upstream_model.as_str().into());
    if call.http_status != 0 {
        put(semconv::HTTP_STATUS, call.http_status.into());
    }
    if cut {
        put(semconv::CALL_TRUNCATED, true.into());
    }
    attributes
}

fn finish_reasons(answered: &Value) -> Vec<Value> {
    let choices = answered["choices"].as_array().into_iter().flatten();
    choices
        .filter(|choice| choice["finish_reason"].is_string())
        .map(|choice| choice["finish_reason"].clone())
        .collect()
}

/// The parameters of the request, and all that the server said but for the texts, each under its name; token ids as lists
/// in JSON's notation, which is also Python's.
fn raw_attributes(request: &Value, answered: Value) -> JsonObject {
    let mut raw = JsonObject::new();
    for (field, value) in request.as_object().into_iter().flatten() {
        if !NOT_RAW.contains(&field.as_str()) {
            attributes::put(&mut raw, &format!("{RAW}.{field}"), value);
        }
    }
    attributes::put_logprobs(&mut raw, &answered);
    let prompt = tokens::of_prompt(&answered).or_else(|| {
        // A prompt may consist of tokens from the start.
        let ids = request["prompt"].as_array().filter(|ids| !ids.is_empty())?;
        ids.iter().map(Value::as_u64).collect()
    });
    let choices = answered["choices"].as_array().map_or(0, Vec::len);
    let response: Vec<Option<Vec<u64>>> = (0..choices)
        .map(|place| tokens::of_choice(&answered, place))
        .collect();
    let Value::Object(answered) = answered else {
        return raw;
    };
    for (field, value) in answered {
        let value = match (field.as_str(), value) {
            ("choices", Value::Array(choices)) => rest_of(choices),
            (_, value) => value,
        };
        attributes::put(&mut raw, &format!("{RAW}.{field}"), &value);
    }
    if let Some(prompt) = prompt {
        raw.insert(format!("{RAW}.prompt_token_ids"), written(&prompt.into()));
    }
    if response.iter().any(Option::is_some) {
        let response = response
            .into_iter()
            .map(|ids| Value::from(ids.unwrap_or_default()));
        raw.insert(format!("{RAW}.response_token_ids"), written(&response.collect()));
    }
    raw
}

/// What the choices say that stands nowhere else.
fn rest_of(choices: Vec<Value>) -> Value {
    let rest = choices.into_iter().enumerate().map(|(place, mut choice)| {
        if let Value::Object(choice) = &mut choice {
            for field in ["message", "token_ids", "prompt_token_ids"] {
                choice.remove(field);
            }
            // Those of the first choice have a name of their own, if they have the usual form.
            if place == 0
                && choice
                    .get("logprobs")
                    .is_some_and(|all| !all["content"].is_null())
            {
                choice.remove("logprobs");
            }
        }
        choice
    });
    rest.collect()
}

fn written(list: &Value) -> Value {
    list.to_string().into()
}

fn status(status_code: SpanStatusCode, description: Option<String>) -> SpanStatus {
    SpanStatus {
        status_code,
        description,
        extra: JsonObject::new(),
    }
}

fn exception(problem: &str, now: Timestamp) -> SpanEvent {
    let mut attributes = JsonObject::new();
    attributes.insert(semconv::EXCEPTION_TYPE.to_owned(), "ModelCallError".into());
    attributes.insert(semconv::EXCEPTION_MESSAGE.to_owned(), problem.into());
    SpanEvent {
        name: semconv::EXCEPTION_EVENT.to_owned(),
        attributes,
        timestamp: Some(now),
        extra: JsonObject::new(),
    }
}
