//! The spans of an attempt as a tree.

mod agent;
mod enclosing;
mod html;
mod repair;
mod text;

use std::collections::HashMap;

use super::{
    AdaptError,
    ordered::{ordered, parent_id},
};
use crate::{
    semconv,
    types::{Reward, Span, Timestamp},
};

/// The spans of one attempt as a tree, whatever they lack.
///
/// - A parent that is not among the spans (the outermost span is easily lost) is made up, with the times of its children.
/// - Several roots get a made-up one above them.
/// - Children are in the order of sequence ids; the order in which the spans are given does not matter.
///
/// Made-up nodes have no [span](TreeNode::span). Nothing here recurses: depth comes from outside.
///
/// ```
/// use lightning_core::{adapter::TraceTree, types::Span};
///
/// let mut spans = vec![
///     Span::new("ro-1", "at-1", 1, "trace", "a", "agent"),
///     Span::new("ro-1", "at-1", 2, "trace", "b", "openai.chat.completion"),
/// ];
/// spans[1].parent_id = Some("a".to_owned());
/// let tree = TraceTree::new(&spans)?;
/// let names: Vec<&str> = tree.depth_first().map(|node| node.name()).collect();
/// assert_eq!(names, ["agent", "openai.chat.completion"]);
/// # Ok::<(), lightning_core::adapter::AdaptError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TraceTree<'a> {
    nodes: Vec<Node<'a>>,
    root: usize,
}

#[derive(Clone, Debug)]
struct Node<'a> {
    id: &'a str,
    span: Option<&'a Span>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// Names a node of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// The id of the root that is made up where there are several.
const VIRTUAL_ROOT: &str = "virtual-root";

impl<'a> TraceTree<'a> {
    /// The tree of these spans. See also [`repair`](Self::repair).
    ///
    /// # Errors
    ///
    /// [`AdaptError::Empty`] without spans, [`AdaptError::BrokenTree`] if spans are each other's parents,
    /// [`AdaptError::SeveralAttempts`].
    pub fn new(spans: &'a [Span]) -> Result<Self, AdaptError> {
        Self::of(&ordered(spans)?)
    }

