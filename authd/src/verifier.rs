//! Whether a login is right.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use libipc::interface::authenticator::{Verified, Verify};

use crate::hash::Hash;
use crate::passwords::Passwords;
use crate::penalty::Penalties;

/// Verifies logins, so many at a time.
#[derive(Debug)]
pub(crate) struct Verifier {
    users: Mutex<Arc<Users>>,
    penalties: Mutex<Penalties>,
    gate: Gate,
}

/// The users, and a hash for everybody else: finding out that there is no such user takes as long
/// as finding out that the secret is wrong.
#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) passwords: Passwords,
    pub(crate) nobody: Hash,
}

/// What came of a login.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It is right.
    Accepted(Verified),
    /// It is wrong.
    Rejected {
        /// There is such a user.
        is_user: bool,
        /// Whoever it was has to wait now.
        waits: bool,
    },
    /// It was not looked at: there were too many failures.
    HeldBack,
    /// It was not looked at: there was no place or no memory for it in time.
    Busy,
}

impl Verifier {
    /// For these users, `most` at a time.
    pub(crate) fn new(users: Users, most: usize) -> Self {
        Self {
            users: Mutex::new(Arc::new(users)),
            penalties: Mutex::new(Penalties::new()),
            gate: Gate::new(most),
        }
    }

    /// Takes other users from now on.
    pub(crate) fn replace(&self, users: Users) {
        *lock(&self.users) = Arc::new(users);
    }

    /// Verifies a login. Waits for its turn until `deadline`, then for as long as a hash takes.
    pub(crate) fn verify(&self, login: &Verify, deadline: Instant) -> Outcome {
        let Some(_place) = self.gate.enter(deadline) else { return Outcome::Busy };
        let user = login.user.expose();
        // With the place, so that guesses at the same time are no more than there are places.
        let attempt = {
            let mut penalties = lock(&self.penalties);
            let attempt = penalties.attempt(user, &login.peer);
            if !penalties.admits(attempt, Instant::now()) {
                return Outcome::HeldBack;
            }
            attempt
        };
        let users = Arc::clone(&lock(&self.users));
        let entry = users.passwords.get(user);
        let hash = entry.map_or(&users.nobody, |entry| &entry.hash);
        let Ok(is_right) = hash.is_of(&login.secret) else { return Outcome::Busy };
        let mut penalties = lock(&self.penalties);
        let now = Instant::now();
        if let Some(entry) = entry.filter(|_| is_right) {
            penalties.succeeded(attempt, now);
            let groups = entry.groups.clone();
            return Outcome::Accepted(Verified { user: user.to_owned(), groups });
        }
        let waits = penalties.failed(attempt, now);
        Outcome::Rejected { is_user: entry.is_some(), waits }
    }
}

#[cfg(test)]
impl Verifier {
    /// Takes a place, as a login does that takes its time.
    pub(crate) fn occupy(&self) -> impl Drop + '_ {
        let place = self.gate.enter(Instant::now() + std::time::Duration::from_secs(60));
        place.expect("there is a free one")
    }
}

impl Users {
    /// With a hash for everybody else.
    ///
    /// # Errors
    ///
    /// The kernel's: no random numbers.
    pub(crate) fn new(passwords: Passwords) -> std::io::Result<Self> {
        let nobody = Hash::of_nobody(passwords.typical())?;
        Ok(Self { passwords, nobody })
    }
}

/// Lets so many in at a time.
#[derive(Debug)]
struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

/// A place behind the gate, given back when it is dropped.
struct Place<'g>(&'g Gate);

impl Gate {
    fn new(places: usize) -> Self {
        Self { free: Mutex::new(places), changed: Condvar::new() }
    }

