//! How many places that it has not been at a user may be led to in a while. A program that walks
//! through ports or hosts is stopped; one that comes back to where it was is not counted.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::quota::{Full, User};

/// A place on another host.
type Place = (String, u16);

/// Over how long new places are counted.
const SPAN: Duration = Duration::from_secs(10);

/// Places of one user that are remembered; the oldest are forgotten.
const KNOWN_MOST: usize = 1024;

/// Those of all users, of whom somebody may have very many: whoever was nowhere new for longest is
/// forgotten.
const KNOWN_BY_ALL_MOST: usize = 32 * 1024;

/// Where each user has been.
#[derive(Debug, Default)]
pub(super) struct Targets {
    users: HashMap<User, Been>,
    /// When each was somewhere new last, by a count that only grows.
    latest: BTreeMap<u64, User>,
    count: u64,
    /// Places of all of them.
    known: usize,
}

#[derive(Debug, Default)]
struct Been {
    known: HashSet<Place>,
    order: VecDeque<Place>,
    new: VecDeque<Instant>,
    latest: u64,
}

impl Targets {
    /// Takes note of where `user` is led to; an error if that is one new place too many.
    pub(super) fn visit(
        &mut self,
        user: User,
        host: &str,
        port: u16,
        (most, now): (usize, Instant),
    ) -> Result<(), Full> {
        let been = self.users.entry(user).or_default();
        let place = (host.to_owned(), port);
        if been.known.contains(&place) {
            return Ok(());
        }
        while been.new.front().is_some_and(|when| *when + SPAN <= now) {
            been.new.pop_front();
        }
        if been.new.len() >= most {
            return Err(Full { limit: "new-targets-per-user", most });
        }
        been.new.push_back(now);
        if been.order.len() == KNOWN_MOST
            && let Some(oldest) = been.order.pop_front()
        {
            been.known.remove(&oldest);
            self.known -= 1;
        }
        been.known.insert(place.clone());
        been.order.push_back(place);
        self.known += 1;
        self.count += 1;
        self.latest.remove(&been.latest);
        been.latest = self.count;
        self.latest.insert(self.count, user);
        while self.known > KNOWN_BY_ALL_MOST {
            self.forget_one();
        }
        Ok(())
    }

    /// Forgets whoever was nowhere new for longest.
    fn forget_one(&mut self) {
        let forgotten = self.latest.pop_first().and_then(|(_, user)| self.users.remove(&user));
        self.known -= forgotten.map_or(self.known, |been| been.known.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 20;

    #[test]
    fn a_walk_through_ports_is_stopped_and_goes_on_when_time_has_passed() {
        let now = Instant::now();
        let mut targets = Targets::default();
        let led = |targets: &mut Targets, now| {
            (1..=1000)
                .filter(|port| targets.visit(Some(7), "h", *port, (MOST, now)).is_ok())
                .count()
        };
        assert_eq!(led(&mut targets, now), MOST);
        let full = targets.visit(Some(7), "h", 999, (MOST, now)).unwrap_err();
        assert_eq!(full, Full { limit: "new-targets-per-user", most: MOST });
        assert_eq!(led(&mut targets, now + SPAN), 2 * MOST, "the old ones are no longer new");
    }

    #[test]
    fn users_do_not_hinder_each_other_and_known_places_cost_nothing() {
        let now = Instant::now();
        let mut targets = Targets::default();
        for _ in 0..1000 {
            targets.visit(Some(1), "h", 1, (1, now)).unwrap();
        }
        assert!(targets.visit(Some(1), "h", 2, (1, now)).is_err());
        targets.visit(Some(2), "h", 2, (1, now)).unwrap();
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut targets = Targets::default();
        for port in 1..=u16::MAX {
            targets.visit(Some(1), "h", port, (usize::MAX, now)).unwrap();
        }
        let been = &targets.users[&Some(1)];
        assert_eq!((been.known.len(), been.order.len()), (KNOWN_MOST, KNOWN_MOST));
        assert_eq!(targets.known, KNOWN_MOST);
    }

    #[test]
    fn what_is_remembered_of_all_users_is_bounded_too() {
        let now = Instant::now();
        let mut targets = Targets::default();
        let most = u32::try_from(KNOWN_BY_ALL_MOST / 2).unwrap();
        for user in 0..=most {
            for port in 1..=2 {
                targets.visit(Some(user), "h", port, (2, now)).unwrap();
            }
        }
        assert_eq!((targets.known, targets.users.len()), (KNOWN_BY_ALL_MOST, most as usize));
        assert_eq!(targets.latest.len(), targets.users.len());
        assert!(!targets.users.contains_key(&Some(0)), "the first is forgotten");
        assert!(targets.visit(Some(most), "h", 3, (2, now)).is_err(), "the last is not");
    }
}