    /// The tree of spans that are in order, with ids that differ.
    pub(super) fn of(spans: &[&'a Span]) -> Result<Self, AdaptError> {
        let mut nodes: Vec<Node<'a>> = spans
            .iter()
            .map(|span| Node::new(&span.span_id, Some(span)))
            .collect();
        let mut by_id: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
        by_id.extend(nodes.iter().enumerate().map(|(index, node)| (node.id, index)));
        let (mut roots, mut missing) = (Vec::new(), Vec::new());
        for (index, span) in spans.iter().enumerate() {
            let Some(parent) = parent_id(span) else {
                roots.push(index);
                continue;
            };
            let parent = *by_id.entry(parent).or_insert_with(|| {
                missing.push(nodes.len());
                nodes.push(Node::new(parent, None));
                nodes.len() - 1
            });
            nodes[parent].children.push(index);
            nodes[index].parent = Some(parent);
        }
        roots.extend(&missing);
        for index in missing {
            cover_children(&mut nodes, index);
        }
        let root = match roots[..] {
            [only] => only,
            [] => return Err(cycle(&nodes, 0)),
            _ => {
                let root = nodes.len();
                for child in &roots {
                    nodes[*child].parent = Some(root);
                }
                let mut node = Node::new(VIRTUAL_ROOT, None);
                node.children = roots;
                nodes.push(node);
                cover_children(&mut nodes, root);
                root
            }
        };
        let tree = Self { nodes, root };
        let mut reached = vec![false; tree.nodes.len()];
        for node in tree.depth_first() {
            reached[node.id.0] = true;
        }
        match reached.iter().position(|reached| !reached) {
            Some(lost) => Err(cycle(&tree.nodes, lost)),
            None => Ok(tree),
        }
    }

    /// The outermost node.
    pub fn root(&self) -> TreeNode<'_, 'a> {
        self.at(self.root)
    }

    /// The node of that id, which is one of this tree's.
    pub fn node(&self, id: NodeId) -> Option<TreeNode<'_, 'a>> {
        (id.0 < self.nodes.len()).then(|| self.at(id.0))
    }

    /// How many nodes there are, made-up ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is at least one node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node of the span with this id, in time linear in the number of nodes.
    pub fn find(&self, span_id: &str) -> Option<TreeNode<'_, 'a>> {
        let found = self.nodes.iter().position(|node| node.id == span_id);
        found.map(|index| self.at(index))
    }

    /// All nodes, each before its children.
    pub fn depth_first(&self) -> impl Iterator<Item = TreeNode<'_, 'a>> {
        let mut rest = vec![self.root];
        std::iter::from_fn(move || {
            let index = rest.pop()?;
            rest.extend(self.nodes[index].children.iter().rev());
            Some(self.at(index))
        })
    }

    fn at(&self, index: usize) -> TreeNode<'_, 'a> {
        TreeNode {
            tree: self,
            id: NodeId(index),
        }
    }
}

impl<'a> Node<'a> {
    fn new(id: &'a str, span: Option<&'a Span>) -> Self {
        // A time that is no number is as good as none.
        let finite = |time: Option<Timestamp>| time.filter(|time| time.as_secs_f64().is_finite());
        Self {
            id,
            span,
            start: finite(span.and_then(|span| span.start_time)),
            end: finite(span.and_then(|span| span.end_time)),
            parent: None,
            children: Vec::new(),
        }
    }
}

fn cover_children(nodes: &mut [Node<'_>], index: usize) {
    let children = || nodes[index].children.iter().map(|child| &nodes[*child]);
    let start = children().filter_map(|child| child.start).min();
    let end = children().filter_map(|child| child.end).max();
    (nodes[index].start, nodes[index].end) = (start, end);
}

/// The cycle above a node that has no root above it.
fn cycle(nodes: &[Node<'_>], below: usize) -> AdaptError {
    let mut passed = vec![false; nodes.len()];
    let mut at = below;
    while !passed[at] {
        passed[at] = true;
        at = nodes[at].parent.unwrap_or(at);
    }
    let (first, mut cycle) = (at, Vec::new());
    loop {
        cycle.push(nodes[at].id.to_owned());
        at = nodes[at].parent.unwrap_or(first);
        if at == first {
            return AdaptError::BrokenTree { cycle };
        }
    }
}

/// A node of a [`TraceTree`].
#[derive(Clone, Copy, Debug)]
pub struct TreeNode<'t, 'a> {
    tree: &'t TraceTree<'a>,
    id: NodeId,
}

impl<'t, 'a> TreeNode<'t, 'a> {
    fn node(self) -> &'t Node<'a> {
        &self.tree.nodes[self.id.0]
    }

    /// What names it within the tree.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The id of the span; for a made-up node the id that its children name as their parent's, or `virtual-root`.
    pub fn span_id(self) -> &'a str {
        self.node().id
    }

    /// The span, unless the node is made up.
    pub fn span(self) -> Option<&'a Span> {
        self.node().span
    }

    /// The name of the span; [`semconv::VIRTUAL`] for a made-up node.
    pub fn name(self) -> &'a str {
        self.span().map_or(semconv::VIRTUAL, |span| &span.name)
    }

    /// When it began, if that is known.
    pub fn start(self) -> Option<Timestamp> {
        self.node().start
    }

    /// When it ended, if that is known.
    pub fn end(self) -> Option<Timestamp> {
        self.node().end
    }

    /// The node around it.
    pub fn parent(self) -> Option<Self> {
        self.node().parent.map(|parent| self.tree.at(parent))
    }

    /// The nodes within it, in order.
    pub fn children(self) -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator {
        self.node().children.iter().map(move |child| self.tree.at(*child))
    }

    /// The name of the agent that the span is the work of, if the span says so in a way that a known framework does:
    /// OpenAI Agents, AgentOps, AutoGen, LangGraph, agent-framework, Weave, LangChain.
    pub fn agent_name(self) -> Option<&'a str> {
        self.span().and_then(agent::name)
    }

    /// The reward that the span carries.
    pub fn reward(self) -> Option<Reward> {
        self.span().and_then(Reward::from_span)
    }
}
