//! How long it is worth to look before a wait.

/// Turns of looking to begin with, and at most: about 1 and 10 microseconds, which is what going to
/// sleep and being woken costs.
const TURNS_FIRST: u32 = 16;
const TURNS_MOST: u32 = 256;

/// Where looking is not worth it, it is tried once in so many waits: on one processor for both
/// ends it never is.
const TRY_EVERY: u32 = 64;

/// What an end has learned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spin {
    turns: u32,
    waits: u32,
}

impl Spin {
    /// How often to look before the next wait.
    pub(super) fn turns(&mut self) -> u32 {
        self.waits = self.waits.wrapping_add(1);
        if self.turns == 0 && self.waits.is_multiple_of(TRY_EVERY) {
            return TURNS_FIRST;
        }
        self.turns
    }

    /// Learns whether that made the wait unnecessary.
    pub(super) fn learn(&mut self, was_enough: bool) {
        self.turns = match self.turns / 2 {
            _ if was_enough => (self.turns * 2).clamp(TURNS_FIRST, TURNS_MOST),
            less if less < TURNS_FIRST => 0,
            less => less,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_that_helps_is_done_longer_and_looking_that_does_not_is_given_up() {
        let mut spin = Spin::default();
        let tried = (0..TRY_EVERY * 3).filter(|_| spin.turns() > 0).count();
        assert_eq!(tried, 3);
        spin.learn(true);
        assert_eq!(spin.turns(), TURNS_FIRST);
        (0..10).for_each(|_| spin.learn(true));
        assert_eq!(spin.turns(), TURNS_MOST);
        (0..5).for_each(|_| spin.learn(false));
        assert_eq!(spin.turns(), 0);
    }
}
