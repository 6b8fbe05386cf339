//! Calls that wait for a reward.

use crate::types::Timestamp;

/// Calls in the order in which they came, each with its end: a tree of minima, so that the last one that has ended by some
/// time is found in logarithmic time.
pub(super) struct Waiting {
    /// The earliest end below each node; nothing if none waits there. The leaves are its second half.
    earliest: Vec<Option<Timestamp>>,
    calls: Vec<usize>,
}

impl Waiting {
    /// Room for that many.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            earliest: vec![None; 2 * capacity.next_power_of_two()],
            calls: Vec::with_capacity(capacity),
        }
    }

    /// Adds a call; one without an end does not wait.
    pub(super) fn push(&mut self, call: usize, end: Option<Timestamp>) {
        self.set(self.calls.len(), end);
        self.calls.push(call);
    }

    /// The last call that has ended by that time; it waits no longer.
    pub(super) fn take_ended_by(&mut self, time: Timestamp) -> Option<usize> {
        let ended = |end: Option<Timestamp>| end.is_some_and(|end| end <= time);
        let leaves = self.earliest.len() / 2;
        let mut at = 1;
        if !ended(self.earliest[at]) {
            return None;
        }
        while at < leaves {
            at = 2 * at + usize::from(ended(self.earliest[2 * at + 1]));
        }
        self.set(at - leaves, None);
        Some(self.calls[at - leaves])
    }

    fn set(&mut self, place: usize, end: Option<Timestamp>) {
        let mut at = self.earliest.len() / 2 + place;
        if let Some(leaf) = self.earliest.get_mut(at) {
            *leaf = end;
        }
        while at > 1 {
            at /= 2;
            let below = [self.earliest[2 * at], self.earliest[2 * at + 1]];
            self.earliest[at] = below.into_iter().flatten().min();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Timestamp {
        Timestamp::from_secs_f64(seconds.into())
    }

    #[test]
    fn the_last_that_has_ended_is_taken_once() {
        let mut waiting = Waiting::new(5);
        assert_eq!(waiting.take_ended_by(at(9)), None);
        for (call, end) in [
            (10, Some(1)),
            (11, Some(5)),
            (12, None),
            (13, Some(3)),
            (14, Some(9)),
        ] {
            waiting.push(call, end.map(at));
        }
        assert_eq!(waiting.take_ended_by(at(0)), None);
        assert_eq!(waiting.take_ended_by(at(4)), Some(13));
        assert_eq!(waiting.take_ended_by(at(4)), Some(10));
        assert_eq!(waiting.take_ended_by(at(4)), None);
        assert_eq!(waiting.take_ended_by(at(9)), Some(14));
        assert_eq!(waiting.take_ended_by(at(9)), Some(11));
        assert_eq!(waiting.take_ended_by(at(9)), None);
    }

    #[test]
    fn room_for_one_and_for_none() {
        let mut none = Waiting::new(0);
        assert_eq!(none.take_ended_by(at(1)), None);
        let mut one = Waiting::new(1);
        one.push(7, Some(at(1)));
        assert_eq!(one.take_ended_by(at(1)), Some(7));
        none.take_ended_by(at(1));
    }
}
