//! From what a model's proxy recorded to triplets.

use std::collections::{HashMap, HashSet};

use regex::Regex;
use serde_json::Value;

use super::{
    AdaptError, EmptyReason, InvalidPattern, LeftOut, RewardPolicy, TraceAdapter, Triplet, Triplets,
    call_span,
    calls::CallFilter,
    error::names,
    lineage::within,
    ordered::{ordered, parent_id},
    pattern::pattern,
    python_literal,
    rewards::{self, Matching, Target},
};
use crate::{
    semconv,
    types::{JsonObject, Span, model_calls},
};

/// The span of a call as LiteLLM's proxy records it.
const REQUEST: &str = "litellm_request";
const RAW_PROMPT: &str = "llm.hosted_vllm.prompt_token_ids";
const RAW_RESPONSE: &str = "llm.hosted_vllm.response_token_ids";
const RAW_CHOICES: &str = "llm.hosted_vllm.choices";
const RAW_ID: &str = "llm.hosted_vllm.id";

/// Triplets from the spans that a model's proxy recorded, ordered by sequence id alone: proxies run on other machines than
/// agents, and the clocks of two machines cannot be compared.
///
/// A call is a span with token ids: the raw request as it was passed on, or else the request around it. What the raw one
/// does not tell, such as the texts, is read off the request. What has the id of an earlier answer is the same call told
/// twice. Calls of the role `judge` are left out, and whatever lies within them.
///
/// Rewards go to calls by links first, then by the [`RewardPolicy`], of which
/// [`FirstOccurrence`](RewardPolicy::FirstOccurrence) here means: to the latest call with a smaller sequence id that has none
/// yet; and [`FirstSibling`](RewardPolicy::FirstSibling) the same among spans that name the same parent.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ProxyToTriplets {
    filter: CallFilter,
    requests: Option<Regex>,
    policy: RewardPolicy,
    dimension: Option<String>,
    require_reward: bool,
}

impl ProxyToTriplets {
    /// All calls, with rewards by [`RewardPolicy::FirstOccurrence`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The span of a request, with the attributes `prompt_token_ids` and `response_token_ids`, is one whose name matches
    /// this regular expression somewhere; without it, one called `litellm_request`.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`].
    pub fn model_calls(mut self, names: &str) -> Result<Self, InvalidPattern> {
        self.requests = Some(pattern(names)?);
        Ok(self)
    }

    /// Which reward belongs to which call.
    pub fn rewards(mut self, policy: RewardPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Takes this dimension of the rewards, not the primary one. Rewards without it are none.
    pub fn reward_dimension(mut self, name: impl Into<String>) -> Self {
        self.dimension = Some(name.into());
        self
    }

    /// Leaves out calls of these roles, in place of `judge` alone.
    pub fn leave_out_roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.filter.roles_left_out = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Gives [`EmptyReason::NoReward`] or [`EmptyReason::NoRewardMatched`] if no call has a reward.
    pub fn require_reward(mut self) -> Self {
        self.require_reward = true;
        self
    }

    fn is_request(&self, span: &Span) -> bool {
        match &self.requests {
            Some(names) => names.is_match(&span.name),
            None => span.name == REQUEST,
        }
    }

    /// Prompt and answer of a span that is a call; `None` for other spans.
    fn tokens(&self, span: &Span) -> Option<(Vec<u32>, Vec<u32>)> {
        if span.name == semconv::RAW_REQUEST {
            Some(raw_tokens(&span.attributes))
        } else if self.is_request(span) {
            let ids = |key| token_ids_in(span.attributes.get(key)).unwrap_or_default();
            Some((ids("prompt_token_ids"), ids("response_token_ids")))
        } else {
            None
        }
    }

    fn find<'a>(&self, spans: &[&'a Span]) -> Result<(Vec<Call<'a>>, LeftOut), AdaptError> {
        let (mut calls, mut left_out, mut answers) = (Vec::new(), LeftOut::default(), HashSet::new());
        let role_left_out = within(spans, |span| self.filter.leaves_out_role_of(span));
        let requests = spans.iter().filter(|span| self.is_request(span));
        let requests: HashMap<&str, &Span> = requests.map(|span| (span.span_id.as_str(), *span)).collect();
        // Of the spans without token ids, those whose call no other span tells.
        let (mut without, mut told) = (Vec::new(), HashSet::new());
        for (span, role_left_out) in spans.iter().zip(role_left_out) {
            let Some((prompt, response)) = self.tokens(span) else {
                continue;
            };
            if role_left_out {
                left_out.by_role += 1;
                continue;
            }
            told.extend(parent_id(span));
            if prompt.is_empty() || response.is_empty() {
                without.push(*span);
                continue;
            }
            let answer = answer_id(&span.attributes);
            if answer.is_some_and(|id| !answers.insert(id)) {
                left_out.repeated += 1;
                continue;
            }
            let around = parent_id(span).and_then(|parent| requests.get(parent).copied());
            calls.push(Call {
                span,
                around,
                prompt,
                response,
                answer,
            });
        }
        without.retain(|span| !told.contains(span.span_id.as_str()));
        left_out.without_token_ids = without.len();
        if !calls.is_empty() {
            return Ok((calls, left_out));
        }
        Err(if left_out.by_role > 0 && left_out.without_token_ids == 0 {
            EmptyReason::AllLeftOut(left_out).into()
        } else if left_out.without_token_ids > 0 {
            let calls = left_out.without_token_ids;
            EmptyReason::NoTokenIds { calls }.into()
        } else {
            self.no_call(spans)
        })
    }

    fn no_call(&self, spans: &[&Span]) -> AdaptError {
        let all: Vec<Span> = spans.iter().copied().cloned().collect();
        let wanted = match &self.requests {
            Some(requests) => format!(
                "a span `{}`, or one whose name matches `{requests}`",
                semconv::RAW_REQUEST
            ),
            None => format!("a span `{}` or `{REQUEST}`", semconv::RAW_REQUEST),
        };
        EmptyReason::NoModelCall {
            wanted,
            span_names: names(&all),
            look_alike: names(model_calls(&all).iter().map(|call| call.span)),
        }
        .into()
    }
}

