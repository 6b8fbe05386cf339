//! Reading requests: bodies, query strings, paths, keys. Every mistake is answered with the field that it is in.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;

use super::{
    app::Shared,
    refusal::{Problem, Refusal},
};
use crate::{store::RequestKey, wire};

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body that may be missing or null.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

/// The fields of a query string.
pub(super) struct Query<T>(pub(super) T);

/// The ids in a path.
pub(super) struct Ids<T>(pub(super) T);

/// The request key, if there is one.
pub(super) struct Key(pub(super) Option<RequestKey>);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = read(body, app.max_body_bytes, app.body_timeout).await?;
        if bytes.is_empty() {
            return Err(Problem {
                kind: "missing",
                loc: vec!["body".into()],
                msg: "Field required".to_owned(),
            }
            .into());
        }
        expect_json(&parts.headers)?;
        from_json(&bytes).map(|wire::Object(body)| Self(body))
    }
}

impl<T: DeserializeOwned> FromRequest<Shared> for OptionalJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = read(body, app.max_body_bytes, app.body_timeout).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        expect_json(&parts.headers)?;
        let body: Option<wire::Object<T>> = from_json(&bytes)?;
        Ok(Self(body.map(|wire::Object(body)| body)))
    }
}

/// Reads a whole body.
pub(super) async fn read(body: Body, limit: usize, patience: Duration) -> Result<Bytes, Refusal> {
    let whole = tokio::time::timeout(patience, Limited::new(body, limit).collect()).await;
    match whole {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE, too_large(limit)))
        }
        Ok(Err(error)) => {
            let detail = format!("the body could not be read: {error}");
            Err(Refusal::Status(StatusCode::BAD_REQUEST, detail))
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", patience.as_secs_f64());
            Err(Refusal::Status(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

pub(super) fn too_large(limit: usize) -> String {
    format!("the body is larger than {limit} bytes; send less at once")
}

/// A web page can send other content types to any address without being asked, so they are refused.
fn expect_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem {
        kind: "content_type",
        loc: vec!["header".into(), "content-type".into()],
        msg: "the body must be JSON; send `Content-Type: application/json`".to_owned(),
    }
    .into())
}

/// Reads JSON; a mistake is looked for a second time, more slowly, to say where it is.
fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize(&mut reader) {
        Ok(value) => match reader.end() {
            Ok(()) => Ok(value),
            Err(error) => Err(problem("body", std::iter::empty(), &error).into()),
        },
        Err(error) => {
            let path = error.path().clone();
            Err(problem("body", path.iter(), error.inner()).into())
        }
    }
}

fn problem<'a>(
    place: &str,
    path: impl IntoIterator<Item = &'a Segment>,
    error: &serde_json::Error,
) -> Problem {
    let mut loc = vec![Value::from(place)];
    // Where a value is nested too deeply, the way to the spot is no help.
    loc.extend(path.into_iter().take(16).filter_map(|segment| match segment {
        Segment::Seq { index } => Some((*index).into()),
        Segment::Map { key } => Some(key.clone().into()),
        Segment::Enum { variant } => Some(variant.clone().into()),
        Segment::Unknown => None,
    }));
    let msg = error.to_string();
    if let Some(field) = missing_field(&msg) {
        loc.push(field.into());
        return Problem {
            kind: "missing",
            loc,
            msg: "Field required".to_owned(),
        };
    }
    let kind = if error.is_data() {
        "value_error"
    } else {
        "json_invalid"
    };
    Problem { kind, loc, msg }
}

/// The field that serde says is missing.
fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// What a query string may hold, so that its texts are read as what they stand for.
pub(super) trait QueryFields: DeserializeOwned {
    /// The fields that may be given several times.
    const LISTS: &'static [&'static str];
}

impl<T: QueryFields> FromRequestParts<Shared> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        from_query(query).map(Self)
    }
}

/// The fields of a query string that are numbers.
const NUMBERS: &[&str] = &["limit", "offset", "version"];

fn from_query<T: QueryFields>(query: &str) -> Result<T, Refusal> {
    let mut fields = Map::new();
    for pair in query.split('&') {
        if percent_encoding::percent_decode_str(pair).decode_utf8().is_err() {
            let name = pair.split('=').next().unwrap_or_default();
            return Err(Problem {
                kind: "value_error",
                loc: vec!["query".into(), name.into()],
                msg: "it is not in UTF-8".to_owned(),
            }
            .into());
        }
    }
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        if T::LISTS.contains(&&*name) {
            let list = fields
                .entry(name.into_owned())
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(text.into_owned().into());
            }
            continue;
        }
        let number = NUMBERS
            .contains(&&*name)
            .then(|| text.parse::<i64>().ok())
            .flatten();
        let value = number.map_or_else(
            || text.into_owned().into(),
            |number| Value::Number(Number::from(number)),
        );
        fields.insert(name.into_owned(), value);
    }
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().clone();
        problem("query", path.iter(), error.inner()).into()
    })
}

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Ids<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(error) => Err(Problem {
                kind: "value_error",
                loc: vec!["path".into()],
                msg: error.body_text(),
            }
            .into()),
        }
    }
}

impl FromRequestParts<Shared> for Key {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        let Some(value) = parts.headers.get(wire::KEY_HEADER) else {
            return Ok(Self(None));
        };
        match wire::decode_key(value.as_bytes()) {
            Some(key) => Ok(Self(Some(key.into()))),
            None => Err(Problem {
                kind: "value_error",
                loc: vec!["header".into(), wire::KEY_HEADER.into()],
                msg: "a request key must be text in UTF-8".to_owned(),
            }
            .into()),
        }
    }
}
