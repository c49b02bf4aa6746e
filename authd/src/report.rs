//! What the log is told of logins, which nobody can fill.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libipc::interface::authenticator::Verify;

use crate::verifier::Outcome;

/// Lines in one [`PERIOD`] at most, of logins that were accepted and of others.
pub(crate) const LINES_MOST: u32 = 50;

/// How long lines are counted together.
const PERIOD: Duration = Duration::from_secs(10);

/// The log of logins.
#[derive(Debug)]
pub(crate) struct Reports {
    accepted: Mutex<Budget>,
    others: Mutex<Budget>,
}

impl Reports {
    /// Nothing has been told yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { accepted: Mutex::new(Budget::new(now)), others: Mutex::new(Budget::new(now)) }
    }

    /// Writes one line, if there is room for it. Of a user who does not exist the name is left out:
    /// often it is a secret that was typed too early.
    pub(crate) fn tell(&self, login: &Verify, outcome: &Outcome, now: Instant) {
        let budget =
            if matches!(outcome, Outcome::Accepted(_)) { &self.accepted } else { &self.others };
        let (is_admitted, left_out) =
            budget.lock().unwrap_or_else(PoisonError::into_inner).admit(now);
        if let Some(count) = left_out {
            tracing::info!(event = "logins-left-out", count);
        }
        if !is_admitted {
            return;
        }
        let peer = shown(&login.peer);
        match outcome {
            Outcome::Accepted(verified) => {
                tracing::info!(event = "login-accepted", user = verified.user, peer);
            }
            Outcome::Rejected { is_user: true, waits } => {
                let user = login.user.expose();
                tracing::info!(event = "login-rejected", user, peer, waits);
            }
            Outcome::Rejected { is_user: false, waits } => {
                tracing::info!(event = "login-rejected", peer, waits, "there is no such user");
            }
            Outcome::HeldBack => tracing::info!(event = "login-held-back", peer),
            Outcome::Busy => tracing::info!(event = "login-busy", peer),
        }
    }
}

/// Who brought a login, as the broker says; another one may say anything.
fn shown(peer: &str) -> String {
    peer.chars().filter(char::is_ascii_graphic).take(64).collect()
}

#[derive(Debug)]
struct Budget {
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { since: now, told: 0, left_out: 0 }
    }

    /// Whether another line may be written; and how many were left out, if that is to be said now.
    fn admit(&mut self, now: Instant) -> (bool, Option<u64>) {
        let mut left_out = None;
        if now.saturating_duration_since(self.since) >= PERIOD {
            left_out = Some(std::mem::take(&mut self.left_out)).filter(|count| *count > 0);
            (self.since, self.told) = (now, 0);
        }
        if self.told >= LINES_MOST {
            self.left_out += 1;
            return (false, left_out);
        }
        self.told += 1;
        (true, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_limit_is_counted_and_told_later() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for _ in 0..LINES_MOST {
            assert_eq!(budget.admit(start), (true, None));
        }
        for _ in 0..7 {
            assert_eq!(budget.admit(start + PERIOD / 2), (false, None));
        }
        assert_eq!(budget.admit(start + PERIOD), (true, Some(7)));
    }

    #[test]
    fn a_peer_is_shown_without_what_a_terminal_would_obey() {
        assert_eq!(shown("10.0.0.1\u{1b}[2J\nuid:0"), "10.0.0.1[2Juid:0");
        assert_eq!(shown(&"x".repeat(1000)).len(), 64);
    }
}
