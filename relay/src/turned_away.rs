//! The log of peers that came to nothing, which no peer can fill.

use std::net::SocketAddr;
use std::time::Instant;

use daemon::log::Budget;
use libipc::interface::transport::TransportError;

/// Lines in one [`Budget::PERIOD`] at most.
pub const LINES_MOST: u32 = 20;

/// Tells of peers that were turned away, and counts what it leaves out.
#[derive(Debug)]
pub struct TurnedAway(Budget);

impl TurnedAway {
    /// Nobody yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Budget::new(LINES_MOST, now))
    }

    /// Writes one line about a peer, if there is room for it.
    pub fn tell(&mut self, listener: &str, address: SocketAddr, error: &TransportError) {
        if self.has_room() {
            let error = error.to_string();
            tracing::info!(event = "turned-away", listener, %address, error);
        }
    }

    /// As [`TurnedAway::tell`], about a far end that broke off a connection which was in use.
    pub fn tell_broken(&mut self, far: &str, error: &TransportError) {
        if self.has_room() {
            let error = error.to_string();
            tracing::info!(event = "broken-off", far, error);
        }
    }

    fn has_room(&mut self) -> bool {
        let (is_admitted, left_out) = self.0.admit(Instant::now());
        if let Some(count) = left_out {
            tracing::info!(event = "turned-away-more", count);
        }
        is_admitted
    }
}
