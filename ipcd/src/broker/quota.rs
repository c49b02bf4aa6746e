//! What one user may take.

use std::collections::{HashMap, VecDeque};

use crate::action::ClientId;

/// A user; `None` stands for all whose id is unknown.
pub(crate) type User = Option<u32>;

/// What each user has taken.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    users: HashMap<User, Taken>,
    clients: usize,
    dials: usize,
}

#[derive(Debug, Default)]
struct Taken {
    clients: usize,
    dials: usize,
    waiting: VecDeque<ClientId>,
}

/// The limits that [`Quota`] keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// Connected clients.
    pub(crate) clients: usize,
    /// Connected clients of one user.
    pub(crate) clients_per_user: usize,
    /// Connections that are being made to other hosts.
    pub(crate) dials: usize,
    /// Those of one user.
    pub(crate) dials_per_user: usize,
    /// Requests of one user that wait for their turn.
    pub(crate) queue_per_user: usize,
}

/// Descriptors that clients never get, of few that a process may have.
const RESERVED_LEAST: usize = 32;

/// The part of all descriptors that clients never get: with it those who are there are served.
const RESERVED_SHARE: usize = 8;

/// Clients that there is room for in a process that may have that many descriptors. Each takes
/// one; doors, calls and what transport daemons bring come and go beside them.
pub(crate) fn room_for_clients(descriptors: usize) -> usize {
    descriptors.saturating_sub(RESERVED_LEAST.max(descriptors / RESERVED_SHARE))
}

/// A limit that is reached: its name as the configuration has it, and its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full {
    /// The name.
    pub(crate) limit: &'static str,
    /// The value.
    pub(crate) most: usize,
}

/// How much of a limit is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Share {
    /// The limit's name.
    pub(crate) limit: &'static str,
    /// How much is taken,
    pub(crate) used: usize,
    /// of how much.
    pub(crate) most: usize,
    /// By whom, if it is a limit of each user.
    pub(crate) user: User,
}

/// Whether a dial may begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Now.
    Now,
    /// When [`Quota::dialled`] says so.
    Later,
}

impl Quota {
    /// Counts a client of `user` in.
    pub(crate) fn admit(&mut self, user: User, most: Most) -> Result<(), Full> {
        self.room(user, (0, 0), most)?;
        self.users.entry(user).or_default().clients += 1;
        self.clients += 1;
        Ok(())
    }

    /// Whether there is room for a client of `user` behind those who wait to be admitted: how many
    /// in all, and how many of that user's.
    pub(crate) fn room(
        &self,
        user: User,
        (waiting, waiting_of_user): (usize, usize),
        most: Most,
    ) -> Result<(), Full> {
        if self.clients + waiting >= most.clients {
            return Err(Full { limit: "clients", most: most.clients });
        }
        let taken = self.users.get(&user).map_or(0, |taken| taken.clients);
        if taken + waiting_of_user >= most.clients_per_user {
            return Err(Full { limit: "clients-per-user", most: most.clients_per_user });
        }
        Ok(())
    }

    /// Counts a client out.
    pub(crate) fn leave(&mut self, user: User, client: ClientId) {
        self.clients = self.clients.saturating_sub(1);
        if let Some(taken) = self.users.get_mut(&user) {
            taken.clients = taken.clients.saturating_sub(1);
            taken.waiting.retain(|waiting| *waiting != client);
        }
        self.forget(user);
    }

    /// Takes a place for a dial, or one in the queue.
    pub(crate) fn dial(&mut self, user: User, client: ClientId, most: Most) -> Result<Turn, Full> {
        let taken = self.users.entry(user).or_default();
        if taken.dials < most.dials_per_user {
            if self.dials >= most.dials {
                self.forget(user);
                return Err(Full { limit: "dials", most: most.dials });
            }
            taken.dials += 1;
            self.dials += 1;
            return Ok(Turn::Now);
        }
        if taken.waiting.len() >= most.queue_per_user {
            return Err(Full { limit: "queue-per-user", most: most.queue_per_user });
        }
        taken.waiting.push_back(client);
        Ok(Turn::Later)
    }

    /// Gives the place of a dial back. The answer is the client whose turn it is: it has the
    /// place.
    pub(crate) fn dialled(&mut self, user: User) -> Option<ClientId> {
        if let Some(taken) = self.users.get_mut(&user) {
            if let Some(next) = taken.waiting.pop_front() {
                return Some(next);
            }
            taken.dials = taken.dials.saturating_sub(1);
            self.dials = self.dials.saturating_sub(1);
        }
        self.forget(user);
        None
    }

