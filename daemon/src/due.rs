//! Whether an event loop does what is due.
//!
//! A time that is over and that nobody takes away makes a loop turn for ever, without an error and
//! without a line in the log: all answers are right, and a processor is gone. So every loop counts
//! the turns in which it did not wait and nothing had happened, and a debug build, that of the
//! tests, ends at too many of them.

use std::time::Duration;

/// Turns in vain, one behind the other, that are too many. A few are ordinary: what is due at one
/// moment may make something else due at once.
const IN_VAIN: u32 = 100;

/// Counts the turns of one loop that were in vain.
#[derive(Debug, Default)]
pub struct Due {
    in_vain: u32,
}

impl Due {
    /// Takes note of one turn: how long it was to wait at most, and whether anything had happened.
    ///
    /// # Panics
    ///
    /// In debug builds, if 100 turns in a row were for something that is due and stays undone.
    pub fn note(&mut self, timeout: Option<Duration>, something_happened: bool) {
        if something_happened || timeout != Some(Duration::ZERO) {
            self.in_vain = 0;
            return;
        }
        self.in_vain = self.in_vain.saturating_add(1);
        debug_assert!(self.in_vain < IN_VAIN, "what is due is never done: the loop turns for ever");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_may_turn_a_hundred_times_if_something_happens_in_between() {
        let mut due = Due::default();
        for _ in 0..IN_VAIN {
            for _ in 1..IN_VAIN {
                due.note(Some(Duration::ZERO), false);
            }
            due.note(Some(Duration::ZERO), true);
            due.note(Some(Duration::from_nanos(1)), false);
            due.note(None, false);
        }
    }

    #[test]
    #[should_panic = "the loop turns for ever"]
    fn a_loop_that_turns_in_vain_is_seen() {
        let mut due = Due::default();
        for _ in 0..IN_VAIN {
            due.note(Some(Duration::ZERO), false);
        }
    }
}
