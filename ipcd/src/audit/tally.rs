//! Counts of decisions: by verdict and direction, and of the limits that were reached.

use std::collections::BTreeMap;

use libipc::interface::control::{Counter, Verdict};
use policy::rule::Direction;

/// The counts since the start. They never go back, not even at a reload.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By verdict and direction; without one, the request did not come to that.
    decisions: BTreeMap<(Verdict, Option<Direction>), u64>,
    /// By the limit's name in the configuration, of which there are few.
    limits: BTreeMap<String, u64>,
    lines_left_out: u64,
}

/// All directions.
const DIRECTIONS: [Direction; 3] = [Direction::Out, Direction::In, Direction::Local];

impl Tally {
    /// Counts a decision.
    pub(crate) fn count(&mut self, verdict: Verdict, direction: Option<Direction>) {
        *self.decisions.entry((verdict, direction)).or_default() += 1;
    }

    /// Counts that a limit was reached.
    pub(crate) fn limit_reached(&mut self, limit: &str) {
        match self.limits.get_mut(limit) {
            Some(count) => *count += 1,
            None => {
                self.limits.insert(limit.to_owned(), 1);
            }
        }
    }

    /// Counts a line that the log's limit left out.
    pub(crate) fn line_left_out(&mut self) {
        self.lines_left_out += 1;
    }

    /// Lines that were left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.lines_left_out
    }

    /// Every verdict in every direction, also those that never came; `None` only if it did.
    pub(crate) fn decisions(&self) -> Vec<(Verdict, Option<Direction>, u64)> {
        let count = |key| self.decisions.get(&key).copied();
        let mut all = Vec::new();
        for verdict in Verdict::ALL {
            for direction in DIRECTIONS {
                let value = count((verdict, Some(direction))).unwrap_or_default();
                all.push((verdict, Some(direction), value));
            }
            all.extend(count((verdict, None)).map(|value| (verdict, None, value)));
        }
        all
    }

    /// The limits that were reached, and how often.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.limits.iter().map(|(limit, count)| (limit.as_str(), *count))
    }

    /// All counts, with their names for people.
    pub(crate) fn counters(&self) -> Vec<Counter> {
        let decisions = self.decisions().into_iter().map(|(verdict, direction, value)| Counter {
            name: match direction {
                Some(direction) => format!("{verdict} {direction}"),
                None => verdict.to_string(),
            },
            value,
        });
        let limits = self
            .limits()
            .map(|(limit, value)| Counter { name: format!("limit {limit} reached"), value });
        let left_out =
            Counter { name: "log lines left out".to_owned(), value: self.lines_left_out };
        decisions.chain(limits).chain([left_out]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_counted_in_its_direction_and_all_are_there_from_the_start() {
        let mut tally = Tally::default();
        assert_eq!(tally.decisions().len(), 15);
        assert!(tally.decisions().iter().all(|(_, _, count)| *count == 0));
        for direction in DIRECTIONS {
            for (times, verdict) in Verdict::ALL.into_iter().enumerate() {
                for _ in 0..times {
                    tally.count(verdict, Some(direction));
                }
            }
        }
        tally.count(Verdict::Busy, None);
        let counts: Vec<u64> = tally.decisions().iter().map(|(_, _, count)| *count).collect();
        assert_eq!(counts, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 1]);
    }

    #[test]
    fn limits_are_counted_by_name() {
        let mut tally = Tally::default();
        tally.limit_reached("clients");
        tally.limit_reached("clients");
        let counters = tally.counters();
        let last = &counters[counters.len() - 2];
        assert_eq!((last.name.as_str(), last.value), ("limit clients reached", 2));
    }
}
