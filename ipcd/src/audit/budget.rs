//! How many lines may be written: so many a second, and of one asker no more than half of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libipc::interface::Identity;

/// The lines of the current second.
#[derive(Debug)]
pub(crate) struct Budget {
    most: usize,
    /// Since when lines are counted.
    begun: Instant,
    written: HashMap<Asker, usize>,
    total: usize,
    /// Left out, and not yet told.
    untold: u64,
}

/// Who causes lines: all processes of one user are one, and all connections from one address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Asker {
    User(Option<u32>),
    Host(IpAddr),
}

const PERIOD: Duration = Duration::from_secs(1);

impl Budget {
    /// `most` lines a second.
    pub(crate) fn new(most: usize, now: Instant) -> Self {
        let (written, total) = (HashMap::new(), 0);
        Self { most, begun: now, written, total, untold: 0 }
    }

    /// Takes a new limit.
    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Whether a line about `who` may be written; it is counted either way.
    pub(crate) fn take(&mut self, who: &Identity) -> bool {
        let asker = match who {
            Identity::Local(local) => Asker::User(local.uid),
            Identity::Remote(remote) => Asker::Host(remote.address),
        };
        let written = self.written.get(&asker).copied().unwrap_or_default();
        if self.total >= self.most || written >= self.most.div_ceil(2) {
            self.untold += 1;
            return false;
        }
        // Only askers about whom a line was written are remembered: no more than there are lines.
        self.written.insert(asker, written + 1);
        self.total += 1;
        true
    }

    /// Begins anew once the second is over. `Some`: how many lines were left out in it.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.begun) < PERIOD {
            return None;
        }
        self.begun = now;
        self.written.clear();
        self.total = 0;
        Some(std::mem::take(&mut self.untold)).filter(|left_out| *left_out > 0)
    }

    /// When there is something to tell.
    pub(crate) fn next(&self) -> Option<Instant> {
        (self.untold > 0).then(|| self.begun + PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use libipc::identity::LocalIdentity;

    use super::*;

    fn user(uid: u32) -> Identity {
        Identity::Local(LocalIdentity { uid: Some(uid), ..LocalIdentity::default() })
    }

    #[test]
    fn one_asker_takes_no_more_than_half_and_all_together_no_more_than_the_limit() {
        let now = Instant::now();
        let mut budget = Budget::new(10, now);
        assert_eq!((0..100).filter(|_| budget.take(&user(1))).count(), 5);
        assert_eq!((0..3).filter(|_| budget.take(&user(2))).count(), 3);
        assert_eq!((0..100).filter(|_| budget.take(&user(3))).count(), 2);
        assert_eq!(budget.tick(now + PERIOD), Some(95 + 98));
    }

    #[test]
    fn what_was_left_out_is_told_exactly_and_once_when_the_second_is_over() {
        let now = Instant::now();
        let mut budget = Budget::new(1, now);
        assert_eq!(budget.next(), None);
        assert!(budget.take(&user(1)) && !budget.take(&user(1)) && !budget.take(&user(2)));
        assert_eq!(budget.next(), Some(now + PERIOD));
        assert_eq!(budget.tick(now + PERIOD / 2), None);
        assert_eq!(budget.tick(now + PERIOD), Some(2));
        assert_eq!((budget.tick(now + PERIOD * 3), budget.next()), (None, None));
        assert!(budget.take(&user(1)));
    }
}
