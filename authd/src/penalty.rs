//! What failures cost: whoever guesses waits longer and longer.
//!
//! The numbers are OpenSSH's (`PerSourcePenalties` of its server): a failure costs 5 s, the
//! penalty is felt from 15 s on, and is 600 s at most. From the fourth failure on each costs twice
//! as much as the one before, so that nobody gets more than a few guesses in a minute. Failures are
//! counted for the user and for the source; nothing is counted off for a success, or one's own
//! account would wash off guesses at another's.
//!
//! Nothing here does I/O or reads a clock.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What one of the first failures costs.
const COST: Duration = Duration::from_secs(5);

/// Failures that cost no more than that.
const CHEAP_FAILURES: u32 = 3;

/// From how long on a penalty is felt.
const FELT_FROM: Duration = Duration::from_secs(15);

/// The longest penalty.
pub(crate) const PENALTY_MOST: Duration = Duration::from_secs(600);

/// How long failures are remembered after the last one's penalty.
const MEMORY: Duration = Duration::from_secs(600);

/// Users and sources whose failures are remembered; at the limit, those are forgotten first that
/// would be anyway.
pub(crate) const REMEMBERED_MOST: usize = 65_536;

/// Pairs of users and sources that have proven themselves before.
pub(crate) const PROVEN_MOST: usize = 65_536;

/// How long it counts that a user has logged in from a source.
const PROVEN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who is counted: a number that tells nothing about who it is.
type Key = u64;

/// The failures of all.
#[derive(Debug)]
pub(crate) struct Penalties {
    hasher: RandomState,
    guilty: Table<Guilt>,
    /// Who has logged in from where: failures of strangers do not keep that user out there.
    proven: Table<()>,
}

/// What is known of one who has failed.
#[derive(Clone, Copy, Debug, Default)]
struct Guilt {
    failures: u32,
    /// When nothing is left of the penalty.
    until: Option<Instant>,
    /// It is felt, until that moment.
    is_felt: bool,
}

/// One attempt to log in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    user: Key,
    source: Key,
    pair: Key,
}

impl Penalties {
    /// Nobody has failed yet.
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            guilty: Table::new(REMEMBERED_MOST),
            proven: Table::new(PROVEN_MOST),
        }
    }

    /// What is counted for this user and this peer: of the address of another host, all of it, or
    /// for IPv6 the network of 64 bits, of which one host may have every address.
    pub(crate) fn attempt(&self, user: &str, peer: &str) -> Attempt {
        let source = source_of(peer);
        Attempt {
            user: self.hasher.hash_one(("user", user)),
            source: self.hasher.hash_one(("source", &source)),
            pair: self.hasher.hash_one(("pair", user, &source)),
        }
    }

    /// Whether an attempt may be looked at.
    pub(crate) fn admits(&mut self, attempt: Attempt, now: Instant) -> bool {
        let is_felt = |table: &Table<Guilt>, key| {
            let guilt = table.get(key, now);
            guilt.is_some_and(|guilt| guilt.is_felt && guilt.until.is_some_and(|until| until > now))
        };
        let is_proven = self.proven.get(attempt.pair, now).is_some();
        let user_waits = is_felt(&self.guilty, attempt.user) && !is_proven;
        !user_waits && !is_felt(&self.guilty, attempt.source)
    }

    /// An attempt was wrong. True if somebody has to wait from now on.
    pub(crate) fn failed(&mut self, attempt: Attempt, now: Instant) -> bool {
        let mut waits = false;
        for key in [attempt.user, attempt.source] {
            let guilt = self.guilty.get(key, now).copied().unwrap_or_default().one_more(now);
            waits |= guilt.is_felt;
            let forgotten = guilt.until.unwrap_or(now) + MEMORY;
            self.guilty.set(key, guilt, forgotten, now);
        }
        waits
    }

    /// An attempt was right.
    pub(crate) fn succeeded(&mut self, attempt: Attempt, now: Instant) {
        self.proven.set(attempt.pair, (), now + PROVEN_FOR, now);
    }
}

impl Guilt {
    fn one_more(self, now: Instant) -> Self {
        let doublings = (self.failures + 1).saturating_sub(CHEAP_FAILURES).min(16);
        let cost = COST.saturating_mul(1 << doublings).min(PENALTY_MOST);
        let left = self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let penalty = (left + cost).min(PENALTY_MOST);
        Self {
            failures: self.failures.saturating_add(1),
            until: Some(now + penalty),
            is_felt: penalty >= FELT_FROM,
        }
    }
}

/// The source of a peer, as it is counted.
fn source_of(peer: &str) -> String {
    match peer.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Ok(address) => address.to_string(),
        Err(_) => peer.to_owned(),
    }
}

/// What is remembered for a time, and of which there is no more than a number.
#[derive(Debug)]
struct Table<V> {
    known: HashMap<Key, (V, Instant)>,
    /// The same keys, the first to be forgotten first.
    order: BTreeSet<(Instant, Key)>,
    most: usize,
}

impl<V> Table<V> {
    fn new(most: usize) -> Self {
        Self { known: HashMap::new(), order: BTreeSet::new(), most }
    }