    fn enter(&self, deadline: Instant) -> Option<Place<'_>> {
        let mut free = lock(&self.free);
        while *free == 0 {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(free, left);
            free = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Some(Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

/// What a thread that panicked left is still whole: nothing is changed in two steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libipc::secret::Secret;

    use super::*;
    use crate::passwords;

    const LONG: Duration = Duration::from_secs(60);

    fn verifier(most: usize) -> Verifier {
        let hash = Hash::of(&Secret::new("right".to_owned())).unwrap();
        let line = passwords::line("alice", &hash, &["staff".to_owned()]);
        let users = Users::new(Passwords::parse(&line).unwrap()).unwrap();
        Verifier::new(users, most)
    }

    fn try_it(verifier: &Verifier, user: &str, secret: &str, peer: &str) -> Outcome {
        let text = |text: &str| Secret::new(text.to_owned());
        let login = Verify { user: text(user), secret: text(secret), peer: peer.to_owned() };
        verifier.verify(&login, Instant::now() + LONG)
    }

    #[test]
    fn the_right_secret_is_accepted_and_nothing_else_is() {
        let verifier = verifier(1);
        let alice = Verified { user: "alice".to_owned(), groups: vec!["staff".to_owned()] };
        assert_eq!(try_it(&verifier, "alice", "right", "10.0.0.1"), Outcome::Accepted(alice));
        for (user, secret, is_user) in [
            ("alice", "wrong", true),
            ("alice", "", true),
            ("bob", "right", false),
            ("", "", false),
        ] {
            let peer = format!("10.1.0.{}", user.len() + secret.len());
            let outcome = try_it(&verifier, user, secret, &peer);
            assert_eq!(outcome, Outcome::Rejected { is_user, waits: false }, "{user} {secret}");
        }
    }

    #[test]
    fn who_has_failed_too_often_is_held_back_with_the_right_secret_too() {
        let verifier = verifier(2);
        for waits in [false, false, false, true] {
            let outcome = try_it(&verifier, "bob", "x", "10.0.0.1");
            assert_eq!(outcome, Outcome::Rejected { is_user: false, waits });
        }
        assert_eq!(try_it(&verifier, "alice", "right", "10.0.0.1"), Outcome::HeldBack);
        assert_eq!(try_it(&verifier, "bob", "x", "10.0.0.2"), Outcome::HeldBack);
        assert!(matches!(try_it(&verifier, "alice", "right", "10.0.0.2"), Outcome::Accepted(_)));
    }

    #[test]
    fn guesses_at_the_same_time_are_no_more_than_there_are_places() {
        let verifier = verifier(2);
        let outcomes = std::thread::scope(|scope| {
            let guess = || try_it(&verifier, "alice", "wrong", "10.0.0.1");
            let guesses: Vec<_> = (0..24).map(|_| scope.spawn(guess)).collect();
            guesses.into_iter().map(|guess| guess.join().unwrap()).collect::<Vec<_>>()
        });
        let looked_at = outcomes.iter().filter(|one| **one != Outcome::HeldBack).count();
        assert!((4..=5).contains(&looked_at), "{outcomes:?}");
    }

    #[test]
    fn without_a_place_in_time_it_is_told_to_come_again() {
        let verifier = verifier(1);
        let _taken = verifier.gate.enter(Instant::now() + LONG).unwrap();
        let text = |text: &str| Secret::new(text.to_owned());
        let login = Verify { user: text("alice"), secret: text("right"), peer: String::new() };
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(verifier.verify(&login, deadline), Outcome::Busy);
    }

    #[test]
    fn other_users_count_at_once() {
        let verifier = verifier(1);
        verifier.replace(Users::new(Passwords::default()).unwrap());
        let outcome = try_it(&verifier, "alice", "right", "10.0.0.1");
        assert_eq!(outcome, Outcome::Rejected { is_user: false, waits: false });
    }

    /// attacks.md G4: how long it takes tells nobody whether there is such a user.
    #[test]
    #[ignore = "measures: it wants a quiet machine, and some seconds"]
    fn an_unknown_user_takes_as_long_as_a_wrong_secret() {
        let verifier = verifier(1);
        let mut spans = [Vec::new(), Vec::new()];
        for number in 0..200_u32 {
            for (spans, user) in spans.iter_mut().zip(["alice", "nobody"]) {
                // Each from elsewhere, and nobody waits for alice.
                let peer = format!("10.{}.{}.{}", user.len(), number / 200, number % 200);
                let start = Instant::now();
                let hash = lock(&verifier.users).passwords.get(user).map(|one| one.hash.clone());
                let hash = hash.unwrap_or_else(|| lock(&verifier.users).nobody.clone());
                assert_eq!(hash.is_of(&Secret::new(peer)), Ok(false));
                spans.push(start.elapsed());
            }
        }
        let mean = |spans: &[Duration]| spans.iter().sum::<Duration>().as_secs_f64() / 200.0;
        let variance = |spans: &[Duration]| {
            let mean = mean(spans);
            spans.iter().map(|span| (span.as_secs_f64() - mean).powi(2)).sum::<f64>() / 199.0
        };
        let [known, unknown] = &spans;
        let error = ((variance(known) + variance(unknown)) / 200.0).sqrt();
        let t = (mean(known) - mean(unknown)) / error;
        println!("{:.2} ms and {:.2} ms, t = {t:.2}", mean(known) * 1e3, mean(unknown) * 1e3);
        assert!(t.abs() < 4.5, "t = {t}");
    }
}
