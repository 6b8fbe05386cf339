//! Which spans of a tree are the calls of models that are wanted.

use std::collections::{BTreeSet, HashSet};

use regex::Regex;

use super::{AdaptError, EmptyReason, LeftOut, NodeId, TraceTree, call_span, error::names, lineage::within};
use crate::{
    semconv,
    types::{Span, model_calls},
};

/// What makes a span a wanted call.
#[derive(Clone, Debug)]
pub(super) struct CallFilter {
    /// What the name of the span matches; without one, the usual names.
    pub(super) names: Option<Regex>,
    /// What the name of the agent around it matches.
    pub(super) agents: Option<Regex>,
    pub(super) roles_left_out: Vec<String>,
    /// Whether calls that were made to work out a reward count.
    pub(super) in_rewards: bool,
    /// Whether calls inside calls count.
    pub(super) nested: bool,
}

impl Default for CallFilter {
    fn default() -> Self {
        Self {
            names: None,
            agents: None,
            roles_left_out: vec![semconv::ROLE_JUDGE.to_owned()],
            in_rewards: false,
            nested: false,
        }
    }
}

/// A wanted call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) node: NodeId,
    pub(super) span: &'a Span,
    pub(super) agent: Option<&'a str>,
}

/// What a node's place says.
#[derive(Clone, Copy)]
struct Within<'a> {
    /// The closest agent around it; nothing if that one does not match.
    agent: Option<&'a str>,
    wanted_agent: bool,
    reward: bool,
    call: bool,
}

impl CallFilter {
    /// The wanted calls in depth-first order, and how many others there are. The tree is that of the spans.
    ///
    /// Errors with the reason if there is no wanted call.
    pub(super) fn find<'a>(
        &self,
        spans: &[&'a Span],
        tree: &TraceTree<'a>,
    ) -> Result<(Vec<Call<'a>>, LeftOut), AdaptError> {
        // By the parents that spans name: what an agent does while a judge thinks is within the judge only in time.
        let role_left_out = within(spans, |span| self.leaves_out_role_of(span));
        let (mut calls, mut left_out, mut answers) = (Vec::new(), LeftOut::default(), HashSet::new());
        let outside = Within {
            agent: None,
            wanted_agent: self.agents.is_none(),
            reward: false,
            call: false,
        };
        let mut rest = vec![(tree.root(), outside)];
        while let Some((node, mut within)) = rest.pop() {
            if let Some(span) = node.span() {
                if self.is_named_like_a_call(span) {
                    let answer = call_span::response_id(&span.attributes);
                    let repeated = answer.map_or(within.call, |id| answers.contains(id));
                    let count = if !within.wanted_agent {
                        Some(&mut left_out.other_agent)
                    } else if within.reward {
                        Some(&mut left_out.in_reward)
                    } else if role_left_out[node.id().index()] {
                        Some(&mut left_out.by_role)
                    } else if call_span::failed(span) {
                        Some(&mut left_out.without_answer)
                    } else {
                        repeated.then_some(&mut left_out.repeated)
                    };
                    match count {
                        Some(count) => *count += 1,
                        None => {
                            answers.extend(answer);
                            within.call |= !self.nested;
                            let agent = within.agent;
                            let node = node.id();
                            calls.push(Call { node, span, agent });
                        }
                    }
                }
                if let Some(name) = node.agent_name() {
                    within.wanted_agent = self.agents.as_ref().is_none_or(|agents| agents.is_match(name));
                    within.agent = within.wanted_agent.then_some(name);
                }
                within.reward |= !self.in_rewards && is_reward_span(span);
            }
            rest.extend(node.children().rev().map(|child| (child, within)));
        }
        if calls.is_empty() {
            return Err(self.reason(tree, left_out).into());
        }
        Ok((calls, left_out))
    }

    pub(super) fn leaves_out_role_of(&self, span: &Span) -> bool {
        let role = span
            .attributes
            .get(semconv::CALL_ROLE)
            .and_then(|role| role.as_str());
        role.is_some_and(|role| self.roles_left_out.iter().any(|left_out| left_out == role))
    }

    fn is_named_like_a_call(&self, span: &Span) -> bool {
        match &self.names {
            Some(names) => names.is_match(&span.name),
            None => span.name.contains(semconv::CHAT_COMPLETION),
        }
    }

    fn reason(&self, tree: &TraceTree<'_>, left_out: LeftOut) -> EmptyReason {
        let spans = || tree.depth_first().filter_map(|node| node.span());
        if left_out.total() == 0 {
            let all: Vec<Span> = spans().cloned().collect();
            return EmptyReason::NoModelCall {
                wanted: format!(
                    "a span whose name {} `{}`",
                    if self.names.is_some() {
                        "matches"
                    } else {
                        "contains"
                    },
                    self.names
                        .as_ref()
                        .map_or(semconv::CHAT_COMPLETION, Regex::as_str)
                ),
                span_names: names(&all),
                look_alike: names(model_calls(&all).iter().map(|call| call.span)),
            };
        }
        match &self.agents {
            Some(agents) if left_out.other_agent == left_out.total() => EmptyReason::NoAgent {
                wanted: agents.as_str().to_owned(),
                agent_names: tree
                    .depth_first()
                    .filter_map(|node| node.agent_name())
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>(),
            },
            _ => EmptyReason::AllLeftOut(left_out),
        }
    }
}

/// Whether a span is about a reward: it carries one, or works one out.
fn is_reward_span(span: &Span) -> bool {
    let operation = || {
        span.attributes
            .get(semconv::OPERATION_NAME)
            .and_then(|name| name.as_str())
    };
    crate::types::Reward::from_span(span).is_some()
        || (span.name == semconv::OPERATION && operation() == Some(semconv::REWARD))
}