    /// A client no longer waits for its turn.
    pub(crate) fn stop_waiting(&mut self, user: User, client: ClientId) {
        if let Some(taken) = self.users.get_mut(&user) {
            taken.waiting.retain(|waiting| *waiting != client);
        }
        self.forget(user);
    }

    /// Connected clients.
    pub(crate) fn clients(&self) -> usize {
        self.clients
    }

    /// How much is taken of each limit; of those of one user, by whoever has taken most.
    pub(crate) fn taken(&self, most: Most) -> Vec<Share> {
        let fullest = |count: fn(&Taken) -> usize| {
            let users = self.users.iter().map(|(user, taken)| (*user, count(taken)));
            users.max_by_key(|(_, count)| *count).unwrap_or_default()
        };
        let of_all = |limit, used, most| Share { limit, used, most, user: None };
        let of_one = |limit, (user, used), most| Share { limit, used, most, user };
        vec![
            of_all("clients", self.clients, most.clients),
            of_one("clients-per-user", fullest(|taken| taken.clients), most.clients_per_user),
            of_all("dials", self.dials, most.dials),
            of_one("dials-per-user", fullest(|taken| taken.dials), most.dials_per_user),
            of_one("queue-per-user", fullest(|taken| taken.waiting.len()), most.queue_per_user),
        ]
    }

    /// Users that have taken something.
    #[cfg(test)]
    fn users(&self) -> usize {
        self.users.len()
    }

    fn forget(&mut self, user: User) {
        let is_empty =
            |taken: &Taken| taken.clients == 0 && taken.dials == 0 && taken.waiting.is_empty();
        if self.users.get(&user).is_some_and(is_empty) {
            self.users.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most =
        Most { clients: 3, clients_per_user: 2, dials: 2, dials_per_user: 1, queue_per_user: 1 };

    #[test]
    fn each_limit_holds_at_its_value_and_names_itself() {
        let mut quota = Quota::default();
        quota.admit(Some(1), MOST).unwrap();
        quota.admit(Some(1), MOST).unwrap();
        let full = quota.admit(Some(1), MOST).unwrap_err();
        assert_eq!(full, Full { limit: "clients-per-user", most: 2 });
        assert_eq!(quota.room(Some(2), (0, 0), MOST), Ok(()));
        let behind = quota.room(Some(2), (1, 1), MOST).unwrap_err();
        assert_eq!(behind, Full { limit: "clients", most: 3 }, "who waits has the last place");
        let own = Most { clients: 9, ..MOST };
        let behind = quota.room(Some(2), (5, 2), own).unwrap_err();
        assert_eq!(behind, Full { limit: "clients-per-user", most: 2 });
        quota.admit(Some(2), MOST).unwrap();
        assert_eq!(quota.admit(Some(3), MOST), Err(Full { limit: "clients", most: 3 }));
        quota.leave(Some(1), ClientId(1));
        quota.admit(Some(3), MOST).unwrap();
    }

    #[test]
    fn some_descriptors_are_left_for_those_who_are_there() {
        for (descriptors, room) in [(0, 0), (32, 0), (64, 32), (1_024, 896), (20_000, 17_500)] {
            assert_eq!(room_for_clients(descriptors), room, "{descriptors}");
        }
    }

    #[test]
    fn a_dial_beyond_the_limit_waits_for_its_turn() {
        let mut quota = Quota::default();
        let user = Some(1);
        assert_eq!(quota.dial(user, ClientId(1), MOST), Ok(Turn::Now));
        assert_eq!(quota.dial(user, ClientId(2), MOST), Ok(Turn::Later));
        let full = quota.dial(user, ClientId(3), MOST).unwrap_err();
        assert_eq!(full, Full { limit: "queue-per-user", most: 1 });
        assert_eq!(quota.dial(Some(2), ClientId(4), MOST), Ok(Turn::Now));
        let full = quota.dial(Some(3), ClientId(5), MOST).unwrap_err();
        assert_eq!(full, Full { limit: "dials", most: 2 });
        assert_eq!(quota.dialled(user), Some(ClientId(2)));
        assert_eq!(quota.dialled(user), None);
        assert_eq!(quota.dialled(Some(2)), None);
        assert_eq!(quota.users(), 0);
    }

    #[test]
    fn who_leaves_the_queue_is_not_called() {
        let mut quota = Quota::default();
        quota.dial(None, ClientId(1), MOST).unwrap();
        quota.dial(None, ClientId(2), MOST).unwrap();
        quota.stop_waiting(None, ClientId(2));
        assert_eq!(quota.dialled(None), None);
        assert_eq!(quota.users(), 0);
    }
}