    fn get(&self, key: Key, now: Instant) -> Option<&V> {
        self.known.get(&key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    fn set(&mut self, key: Key, value: V, until: Instant, now: Instant) {
        if let Some((_, before)) = self.known.insert(key, (value, until)) {
            self.order.remove(&(before, key));
        }
        self.order.insert((until, key));
        while let Some((first, key)) = self.order.first().copied() {
            if first > now && self.known.len() <= self.most {
                return;
            }
            self.order.pop_first();
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_thousand_guesses_get_no_more_than_ten_answers_in_any_minute() {
        let start = Instant::now();
        for (users, sources) in [(1, 1), (1, 1000), (1000, 1)] {
            let mut penalties = Penalties::new();
            let mut looked_at = Vec::new();
            for guess in 0..1000_u32 {
                let now = start + SECOND * guess / 4;
                let user = format!("user{}", guess % users);
                let attempt = penalties.attempt(
                    &user,
                    &format!("10.0.{}.{}", guess % sources / 250, guess % sources % 250),
                );
                if penalties.admits(attempt, now) {
                    penalties.failed(attempt, now);
                    looked_at.push(now);
                }
            }
            for from in &looked_at {
                let within = |at: &&Instant| **at >= *from && **at < *from + SECOND * 60;
                let count = looked_at.iter().filter(within).count();
                assert!(count <= 10, "{users} users, {sources} sources: {count}");
            }
        }
    }

    #[test]
    fn two_failures_are_not_felt_and_the_third_is() {
        let (mut penalties, now) = (Penalties::new(), Instant::now());
        let attempt = penalties.attempt("alice", "192.0.2.1");
        assert!(!penalties.failed(attempt, now) && penalties.admits(attempt, now));
        assert!(!penalties.failed(attempt, now) && penalties.admits(attempt, now));
        assert!(penalties.failed(attempt, now) && !penalties.admits(attempt, now));
        assert!(!penalties.admits(attempt, now + SECOND * 14));
        assert!(penalties.admits(attempt, now + SECOND * 15));
    }

    #[test]
    fn a_penalty_is_never_longer_than_ten_minutes_and_is_forgotten() {
        let (mut penalties, now) = (Penalties::new(), Instant::now());
        let attempt = penalties.attempt("alice", "192.0.2.1");
        for _ in 0..100 {
            penalties.failed(attempt, now);
        }
        assert!(!penalties.admits(attempt, now + SECOND * 599));
        assert!(penalties.admits(attempt, now + PENALTY_MOST));
        let later = now + PENALTY_MOST + MEMORY;
        assert!(!penalties.failed(attempt, later) && penalties.admits(attempt, later));
    }

    #[test]
    fn strangers_cannot_keep_out_who_has_logged_in_from_where_he_is() {
        let (mut penalties, now) = (Penalties::new(), Instant::now());
        let home = penalties.attempt("alice", "192.0.2.1");
        let cafe = penalties.attempt("alice", "192.0.2.2");
        penalties.succeeded(home, now);
        for stranger in 0..20 {
            let attempt = penalties.attempt("alice", &format!("203.0.113.{stranger}"));
            penalties.failed(attempt, now);
        }
        assert!(penalties.admits(home, now));
        assert!(!penalties.admits(cafe, now), "from elsewhere it may be the stranger");
        // But guessing from there counts as from everywhere.
        for _ in 0..3 {
            penalties.failed(home, now);
        }
        assert!(!penalties.admits(home, now));
    }

    #[test]
    fn a_success_takes_nothing_off() {
        let (mut penalties, now) = (Penalties::new(), Instant::now());
        let (own, others) =
            (penalties.attempt("mallory", "192.0.2.1"), penalties.attempt("alice", "192.0.2.1"));
        for _ in 0..3 {
            penalties.succeeded(own, now);
            penalties.failed(others, now);
        }
        assert!(!penalties.admits(own, now));
    }

    #[test]
    fn a_network_of_64_bits_is_one_source_and_an_ipv4_address_is_one_however_written() {
        assert_eq!(source_of("2001:db8:1:2::1"), source_of("2001:db8:1:2:ffff::9"));
        assert_ne!(source_of("2001:db8:1:2::1"), source_of("2001:db8:1:3::1"));
        assert_eq!(source_of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(source_of("uid:1000"), source_of("uid:1001"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_worst_is_kept() {
        let (mut penalties, now) = (Penalties::new(), Instant::now());
        let worst = penalties.attempt("worst", "192.0.2.1");
        for _ in 0..10 {
            penalties.failed(worst, now);
        }
        for number in 0..REMEMBERED_MOST {
            let attempt = penalties.attempt(&number.to_string(), &format!("uid:{number}"));
            penalties.failed(attempt, now);
            penalties.succeeded(attempt, now);
        }
        assert_eq!(penalties.guilty.known.len(), REMEMBERED_MOST);
        assert_eq!(penalties.guilty.order.len(), REMEMBERED_MOST);
        assert!(penalties.proven.known.len() <= PROVEN_MOST);
        assert!(!penalties.admits(worst, now));
    }
}
