//! The log of peers that came to nothing, which no peer can fill.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libipc::interface::transport::TransportError;

/// Lines in one [`PERIOD`] at most.
pub const LINES_MOST: u32 = 20;

/// How long lines are counted together.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Tells of peers that were turned away, and counts what it leaves out.
#[derive(Debug)]
pub struct TurnedAway {
    since: Instant,
    told: u32,
    left_out: u64,
}

impl TurnedAway {
    /// Nobody yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, told: 0, left_out: 0 }
    }

    /// Whether another line may be written at `now`; and how many were left out, if that is to be
    /// said now.
    pub fn admit(&mut self, now: Instant) -> (bool, Option<u64>) {
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

    /// Writes one line about a peer, if there is room for it.
    pub fn tell(&mut self, listener: &str, address: SocketAddr, error: &TransportError) {
        let (is_admitted, left_out) = self.admit(Instant::now());
        if let Some(count) = left_out {
            tracing::info!(event = "turned-away-more", count);
        }
        if is_admitted {
            tracing::info!(event = "turned-away", ?listener, %address, ?error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_limit_is_counted_and_told_later() {
        let start = Instant::now();
        let mut log = TurnedAway::new(start);
        for _ in 0..LINES_MOST {
            assert_eq!(log.admit(start), (true, None));
        }
        for _ in 0..7 {
            assert_eq!(log.admit(start + PERIOD / 2), (false, None));
        }
        assert_eq!(log.admit(start + PERIOD), (true, Some(7)));
        assert_eq!(log.admit(start + PERIOD * 2), (true, None));
    }
}
