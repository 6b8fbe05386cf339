//! Reading requests, and refusing what cannot be done, in OpenAI's shape.

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lm::{EngineError, GenerateRequest, LmError, Served};

/// How many answers one request may ask for.
const MOST_CHOICES: u32 = 128;
/// For how many tokens log-probabilities may be asked at each place.
const MOST_LOGPROBS: usize = 20;

/// A refusal as OpenAI writes it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) param: Option<&'static str>,
    pub(super) code: Option<&'static str>,
}

impl Refusal {
    pub(super) fn bad(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: Some(param),
            code: None,
        }
    }

    pub(super) fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// The refusal as JSON.
    pub(super) fn json(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::Prompt { .. } => StatusCode::BAD_REQUEST,
            EngineError::Busy { .. } | EngineError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            code: matches!(error, EngineError::Prompt { .. }).then_some("context_length_exceeded"),
            ..Self::status(status, error.to_string())
        }
    }
}

impl From<LmError> for Refusal {
    fn from(error: LmError) -> Self {
        match &error {
            LmError::ChatTemplate { .. } => Self::bad("messages", error.to_string()),
            _ => Self::status(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

/// What both kinds of requests have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Common {
    model: Option<String>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    n: Option<u32>,
    stop: Option<Stop>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    return_token_ids: Option<bool>,
    ignore_eos: Option<bool>,
    // Of conversations.
    messages: Option<Vec<Value>>,
    tools: Value,
    top_logprobs: Option<usize>,
    // Of texts.
    prompt: Option<Prompt>,
    logprobs: Option<Logprobs>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Logprobs {
    Whether(bool),
    HowMany(usize),
}

/// Whether a request is a conversation or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Text,
}

/// A request that can be carried out.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// The request of the first choice, without a seed; the seeds of the others follow that of the first.
    pub(super) generate: GenerateRequest,
    pub(super) seed: Option<u64>,
    pub(super) choices: u32,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
    pub(super) token_ids: bool,
}

/// Reads a request to a model of this name.
pub(super) fn read(kind: Kind, body: &[u8], name: &str, served: &Served) -> Result<Asked, Refusal> {
    let refused = |message: String| Refusal::status(StatusCode::BAD_REQUEST, message);
    let body: Value =
        serde_json::from_slice(body).map_err(|error| refused(format!("the body is not JSON: {error}")))?;
    if !body.is_object() {
        return Err(refused("the body has to be an object".to_owned()));
    }
    let common: Common = serde_path_to_error::deserialize(&body)
        .map_err(|error| refused(format!("`{}`: {}", error.path(), error.inner())))?;
    if let Some(model) = common.model.as_deref().filter(|model| *model != name) {
        return Err(Refusal {
            code: Some("model_not_found"),
            param: Some("model"),
            ..Refusal::status(
                StatusCode::NOT_FOUND,
                format!("there is no model `{model}`; the one here is `{name}`"),
            )
        });
    }
    let within = |field: &'static str, value: f64, greatest: f64| {
        let fits = (0.0..=greatest).contains(&value);
        let message = format!("`{field}` has to be between 0 and {greatest}");
        fits.then_some(value).ok_or_else(|| Refusal::bad(field, message))
    };
    let prompt = match kind {
        Kind::Chat => {
            let messages = common.messages.as_deref().filter(|messages| !messages.is_empty());
            let messages =
                messages.ok_or_else(|| Refusal::bad("messages", "`messages` has to be a list, not empty"))?;
            served
                .template
                .prompt(&served.tokenizer, messages, &common.tools)?
        }
        Kind::Text => match common.prompt {
            Some(Prompt::Text(text)) => served.tokenizer.encode(&text, true)?,
            Some(Prompt::Tokens(tokens)) => tokens,
            None => {
                return Err(Refusal::bad(
                    "prompt",
                    "`prompt` has to be a text or a list of tokens",
                ));
            }
        },
    };
    let vocabulary = served.model.vocabulary();
    if let Some(token) = prompt.iter().find(|token| **token as usize >= vocabulary) {
        return Err(Refusal::bad(
            "prompt",
            format!("there is no token {token}: the vocabulary has {vocabulary}"),
        ));
    }
    let (logprobs, top_logprobs) = match (&common.logprobs, common.top_logprobs) {
        (None | Some(Logprobs::Whether(false)), _) => (false, 0),
        (Some(Logprobs::Whether(true)), top) => (true, top.unwrap_or(0)),
        (Some(Logprobs::HowMany(top)), _) => (true, *top),
    };
    if top_logprobs > MOST_LOGPROBS {
        return Err(Refusal::bad(
            "top_logprobs",
            format!("at most {MOST_LOGPROBS} log-probabilities are told"),
        ));
    }
    let choices = common.n.unwrap_or(1);
    if !(1..=MOST_CHOICES).contains(&choices) {
        return Err(Refusal::bad(
            "n",
            format!("`n` has to be between 1 and {MOST_CHOICES}"),
        ));
    }
    let mut generate = GenerateRequest::new(prompt);
    let most = common.max_completion_tokens.or(common.max_tokens);
    generate.max_tokens = most.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    generate.temperature = within("temperature", common.temperature.unwrap_or(1.0), 100.0)?;
    generate.top_p = within("top_p", common.top_p.unwrap_or(1.0), 1.0)?;
    generate.top_logprobs = top_logprobs;
    generate.ignore_end = common.ignore_eos.unwrap_or(false);
    generate.stop = match common.stop {
        None => Vec::new(),
        Some(Stop::One(stop)) => vec![stop],
        Some(Stop::Several(stops)) => stops,
    };
    if generate.stop.len() > 16
        || generate
            .stop
            .iter()
            .any(|stop| stop.is_empty() || stop.len() > 1024)
    {
        return Err(Refusal::bad(
            "stop",
            "`stop` has to be at most 16 texts, none empty or longer than 1024 bytes",
        ));
    }
    Ok(Asked {
        kind,
        generate,
        seed: common.seed.map(i64::cast_unsigned),
        choices,
        stream: common.stream.unwrap_or(false),
        include_usage: common.stream_options.is_some_and(|options| options.include_usage),
        logprobs,
        token_ids: common.return_token_ids.unwrap_or(false),
    })
}
