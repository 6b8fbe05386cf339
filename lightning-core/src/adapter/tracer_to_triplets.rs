//! From what a tracer recorded to triplets.

use super::{
    AdaptError, EmptyReason, InvalidPattern, RewardPolicy, TraceAdapter, TraceTree, Triplets, call_span,
    calls::CallFilter,
    ordered::ordered,
    pattern::pattern,
    rewards::{self, Matching, Target},
};
use crate::types::Span;

/// Triplets from the spans that a tracer recorded: its calls of models, in depth-first order, with their rewards.
///
/// The spans make a [`TraceTree`], which is [repaired](TraceTree::repair). A span is a call by its name. Calls are left out
/// that failed, that were made to work out a reward, or whose role is `judge` (the attribute
/// [`CALL_ROLE`](crate::semconv::CALL_ROLE)), and so is whatever lies within them; a call that lies within a call and has no
/// id of its own, or has the id of an earlier answer, is the same call told twice.
///
/// Rewards go to calls by links first, then by the [`RewardPolicy`].
///
/// ```
/// use lightning_core::adapter::{RewardPolicy, TracerToTriplets};
///
/// let adapter = TracerToTriplets::new()
///     .agents("^planner$")?
///     .rewards(RewardPolicy::Discounted(0.9))
///     .require_token_ids();
/// # drop(adapter);
/// # Ok::<(), lightning_core::adapter::InvalidPattern>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TracerToTriplets {
    filter: CallFilter,
    no_repair: bool,
    policy: RewardPolicy,
    dimension: Option<String>,
    require_token_ids: bool,
    require_reward: bool,
}

impl TracerToTriplets {
    /// All calls whose span's name contains `openai.chat.completion`, with rewards by
    /// [`RewardPolicy::FirstOccurrence`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A span is a call if its name matches this regular expression somewhere.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`].
    pub fn model_calls(mut self, names: &str) -> Result<Self, InvalidPattern> {
        self.filter.names = Some(pattern(names)?);
        Ok(self)
    }

    /// Only the calls of agents whose name matches this regular expression somewhere. The agent of a call is the closest
    /// one around it.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`].
    pub fn agents(mut self, names: &str) -> Result<Self, InvalidPattern> {
        self.filter.agents = Some(pattern(names)?);
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

    /// Takes also the calls that were made to work out a reward.
    pub fn with_calls_in_rewards(mut self) -> Self {
        self.filter.in_rewards = true;
        self
    }

    /// Takes also the calls that lie within calls and have no id of their own.
    pub fn with_nested_calls(mut self) -> Self {
        self.filter.nested = true;
        self
    }

    /// Believes the parents that the spans name, whatever their times say.
    pub fn without_repair(mut self) -> Self {
        self.no_repair = true;
        self
    }

    /// Leaves out calls that do not say which tokens went in and came out; if all are such,
    /// [`EmptyReason::NoTokenIds`].
    pub fn require_token_ids(mut self) -> Self {
        self.require_token_ids = true;
        self
    }

    /// Gives [`EmptyReason::NoReward`] or [`EmptyReason::NoRewardMatched`] if no call has a reward.
    pub fn require_reward(mut self) -> Self {
        self.require_reward = true;
        self
    }

    /// The tree that the calls are looked for in, to look at it.
    ///
    /// # Errors
    ///
    /// As [`TraceTree::new`].
    pub fn tree<'a>(&self, spans: &'a [Span]) -> Result<TraceTree<'a>, AdaptError> {
        self.tree_of(&ordered(spans)?)
    }

    fn tree_of<'a>(&self, spans: &[&'a Span]) -> Result<TraceTree<'a>, AdaptError> {
        let mut tree = TraceTree::of(spans)?;
        if !self.no_repair {
            tree.repair();
        }
        Ok(tree)
    }
}

impl TraceAdapter for TracerToTriplets {
    type Output = Triplets;

    fn describe(&self) -> String {
        let agents = self.filter.agents.as_ref();
        let agents = agents.map_or_else(String::new, |agents| format!(" of agents that match `{agents}`"));
        format!("triplets of calls{agents}, rewards by {}", self.policy)
    }

    fn adapt(&self, spans: &[Span]) -> Result<Triplets, AdaptError> {
        let spans = ordered(spans)?;
        let tree = self.tree_of(&spans)?;
        let (mut calls, mut left_out) = self.filter.find(&spans, &tree)?;
        if self.require_token_ids {
            let all = calls.len();
            calls.retain(|call| call_span::has_token_ids(call.span));
            left_out.without_token_ids = all - calls.len();
            if calls.is_empty() {
                return Err(EmptyReason::NoTokenIds { calls: all }.into());
            }
        }
        let rewards = rewards::find(&spans, self.dimension.as_deref());
        let targets = calls.iter().map(|call| Target {
            span: call.span,
            answer: call_span::response_id(&call.span.attributes),
        });
        let mut matching = Matching::by_links(&targets.collect::<Vec<_>>(), &rewards);
        matching.in_tree(&self.policy, &tree, &calls, &rewards);
        let required_by = self.require_reward.then_some(&self.policy);
        let unmatched = matching.unmatched(&rewards, required_by, &spans)?;
        let triplets = calls.iter().zip(matching.of_calls).map(|(call, reward)| {
            let mut triplet = call_span::triplet(call.span, call.agent)?;
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
