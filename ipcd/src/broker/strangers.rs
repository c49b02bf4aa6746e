//! Rules about users and groups that did not exist when the rules were read.
//!
//! Whoever asks for the first time may be one of them, made since then. So the accounts are looked
//! up once more for each user that was not seen before; never for one that was, so that nobody
//! makes the broker look things up again and again.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Broker, Moment};

/// Users that are known to have been seen; with more of them, none is looked up any more until the
/// next reload.
const SEEN_MOST: usize = 4_096;

/// Users seen since the configuration was read.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashSet<u32>);

impl Strangers {
    /// Takes note of a user. Whether he is new.
    fn meet(&mut self, uid: u32) -> bool {
        self.0.len() < SEEN_MOST && self.0.insert(uid)
    }
}

impl Broker {
    /// Looks up the accounts that did not exist, if rules name some and this user is new.
    pub(super) fn wake_for(&mut self, uid: Option<u32>, at: Moment<'_>) {
        let is_new = uid.is_some_and(|uid| self.strangers.meet(uid));
        if !is_new || !self.live.sleeps {
            return;
        }
        let live = Arc::make_mut(&mut self.live);
        let woken = live.config.wake(at.world.accounts());
        live.sleeps = live.config.sleeps();
        if woken > 0 {
            tracing::info!(event = "accounts-found", count = woken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_new_once_and_only_so_many_are() {
        let mut strangers = Strangers::default();
        assert!(strangers.meet(7) && !strangers.meet(7));
        for uid in 100..100 + u32::try_from(SEEN_MOST).unwrap() {
            strangers.meet(uid);
        }
        assert_eq!(strangers.0.len(), SEEN_MOST);
        assert!(!strangers.meet(1_000_000));
    }
}
