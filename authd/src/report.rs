//! What the log is told of logins, which nobody can fill.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use daemon::log::Budget;
use libipc::interface::authenticator::Verify;

use crate::verifier::Outcome;

/// Lines in one [`Budget::PERIOD`] at most, of logins that were accepted and of others.
pub(crate) const LINES_MOST: u32 = 50;

/// The log of logins.
#[derive(Debug)]
pub(crate) struct Reports {
    accepted: Mutex<Budget>,
    others: Mutex<Budget>,
}

impl Reports {
    /// Nothing has been told yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            accepted: Mutex::new(Budget::new(LINES_MOST, now)),
            others: Mutex::new(Budget::new(LINES_MOST, now)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_shown_without_what_a_terminal_would_obey() {
        assert_eq!(shown("10.0.0.1\u{1b}[2J\nuid:0"), "10.0.0.1[2Juid:0");
        assert_eq!(shown(&"x".repeat(1000)).len(), 64);
    }
}
