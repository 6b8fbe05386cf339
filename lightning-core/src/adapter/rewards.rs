//! Which reward belongs to which call.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    AdaptError, EmptyReason, TraceTree, UnmatchedReward, calls::Call, ordered::parent_id, waiting::Waiting,
};
use crate::{
    semconv,
    types::{Link, Reward, Span, Timestamp, links_of},
};

/// Which reward belongs to which call.
///
/// Before any policy, a reward with a link goes to the call that it points at, be it by `gen_ai.response.id` or by span
/// id; what is linked to something else goes to no call. A policy has its say on the other rewards and the other calls.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum RewardPolicy {
    /// Each reward goes to the latest call that had ended by then and has none yet.
    #[default]
    FirstOccurrence,
    /// As [`FirstOccurrence`](Self::FirstOccurrence), but only to calls with the same parent that stand before it.
    FirstSibling,
    /// The final reward, which is the last one, goes to the last call.
    Final,
    /// The final reward goes to every call.
    Broadcast,
    /// The final reward goes to the last call, and to each call before it this share of what the next one gets.
    Discounted(f64),
    /// Whatever a function says. See [`RewardPolicy::custom`].
    Custom(CustomPolicy),
}

impl RewardPolicy {
    /// A policy of one's own: the reward of the call of that number in the episode. It is not asked for calls that have a
    /// reward by a link.
    ///
    /// ```
    /// use lightning_core::adapter::RewardPolicy;
    ///
    /// // The mean of all rewards, for every call.
    /// let mean = RewardPolicy::custom(|episode, _call| {
    ///     let count = episode.rewards.len() as f64;
    ///     (count > 0.0).then(|| episode.rewards.iter().map(|(_, value)| value).sum::<f64>() / count)
    /// });
    /// assert_eq!(format!("{mean}"), "custom");
    /// ```
    pub fn custom(policy: impl Fn(&Episode<'_>, usize) -> Option<f64> + Send + Sync + 'static) -> Self {
        Self::Custom(CustomPolicy(Arc::new(policy)))
    }
}

type Policy = dyn Fn(&Episode<'_>, usize) -> Option<f64> + Send + Sync;

/// A policy of one's own; made by [`RewardPolicy::custom`].
#[derive(Clone)]
pub struct CustomPolicy(Arc<Policy>);

impl fmt::Debug for CustomPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomPolicy")
    }
}

impl fmt::Display for RewardPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstOccurrence => f.write_str("first_occurrence"),
            Self::FirstSibling => f.write_str("first_sibling"),
            Self::Final => f.write_str("final"),
            Self::Broadcast => f.write_str("broadcast"),
            Self::Discounted(gamma) => write!(f, "discounted({gamma})"),
            Self::Custom(_) => f.write_str("custom"),
        }
    }
}

impl fmt::Debug for RewardPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a policy of one's own decides on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Episode<'a> {
    /// The spans of the calls, in the order of the triplets.
    pub calls: Vec<&'a Span>,
    /// The rewards without a link, each with its span, in the order of sequence ids.
    pub rewards: Vec<(&'a Span, f64)>,
}

/// A reward among the spans.
pub(super) struct Found<'a> {
    /// Its place among the spans.
    place: usize,
    pub(super) span: &'a Span,
    pub(super) value: f64,
}

/// The rewards of spans that are in order.
pub(super) fn find<'a>(spans: &[&'a Span], dimension: Option<&str>) -> Vec<Found<'a>> {
    let value = |reward: Reward| dimension.map_or(Some(reward.primary()), |name| reward.get(name));
    let found = spans.iter().enumerate().filter_map(|(place, span)| {
        let value = Reward::from_span(span).and_then(value)?;
        Some(Found { place, span, value })
    });
    found.collect()
}

