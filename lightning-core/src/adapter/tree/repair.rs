//! Spans put where they belong by their times.

use super::{Node, TraceTree, enclosing};
use crate::semconv;

impl TraceTree<'_> {
    /// Moves spans that lie directly under the root to the shortest span that encloses them in time.
    ///
    /// Where two systems trace one program, the spans of calls often end up beside the agent that made them, under the
    /// root. Only there: below, parents are believed. A root with a single child is taken for a wrapping, so that the
    /// root's child, or its only child in turn, counts as the root. Spans that Lightning's own tracer recorded stay where
    /// they are: it knows what they are part of, also when things go on at the same time. The last span that is left under
    /// the root stays, and so does one whose closest enclosing span lies within itself. Of several enclosing spans of one length, the first in
    /// depth-first order is taken, as it was before anything moved.
    ///
    /// Takes time n·log n in the number of spans.
    pub fn repair(&mut self) {
        let mut hub = self.root;
        while let [only] = self.nodes[hub].children[..] {
            hub = only;
        }
        let movable = std::mem::take(&mut self.nodes[hub].children);
        // To which of the movable ones a node belongs; movable ones are then joined as they move.
        let mut group = vec![usize::MAX; self.nodes.len()];
        let (mut among, mut intervals) = (Vec::new(), Vec::new());
        for (number, top) in movable.iter().enumerate() {
            let mut rest = vec![*top];
            while let Some(index) = rest.pop() {
                let node = &self.nodes[index];
                rest.extend(node.children.iter().rev());
                group[index] = number;
                if let (Some(start), Some(end)) = (node.start, node.end) {
                    among.push(index);
                    intervals.push((start, end));
                }
            }
        }
        let timed: Vec<usize> = (0..movable.len())
            .filter(|number| {
                let node = &self.nodes[movable[*number]];
                node.start.is_some() && node.end.is_some() && !knows_its_place(node)
            })
            .collect();
        let wanted: Vec<_> = timed
            .iter()
            .filter_map(|number| {
                let node = &self.nodes[movable[*number]];
                Some((node.start?, node.end?))
            })
            .collect();
        let mut closest = vec![None; movable.len()];
        for (number, place) in timed.iter().zip(enclosing::closest(&intervals, &wanted)) {
            closest[*number] = place.map(|place| among[place]);
        }

        let mut joined = Groups::new(movable.len());
        let mut left = movable.len();
        for (number, (top, parent)) in movable.iter().zip(closest).enumerate() {
            let parent = parent.filter(|parent| left > 1 && joined.top(group[*parent]) != number);
            match parent {
                Some(parent) => {
                    joined.put_under(number, group[parent]);
                    self.nodes[parent].children.push(*top);
                    self.nodes[*top].parent = Some(parent);
                    left -= 1;
                }
                None => self.nodes[hub].children.push(*top),
            }
        }
    }
}

fn knows_its_place(node: &Node<'_>) -> bool {
    let tracer = node
        .span
        .and_then(|span| span.resource.attributes.get(semconv::TRACER_NAME));
    tracer.is_some_and(|name| name == semconv::LIGHTNING_TRACER)
}

/// Which groups have been put under which.
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn top(&mut self, group: usize) -> usize {
        let mut at = group;
        while self.0[at] != at {
            // Halving the way keeps later ones short.
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn put_under(&mut self, group: usize, above: usize) {
        self.0[group] = self.top(above);
    }
}