struct Call<'a> {
    span: &'a Span,
    /// The request, if the span is the raw one within it.
    around: Option<&'a Span>,
    prompt: Vec<u32>,
    response: Vec<u32>,
    answer: Option<&'a str>,
}

impl TraceAdapter for ProxyToTriplets {
    type Output = Triplets;

    fn describe(&self) -> String {
        format!("triplets of a proxy's calls, rewards by {}", self.policy)
    }

    fn adapt(&self, spans: &[Span]) -> Result<Triplets, AdaptError> {
        let spans = ordered(spans)?;
        let (calls, left_out) = self.find(&spans)?;
        let rewards = rewards::find(&spans, self.dimension.as_deref());
        let call_spans: Vec<&Span> = calls.iter().map(|call| call.span).collect();
        let targets = calls.iter().map(|call| Target {
            span: call.span,
            answer: call.answer,
        });
        let mut matching = Matching::by_links(&targets.collect::<Vec<_>>(), &rewards);
        matching.in_sequence(&self.policy, &call_spans, &rewards);
        let required_by = self.require_reward.then_some(&self.policy);
        let unmatched = matching.unmatched(&rewards, required_by, &spans)?;
        let triplets = calls.into_iter().zip(matching.of_calls).map(|(call, reward)| {
            let mut triplet = call_span::triplet(call.span, None)?;
            if let Some(around) = call.around {
                fill_in(&mut triplet, call_span::triplet(around, None)?);
            }
            triplet.prompt.token_ids = call.prompt;
            triplet.response.token_ids = call.response;
            triplet.metadata.response_id = call.answer.map(str::to_owned);
            triplet.reward = reward;
            Ok(triplet)
        });
        Ok(Triplets {
            triplets: triplets.collect::<Result<_, AdaptError>>()?,
            unmatched,
            left_out,
        })
    }
}

/// Takes over what the triplet does not say itself.
fn fill_in(triplet: &mut Triplet, around: Triplet) {
    let (prompt, response, metadata) = (&mut triplet.prompt, &mut triplet.response, &mut triplet.metadata);
    if prompt.raw_content.is_none() {
        (prompt.raw_content, prompt.image_urls) = (around.prompt.raw_content, around.prompt.image_urls);
    }
    response.raw_content = response.raw_content.take().or(around.response.raw_content);
    response.logprobs = response.logprobs.take().or(around.response.logprobs);
    metadata.request = metadata.request.take().or(around.metadata.request);
    // The raw one says no more of the answer than why it ended.
    metadata.response = around.metadata.response.or(metadata.response.take());
}

fn answer_id(attributes: &JsonObject) -> Option<&str> {
    let text = |key| attributes.get(key)?.as_str().filter(|id: &&str| !id.is_empty());
    text(semconv::GEN_AI_RESPONSE_ID).or_else(|| text(RAW_ID))
}

/// A list, or a text that denotes one.
fn denoted(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::String(text) => python_literal::read(text),
        other => Some(other.clone()),
    }
}

fn token_ids_in(value: Option<&Value>) -> Option<Vec<u32>> {
    call_span::token_ids(&denoted(value)?)
}

/// Prompt and answer of a raw request, as vLLM has them: the answer is a list for each choice, of which the first counts,
/// or stands within the choices.
fn raw_tokens(attributes: &JsonObject) -> (Vec<u32>, Vec<u32>) {
    let prompt = token_ids_in(attributes.get(RAW_PROMPT)).unwrap_or_default();
    let of_choice = || call_span::token_ids(denoted(attributes.get(RAW_RESPONSE))?.get(0)?);
    let within_choice =
        || call_span::token_ids(denoted(attributes.get(RAW_CHOICES))?.get(0)?.get("token_ids")?);
    let response = of_choice().filter(|ids| !ids.is_empty()).or_else(within_choice);
    (prompt, response.unwrap_or_default())
}
