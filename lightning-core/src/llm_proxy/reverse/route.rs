//! What a path asks for, and for whom.

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::{
    llm_proxy::{ApiFamily, capture::Endpoint},
    types::{AttemptId, RolloutId},
};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Call(Endpoint),
    /// Anthropic's `/v1/messages/count_tokens`, which is passed on and not recorded.
    CountTokens,
}

impl Target {
    pub(super) const ALL: [Self; 6] = [
        Self::Call(Endpoint::ChatCompletions),
        Self::Call(Endpoint::Completions),
        Self::Call(Endpoint::Embeddings),
        Self::Call(Endpoint::Responses),
        Self::Call(Endpoint::Messages),
        Self::CountTokens,
    ];

    /// The path behind a base URL that ends in its version.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Call(Endpoint::ChatCompletions) => "/chat/completions",
            Self::Call(Endpoint::Completions) => "/completions",
            Self::Call(Endpoint::Embeddings) => "/embeddings",
            Self::Call(Endpoint::Responses) => "/responses",
            Self::Call(Endpoint::Messages) => "/messages",
            Self::CountTokens => "/messages/count_tokens",
        }
    }

    pub(super) fn family(self) -> ApiFamily {
        match self {
            Self::Call(Endpoint::Messages) | Self::CountTokens => ApiFamily::Anthropic,
            Self::Call(_) => ApiFamily::OpenAi,
        }
    }

    /// The place among [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|target| *target == self)
            .unwrap_or_default()
    }
}

/// The attempt that a call belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) rollout: RolloutId,
    pub(super) attempt: AttemptId,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Forward(Target),
    /// The list of models, or one of them.
    Models(Option<String>),
    Health,
    Metrics,
    /// Waits until the calls of an attempt are recorded.
    Recorded,
    /// The path is known, but not with this method.
    WrongMethod(&'static str),
    Unknown,
}

/// What a request asks for, and the attempt that its path names.
pub(super) fn route(method: &Method, path: &str) -> (Route, Option<Caller>) {
    let (caller, rest) = match split_caller(path) {
        Ok(split) => split,
        Err(()) => return (Route::Unknown, None),
    };
    let only = |wanted: Method, name: &'static str, route: Route| {
        if *method == wanted || (wanted == Method::GET && *method == Method::HEAD) {
            route
        } else {
            Route::WrongMethod(name)
        }
    };
    let get = |route| only(Method::GET, "GET", route);
    let route = match rest {
        "/health" if caller.is_none() => get(Route::Health),
        "/metrics" if caller.is_none() => get(Route::Metrics),
        "/recorded" if caller.is_some() => get(Route::Recorded),
        "/v1/models" => get(Route::Models(None)),
        _ => {
            let below = rest.strip_prefix("/v1");
            let target =
                below.and_then(|below| Target::ALL.into_iter().find(|target| target.path() == below));
            let model = rest.strip_prefix("/v1/models/");
            match (target, model) {
                (Some(target), _) => only(Method::POST, "POST", Route::Forward(target)),
                // Names of models hold slashes, which not every client encodes.
                (None, Some(name)) if !name.is_empty() => match decoded(name) {
                    Some(name) => get(Route::Models(Some(name))),
                    None => Route::Unknown,
                },
                _ => Route::Unknown,
            }
        }
    };
    (route, caller)
}

/// Takes `/rollout/{rollout_id}/attempt/{attempt_id}` off a path. Errors if there is a beginning of it, but not all.
fn split_caller(path: &str) -> Result<(Option<Caller>, &str), ()> {
    let Some(rest) = path.strip_prefix("/rollout/") else {
        return Ok((None, path));
    };
    let (rollout, rest) = rest.split_once('/').ok_or(())?;
    let rest = rest.strip_prefix("attempt/").ok_or(())?;
    let end = rest.find('/').ok_or(())?;
    let (attempt, rest) = rest.split_at(end);
    match (decoded(rollout), decoded(attempt)) {
        (Some(rollout), Some(attempt)) if !rollout.is_empty() && !attempt.is_empty() => {
            let caller = Caller {
                rollout: rollout.into(),
                attempt: attempt.into(),
            };
            Ok((Some(caller), rest))
        }
        _ => Err(()),
    }
}

fn decoded(part: &str) -> Option<String> {
    let text = percent_decode_str(part).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> (Route, Option<(String, String)>) {
        let (route, caller) = route(&method.parse().unwrap(), path);
        let caller = caller.map(|caller| (caller.rollout.to_string(), caller.attempt.to_string()));
        (route, caller)
    }

    #[test]
    fn every_target_is_found_with_and_without_an_attempt() {
        for target in Target::ALL {
            let path = format!("/v1{}", target.path());
            assert_eq!(of("POST", &path), (Route::Forward(target), None));
            let caller = Some(("ro-1".to_owned(), "at-2".to_owned()));
            let prefixed = format!("/rollout/ro-1/attempt/at-2{path}");
            assert_eq!(of("POST", &prefixed), (Route::Forward(target), caller));
            assert_eq!(of("GET", &path).0, Route::WrongMethod("POST"));
            assert_eq!(Target::ALL[target.index()], target);
        }
    }

    #[test]
    fn ids_are_decoded_and_half_a_prefix_is_nothing() {
        let caller = Some(("a/b".to_owned(), "ü c".to_owned()));
        assert_eq!(
            of("GET", "/rollout/a%2Fb/attempt/%C3%BC%20c/v1/models"),
            (Route::Models(None), caller)
        );
        for wrong in [
            "/rollout/a/v1/models",
            "/rollout/a/attempt/b",
            "/rollout//attempt/b/v1/models",
            "/rollout/a/attempt//v1/models",
            "/rollout/%FF/attempt/b/v1/models",
            "/rollout/a%00/attempt/b/v1/models",
            "/v1/models/",
            "/v2/chat/completions",
            "/v1/chat/completions/",
            "/chat/completions",
            "",
            "*",
        ] {
            assert_eq!(of("GET", wrong), (Route::Unknown, None), "{wrong}");
        }
        assert_eq!(of("GET", "/recorded").0, Route::Unknown);
        assert_eq!(of("GET", "/rollout/a/attempt/b/recorded").0, Route::Recorded);
        assert_eq!(
            of("GET", "/v1/models/Qwen/Qwen3").0,
            Route::Models(Some("Qwen/Qwen3".to_owned()))
        );
    }
}
