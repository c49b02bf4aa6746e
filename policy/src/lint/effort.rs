//! How much work looking for idle rules may be.

use std::cell::Cell;

/// Steps that are left. A step is about as much work as comparing two rules.
#[derive(Debug)]
pub(crate) struct Effort(Cell<u64>);

/// There are no steps left: the question stays open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Exhausted;

impl Effort {
    pub(crate) fn new(steps: u64) -> Self {
        Self(Cell::new(steps))
    }

    pub(crate) fn spend(&self, steps: usize) -> Result<(), Exhausted> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let left = self.0.get();
        self.0.set(left.saturating_sub(steps));
        if left < steps { Err(Exhausted) } else { Ok(()) }
    }

    /// Takes at most `most` steps away, for one question, so that it leaves something for others.
    pub(crate) fn share(&self, most: u64) -> Self {
        let share = self.0.get().min(most);
        self.0.set(self.0.get() - share);
        Self::new(share)
    }

    /// Gives back what is left of a share.
    pub(crate) fn return_rest(&self, share: &Self) {
        self.0.set(self.0.get() + share.0.get());
    }
}
