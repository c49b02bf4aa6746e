//! The end: who has asked is answered, who comes waits for the next broker.

use std::time::{Duration, Instant};

use libipc::poller::Interest;

use super::{Accepting, EventLoop};
use crate::entrance::Way;

/// How long those who have asked may keep a broker from its end. A restart makes those who come
/// wait as long, in the socket that the service manager keeps.
const GRACE: Duration = Duration::from_millis(300);

impl EventLoop<'_> {
    /// Accepts nobody any more. A second time it is in a hurry.
    pub(super) fn end(&mut self, now: Instant) {
        let until = match self.accepting {
            Accepting::Ending(_) => now,
            _ => now + GRACE,
        };
        self.accepting = Accepting::Ending(until);
        self.entrances.values().for_each(Way::leave);
        self.watch_entrances(Interest::NONE);
    }

    /// Whether nothing is left to do.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        match self.accepting {
            Accepting::Ending(until) => {
                until <= now || (self.lobby.waiting() == 0 && !self.broker.is_awaited())
            }
            _ => false,
        }
    }
}
