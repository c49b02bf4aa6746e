//! Who is next.

use std::collections::{HashSet, VecDeque};

use super::event::Id;

/// First come, first served; nobody is in it twice.
#[derive(Debug, Default)]
pub(super) struct Turns {
    order: VecDeque<Id>,
    waiting: HashSet<Id>,
}

impl Turns {
    /// Puts `id` behind all others, unless it waits already.
    pub(super) fn give(&mut self, id: Id) {
        if self.waiting.insert(id) {
            self.order.push_back(id);
        }
    }

    /// Who is next.
    pub(super) fn take(&mut self) -> Option<Id> {
        let id = self.order.pop_front()?;
        self.waiting.remove(&id);
        Some(id)
    }
}
