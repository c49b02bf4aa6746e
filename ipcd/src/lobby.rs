//! Those who have come and wait to be let in: each user in a line of its own.
//!
//! The kernel keeps one line for all, and who floods it keeps everybody waiting. So what has come
//! is taken out of there quickly, and let in here by turns: one of each user, whose line is as long
//! as that user may have clients.

use std::collections::{HashMap, VecDeque};

use crate::broker::User;

/// The lines.
#[derive(Debug)]
pub(crate) struct Lobby<T> {
    lines: HashMap<User, VecDeque<T>>,
    /// The users who have a line, in the order of their turns.
    turns: VecDeque<User>,
    waiting: usize,
}

impl<T> Default for Lobby<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new(), waiting: 0 }
    }
}

impl<T> Lobby<T> {
    /// Takes a place at the end of its user's line.
    pub(crate) fn enter(&mut self, user: User, visitor: T) {
        let line = self.lines.entry(user).or_default();
        if line.is_empty() {
            self.turns.push_back(user);
        }
        line.push_back(visitor);
        self.waiting += 1;
    }

    /// The next one, by turns of the users.
    pub(crate) fn next(&mut self) -> Option<T> {
        let user = self.turns.pop_front()?;
        let line = self.lines.get_mut(&user)?;
        let visitor = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&user);
        } else {
            self.turns.push_back(user);
        }
        self.waiting -= usize::from(visitor.is_some());
        visitor
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many of that user's wait.
    pub(crate) fn waiting_of(&self, user: User) -> usize {
        self.lines.get(&user).map_or(0, VecDeque::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_behind_a_thousand_of_another_user_is_the_second_to_be_let_in() {
        let mut lobby = Lobby::default();
        for number in 0..1_000 {
            lobby.enter(Some(1), number);
        }
        lobby.enter(Some(2), 2_000);
        lobby.enter(None, 3_000);
        assert_eq!((lobby.waiting(), lobby.waiting_of(Some(1))), (1_002, 1_000));
        let first: Vec<_> = std::iter::from_fn(|| lobby.next()).take(5).collect();
        assert_eq!(first, [0, 2_000, 3_000, 1, 2]);
        lobby.enter(Some(2), 2_001);
        assert_eq!([lobby.next(), lobby.next()], [Some(3), Some(2_001)]);
        assert_eq!(lobby.waiting_of(Some(2)), 0);
        assert_eq!(std::iter::from_fn(|| lobby.next()).count(), 996);
        assert_eq!((lobby.waiting(), lobby.lines.len(), lobby.turns.len()), (0, 0, 0));
    }
}
