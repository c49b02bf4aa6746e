//! Several addresses, one connection: the attempts of RFC 8305, without I/O.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Time between the starts of two attempts (RFC 8305, section 5).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses that are left, and when the next one is tried.
#[derive(Debug)]
pub(crate) struct Race {
    left: VecDeque<SocketAddr>,
    next: Instant,
    running: usize,
}

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Try this address too.
    Start(SocketAddr),
    /// Wait for an attempt to end, or until this time if there is another address.
    Wait(Option<Instant>),
    /// All attempts have failed.
    Lost,
}

impl Race {
    /// A race between `addresses`, in their order.
    pub(crate) fn new(addresses: Vec<SocketAddr>, now: Instant) -> Self {
        Self { left: addresses.into(), next: now, running: 0 }
    }

    /// What to do at this time. An attempt that is to start counts as started.
    pub(crate) fn turn(&mut self, now: Instant) -> Turn {
        if self.next <= now
            && let Some(address) = self.left.pop_front()
        {
            self.running += 1;
            self.next = now + ATTEMPT_DELAY;
            return Turn::Start(address);
        }
        match (self.left.is_empty(), self.running) {
            (true, 0) => Turn::Lost,
            (true, _) => Turn::Wait(None),
            (false, _) => Turn::Wait(Some(self.next)),
        }
    }

    /// An attempt has failed: the next one starts at once.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::new([192, 0, 2, 1].into(), port)
    }

    #[test]
    fn a_silent_address_holds_the_next_one_up_for_a_quarter_second() {
        let now = Instant::now();
        let mut race = Race::new(vec![address(1), address(2)], now);
        assert_eq!(race.turn(now), Turn::Start(address(1)));
        let (before, next) = (now + Duration::from_millis(249), now + Duration::from_millis(250));
        assert_eq!(race.turn(before), Turn::Wait(Some(next)));
        assert_eq!(race.turn(next), Turn::Start(address(2)));
        assert_eq!(race.turn(next), Turn::Wait(None));
    }

    #[test]
    fn a_refusing_address_holds_nobody_up() {
        let now = Instant::now();
        let mut race = Race::new(vec![address(1), address(2)], now);
        assert_eq!(race.turn(now), Turn::Start(address(1)));
        race.failed(now);
        assert_eq!(race.turn(now), Turn::Start(address(2)));
        race.failed(now);
        assert_eq!(race.turn(now), Turn::Lost);
    }

    proptest! {
        #[test]
        fn every_address_is_tried_once_in_order_whatever_fails_when(
            count in 0_u16..20,
            steps in prop::collection::vec((0_u64..400, any::<bool>()), 0..200),
        ) {
            let mut now = Instant::now();
            let all: Vec<_> = (0..count).map(address).collect();
            let mut race = Race::new(all.clone(), now);
            let mut started = Vec::new();
            let mut running = 0_usize;
            for (milliseconds, fails) in steps {
                now += Duration::from_millis(milliseconds);
                if fails && running > 0 {
                    race.failed(now);
                    running -= 1;
                }
                while let Turn::Start(one) = race.turn(now) {
                    started.push(one);
                    running += 1;
                }
            }
            prop_assert_eq!(&started[..], &all[..started.len()]);
        }
    }
}
