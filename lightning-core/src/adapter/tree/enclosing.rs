//! For each of many spans of time, the shortest other one around it, all at once.

use crate::types::Timestamp;

/// From and to.
pub(super) type Interval = (Timestamp, Timestamp);

/// For each of `wanted`, the place in `among` of the shortest interval that encloses it and is not equal to it; of several
/// of one length, the first. Takes time n·log n in the number of all.
pub(super) fn closest(among: &[Interval], wanted: &[Interval]) -> Vec<Option<usize>> {
    let mut ends: Vec<Timestamp> = among.iter().chain(wanted).map(|(_, end)| *end).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut shortest = Shortest::new(ends);

    let by_start = |intervals: &[Interval]| {
        let mut order: Vec<usize> = (0..intervals.len()).collect();
        order.sort_by_key(|index| intervals[*index].0);
        order
    };
    let candidates = by_start(among);
    let mut candidates = candidates.as_slice();
    let mut found = vec![None; wanted.len()];
    let wanted_order = by_start(wanted);
    for same_start in wanted_order.chunk_by(|a, b| wanted[*a].0 == wanted[*b].0) {
        let start = wanted[same_start[0]].0;
        // Those that begin earlier may end together with what they enclose …
        candidates = shortest.add_while(candidates, among, |began| began < start);
        let earlier: Vec<_> = same_start
            .iter()
            .map(|index| shortest.ending_from(wanted[*index].1))
            .collect();
        // … and those that begin together have to end later.
        candidates = shortest.add_while(candidates, among, |began| began == start);
        for (index, earlier) in same_start.iter().zip(earlier) {
            let together = shortest.ending_after(wanted[*index].1);
            found[*index] = earlier.into_iter().chain(together).min().map(|(_, place)| place);
        }
    }
    found
}

/// How long, and which.
type Entry = (Timestamp, usize);

/// The shortest of the intervals added so far that end at a certain time or later: a Fenwick tree over the ends, from the
/// last to the first.
struct Shortest {
    ends: Vec<Timestamp>,
    tree: Vec<Option<Entry>>,
}

impl Shortest {
    fn new(ends: Vec<Timestamp>) -> Self {
        let tree = vec![None; ends.len() + 1];
        Self { ends, tree }
    }

    fn add_while<'o>(
        &mut self,
        order: &'o [usize],
        among: &[Interval],
        wanted: impl Fn(Timestamp) -> bool,
    ) -> &'o [usize] {
        let split = order.partition_point(|index| wanted(among[*index].0));
        for index in &order[..split] {
            let (start, end) = among[*index];
            let entry = (Timestamp::from_secs_f64(end - start), *index);
            let mut at = self.ends.len() - self.ends.partition_point(|other| *other < end);
            while let Some(node) = self.tree.get_mut(at) {
                *node = Some(node.map_or(entry, |known| known.min(entry)));
                at += at & at.wrapping_neg();
            }
        }
        &order[split..]
    }

    fn ending_from(&self, end: Timestamp) -> Option<Entry> {
        self.of_last(self.ends.len() - self.ends.partition_point(|other| *other < end))
    }

    fn ending_after(&self, end: Timestamp) -> Option<Entry> {
        self.of_last(self.ends.len() - self.ends.partition_point(|other| *other <= end))
    }

    /// The shortest of those with one of the last `count` ends.
    fn of_last(&self, mut count: usize) -> Option<Entry> {
        let mut shortest: Option<Entry> = None;
        while count > 0 {
            shortest = shortest.into_iter().chain(self.tree[count]).min();
            count &= count - 1;
        }
        shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u32, end: u32) -> Interval {
        let time = |seconds: u32| Timestamp::from_secs_f64(seconds.into());
        (time(start), time(end))
    }

    #[test]
    fn the_shortest_around_is_found() {
        let among = [
            at(0, 10),
            at(1, 9),
            at(2, 5),
            at(2, 5),
            at(2, 6),
            at(7, 8),
            at(5, 3),
        ];
        for (wanted, expected) in [
            (at(0, 10), None),
            (at(2, 5), Some(4)),
            (at(3, 4), Some(2)),
            (at(2, 3), Some(2)),
            (at(3, 5), Some(2)),
            (at(7, 8), Some(1)),
            (at(0, 11), None),
            (at(1, 9), Some(0)),
        ] {
            assert_eq!(closest(&among, &[wanted]), [expected], "{wanted:?}");
        }
    }

    #[test]
    fn all_at_once_is_as_one_by_one() {
        let mut state = 7_u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..200 {
            let mut some = || -> Vec<Interval> {
                let count = next(12);
                (0..count).map(|_| at(next(8), next(8))).collect()
            };
            let (among, wanted) = (some(), some());
            let slow = wanted.iter().map(|(start, end)| {
                let encloses = |(_, other): &(usize, &Interval)| {
                    other.0 <= *start && other.1 >= *end && **other != (*start, *end)
                };
                let around = among.iter().enumerate().filter(encloses);
                let key = |(place, (from, to)): &(usize, &Interval)| {
                    (Timestamp::from_secs_f64(*to - *from), *place)
                };
                around.min_by_key(key).map(|(place, _)| place)
            });
            assert_eq!(
                closest(&among, &wanted),
                slow.collect::<Vec<_>>(),
                "{among:?} {wanted:?}"
            );
        }
    }
}