/// The rewards of the calls, and the number of each reward that none got.
pub(super) struct Matching {
    pub(super) of_calls: Vec<Option<f64>>,
    /// For each reward: whether a call got it, and whether it has a link.
    fates: Vec<Fate>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// Left to the policy.
    Open,
    /// A call got it.
    Given,
    /// Linked, but not to a call that could take it.
    LinkedElsewhere,
}

impl Matching {
    /// Gives the linked rewards to the calls they point at.
    pub(super) fn by_links(calls: &[Target<'_>], rewards: &[Found<'_>]) -> Self {
        let mut of_calls = vec![None; calls.len()];
        let mut fates = vec![Fate::Open; rewards.len()];
        let mut index: Option<Index<'_>> = None;
        for (reward, fate) in rewards.iter().zip(&mut fates) {
            let links = links(reward.span);
            if links.is_empty() {
                continue;
            }
            let index = index.get_or_insert_with(|| Index::new(calls));
            let target = index
                .find(&links)
                .filter(|call| links.iter().all(|link| points_at(link, calls[*call])));
            *fate = match target {
                Some(call) if of_calls[call].is_none() => {
                    of_calls[call] = Some(reward.value);
                    Fate::Given
                }
                _ => Fate::LinkedElsewhere,
            };
        }
        Self { of_calls, fates }
    }

    pub(super) fn is_open(&self, reward: usize) -> bool {
        self.fates[reward] == Fate::Open
    }

    pub(super) fn give(&mut self, reward: usize, value: f64, call: usize) {
        self.of_calls[call] = Some(value);
        self.fates[reward] = Fate::Given;
    }

