//! Moments to be told about.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::Token;

/// At most one moment per token, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, Token)>,
    by_token: HashMap<Token, Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, token: Token, at: Instant) {
        self.cancel(token);
        self.by_time.insert((at, token));
        self.by_token.insert(token, at);
    }

    /// Whether it was set.
    pub(super) fn cancel(&mut self, token: Token) -> bool {
        let Some(at) = self.by_token.remove(&token) else { return false };
        self.by_time.remove(&(at, token))
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest if it is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Instant, Token)> {
        let (at, token) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        self.cancel(token);
        Some((at, token))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_are_due_in_order_once_and_not_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        for (token, ms) in [(1, 30), (2, 10), (3, 10), (4, 20)] {
            timers.set(Token(token), at(ms));
        }
        timers.set(Token(2), at(40));
        assert!(timers.cancel(Token(4)));
        assert!(!timers.cancel(Token(4)));
        assert_eq!(timers.earliest(), Some(at(10)));
        assert_eq!(timers.take_due(at(9)), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.take_due(at(30))).collect();
        assert_eq!(due, [(at(10), Token(3)), (at(30), Token(1))]);
        assert_eq!(timers.take_due(at(40)), Some((at(40), Token(2))));
        assert_eq!(timers.earliest(), None);
    }
}
