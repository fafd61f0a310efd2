//! Which time of a period was watched, and how well.

/// How well, the worst last: where two say different things of the same moment, the worse one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    Covered,
    Reduced,
    NotCovered,
}

/// Spans of time, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Timeline(Vec<(i64, i64, Watch)>);

/// A period taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) covered: i64,
    pub(super) reduced: i64,
    pub(super) not_covered: i64,
    pub(super) unrecorded: i64,
    /// Where there is no record.
    pub(super) holes: Vec<(i64, i64)>,
}

impl Timeline {
    pub(super) fn add(&mut self, from: i64, to: i64, watch: Watch) {
        if from < to {
            self.0.push((from, to, watch));
        }
    }

    /// Takes a period apart; spans may lie anywhere and overlap.
    pub(super) fn split(&self, from: i64, to: i64) -> Split {
        // At each moment where something begins or ends: what, and by how much more or less.
        let mut edges: Vec<(i64, Watch, i32)> = Vec::with_capacity(self.0.len() * 2);
        for (begin, end, watch) in &self.0 {
            let (begin, end) = ((*begin).clamp(from, to), (*end).clamp(from, to));
            if begin < end {
                edges.push((begin, *watch, 1));
                edges.push((end, *watch, -1));
            }
        }
        edges.sort_unstable_by_key(|(at, ..)| *at);
        let mut split = Split::default();
        let mut depth = [0_i32; 3];
        let mut last = from;
        // The end of the period is an edge of its own.
        let ends = edges.iter().map(|edge| (edge.0, Some((edge.1, edge.2)))).chain([(to, None)]);
        for (at, change) in ends {
            let length = at - last;
            if length > 0 {
                match depth.map(|deep| deep > 0) {
                    [_, _, true] => split.not_covered += length,
                    [_, true, _] => split.reduced += length,
                    [true, ..] => split.covered += length,
                    _ => {
                        split.unrecorded += length;
                        match split.holes.last_mut() {
                            Some((_, end)) if *end == last => *end = at,
                            _ => split.holes.push((last, at)),
                        }
                    }
                }
                last = at;
            }
            if let Some((watch, by)) = change {
                depth[watch as usize] += by;
            }
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_taken_apart_without_a_rest() {
        let mut line = Timeline::default();
        line.add(0, 100, Watch::Covered);
        line.add(100, 160, Watch::Reduced);
        // The clock was set back: the same time twice, and the worse one counts.
        line.add(150, 170, Watch::NotCovered);
        line.add(90, 95, Watch::Covered);
        line.add(300, 400, Watch::Covered);
        line.add(5, 5, Watch::NotCovered);
        let split = line.split(50, 350);
        assert_eq!(
            split,
            Split {
                covered: 50 + 50,
                reduced: 50,
                not_covered: 20,
                unrecorded: 130,
                holes: vec![(170, 300)],
            }
        );
        assert_eq!(split.covered + split.reduced + split.not_covered + split.unrecorded, 300);
    }

    #[test]
    fn no_record_is_one_hole() {
        let split = Timeline::default().split(10, 20);
        assert_eq!((split.unrecorded, split.holes), (10, vec![(10, 20)]));
    }
}