    /// Lets a policy decide that spreads the final reward; `false` for one that looks at places or times.
    fn spread(&mut self, policy: &RewardPolicy, calls: &[&Span], rewards: &[Found<'_>]) -> bool {
        let last = (0..rewards.len()).rev().find(|reward| self.is_open(*reward));
        let value = last.map(|last| rewards[last].value);
        let count = calls.len();
        let share: Box<dyn Fn(usize) -> Option<f64> + '_> = match policy {
            RewardPolicy::FirstOccurrence | RewardPolicy::FirstSibling => return false,
            RewardPolicy::Final => Box::new(move |call| value.filter(|_| call + 1 == count)),
            RewardPolicy::Broadcast => Box::new(move |_| value),
            RewardPolicy::Discounted(gamma) => Box::new(move |call| {
                let steps = i32::try_from(count - 1 - call).unwrap_or(i32::MAX);
                Some(value? * gamma.powi(steps))
            }),
            RewardPolicy::Custom(CustomPolicy(policy)) => {
                let open = rewards
                    .iter()
                    .enumerate()
                    .filter(|(reward, _)| self.is_open(*reward));
                let episode = Episode {
                    calls: calls.to_vec(),
                    rewards: open.map(|(_, reward)| (reward.span, reward.value)).collect(),
                };
                for (call, reward) in self
                    .of_calls
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, reward)| reward.is_none())
                {
                    *reward = policy(&episode, call);
                }
                // What became of each of them only the function knows.
                for fate in self.fates.iter_mut().filter(|fate| **fate == Fate::Open) {
                    *fate = Fate::Given;
                }
                return true;
            }
        };
        let mut given = false;
        for (call, reward) in self
            .of_calls
            .iter_mut()
            .enumerate()
            .filter(|(_, reward)| reward.is_none())
        {
            *reward = share(call);
            given |= reward.is_some();
        }
        if let Some(last) = last.filter(|_| given) {
            self.fates[last] = Fate::Given;
        }
        true
    }

    /// Lets the policy decide on the calls of a tree.
    pub(super) fn in_tree<'a>(
        &mut self,
        policy: &RewardPolicy,
        tree: &TraceTree<'a>,
        calls: &[Call<'a>],
        rewards: &[Found<'a>],
    ) {
        let spans: Vec<&Span> = calls.iter().map(|call| call.span).collect();
        if self.spread(policy, &spans, rewards) {
            return;
        }
        let sites = Sites::new(tree, calls, rewards);
        match policy {
            RewardPolicy::FirstSibling => self.first_sibling(&sites, rewards),
            _ => self.first_occurrence(&sites, rewards),
        }
    }

    fn first_occurrence(&mut self, sites: &Sites<'_, '_>, rewards: &[Found<'_>]) {
        let mut by_start: Vec<usize> = sites.depth_first.clone();
        by_start.sort_by_key(|node| sites.start[*node]);
        let mut waiting = Waiting::new(sites.calls_at(&by_start));
        for node in by_start {
            self.visit(node, sites, &mut waiting, rewards);
        }
    }

    fn first_sibling(&mut self, sites: &Sites<'_, '_>, rewards: &[Found<'_>]) {
        for parent in sites.tree.depth_first() {
            let children: Vec<usize> = parent.children().map(|child| child.id().index()).collect();
            let is_reward = |node: &usize| sites.reward_of[*node].is_some();
            if !children.iter().any(is_reward) {
                continue;
            }
            let mut waiting = Waiting::new(sites.calls_at(&children));
            for node in children {
                self.visit(node, sites, &mut waiting, rewards);
            }
        }
    }

    /// Comes by a node: a call begins to wait, a reward goes to the last one waiting that has ended.
    fn visit(&mut self, node: usize, sites: &Sites<'_, '_>, waiting: &mut Waiting, rewards: &[Found<'_>]) {
        if let Some(call) = sites.call_of[node] {
            // One that has a reward by a link does not wait for another.
            let end = self.of_calls[call].is_none().then_some(sites.end[node]);
            waiting.push(call, end);
        }
        if let Some(reward) = sites.reward_of[node].filter(|reward| self.is_open(*reward))
            && let Some(call) = waiting.take_ended_by(sites.start[node])
        {
            self.give(reward, rewards[reward].value, call);
        }
    }

    /// Lets the policy decide on calls of which only the order is known, as is that of the rewards.
    pub(super) fn in_sequence<'a>(
        &mut self,
        policy: &RewardPolicy,
        calls: &[&'a Span],
        rewards: &[Found<'a>],
    ) {
        if self.spread(policy, calls, rewards) {
            return;
        }
        // Those that wait, the latest last; for siblings, by what they say is around them.
        let mut waiting: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
        let place = |span: &'a Span| match policy {
            RewardPolicy::FirstSibling => parent_id(span),
            _ => None,
        };
        let mut next = 0;
        for (number, reward) in rewards.iter().enumerate() {
            while let Some(call) = calls
                .get(next)
                .filter(|call| call.sequence_id < reward.span.sequence_id)
            {
                // One that has a reward by a link does not wait for another.
                if self.of_calls[next].is_none() {
                    waiting.entry(place(call)).or_default().push(next);
                }
                next += 1;
            }
            if self.is_open(number)
                && let Some(call) = waiting.get_mut(&place(reward.span)).and_then(Vec::pop)
            {
                self.give(number, reward.value, call);
            }
        }
    }

    /// The rewards that no call got. Errors if rewards are required and no call has one.
    pub(super) fn unmatched(
        &self,
        rewards: &[Found<'_>],
        required_by: Option<&RewardPolicy>,
        spans: &[&Span],
    ) -> Result<Vec<UnmatchedReward>, AdaptError> {
        if let Some(policy) = required_by
            && self.of_calls.iter().all(Option::is_none)
        {
            return Err(if rewards.is_empty() {
                let span_names = super::error::names(spans.iter().copied());
                EmptyReason::NoReward { span_names }.into()
            } else {
                EmptyReason::NoRewardMatched {
                    rewards: rewards.len(),
                    policy: policy.to_string(),
                }
                .into()
            });
        }
        let unmatched = rewards
            .iter()
            .zip(&self.fates)
            .filter(|(_, fate)| **fate != Fate::Given);
        let unmatched = unmatched.map(|(reward, fate)| UnmatchedReward {
            span_id: reward.span.span_id.clone(),
            value: reward.value,
            linked: *fate == Fate::LinkedElsewhere,
        });
        Ok(unmatched.collect())
    }
}

/// The links of a reward that say which call it is for. Without one by the id of the answer or of the span there are none:
/// the reward is about no call in particular.
fn links(span: &Span) -> Vec<Link> {
    let links = links_of(span);
    if links.iter().any(names_a_call) {
        links
    } else {
        Vec::new()
    }
}

fn names_a_call(link: &Link) -> bool {
    [semconv::GEN_AI_RESPONSE_ID, SPAN_ID].contains(&link.key_match.as_str())
}

/// In a link: the id of the span itself.
const SPAN_ID: &str = "span_id";

fn points_at(link: &Link, call: Target<'_>) -> bool {
    if link.key_match == semconv::GEN_AI_RESPONSE_ID {
        call.answer == Some(&link.value_match)
    } else {
        link.matches(call.span)
    }
}

/// A call that a link may point at.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) span: &'a Span,
    /// The id of its answer, whatever the attribute is called.
    pub(super) answer: Option<&'a str>,
}

/// The calls by what a link may name.
struct Index<'a> {
    by_answer: HashMap<&'a str, usize>,
    by_span: HashMap<&'a str, usize>,
}

impl<'a> Index<'a> {
    fn new(calls: &[Target<'a>]) -> Self {
        let (mut by_answer, mut by_span) = (HashMap::new(), HashMap::new());
        for (number, call) in calls.iter().enumerate() {
            if let Some(id) = call.answer {
                by_answer.entry(id).or_insert(number);
            }
            by_span.entry(call.span.span_id.as_str()).or_insert(number);
        }
        Self { by_answer, by_span }
    }

    fn find(&self, links: &[Link]) -> Option<usize> {
        let link = links.iter().find(|link| names_a_call(link))?;
        let index = if link.key_match == SPAN_ID {
            &self.by_span
        } else {
            &self.by_answer
        };
        index.get(link.value_match.as_str()).copied()
    }
}

/// Where calls and rewards stand in a tree, and when.
struct Sites<'t, 'a> {
    tree: &'t TraceTree<'a>,
    depth_first: Vec<usize>,
    /// When each node began: what has no time begins with what is around it.
    start: Vec<Timestamp>,
    end: Vec<Timestamp>,
    call_of: Vec<Option<usize>>,
    reward_of: Vec<Option<usize>>,
}

impl<'t, 'a> Sites<'t, 'a> {
    fn new(tree: &'t TraceTree<'a>, calls: &[Call<'a>], rewards: &[Found<'a>]) -> Self {
        let never = Timestamp::from_secs_f64(f64::NEG_INFINITY);
        let (mut start, mut end) = (vec![never; tree.len()], vec![never; tree.len()]);
        let mut depth_first = Vec::with_capacity(tree.len());
        for node in tree.depth_first() {
            let index = node.id().index();
            let around = || node.parent().map_or(never, |parent| start[parent.id().index()]);
            let began = node.start().or(node.end()).unwrap_or_else(around);
            (start[index], end[index]) = (began, node.end().unwrap_or(began));
            depth_first.push(index);
        }
        let (mut call_of, mut reward_of) = (vec![None; tree.len()], vec![None; tree.len()]);
        for (number, call) in calls.iter().enumerate() {
            call_of[call.node.index()] = Some(number);
        }
        for (number, reward) in rewards.iter().enumerate() {
            // The nodes of a tree begin with its spans, in their order.
            reward_of[reward.place] = Some(number);
        }
        Self {
            tree,
            depth_first,
            start,
            end,
            call_of,
            reward_of,
        }
    }

    fn calls_at(&self, nodes: &[usize]) -> usize {
        nodes.iter().filter(|node| self.call_of[**node].is_some()).count()
    }
}
