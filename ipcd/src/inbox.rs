//! What a service has been sent and has not collected.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a message may lie there before the service counts as stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Counts messages that lie in a socket's queue, from the memory that the kernel charges for it.
///
/// The kernel tells no number of messages, but what their queue occupies (`SIOCOUTQ`). Each of
/// them occupies about the same; the most that one has added to the queue is what one takes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    sent: u64,
    /// How many of them were collected when that was looked at last.
    collected: Cell<u64>,
    /// What one message occupies, and the bytes of the longest one that was measured.
    each: usize,
    longest: usize,
    /// When to look whether all that was sent until then is collected.
    mark: Option<(Instant, u64)>,
}

impl Inbox {
    /// Whether [`Inbox::measured`] is to be told of a message of that many bytes: none that is as
    /// long was measured yet.
    pub(crate) fn wants_measure(&self, bytes: usize) -> bool {
        bytes > self.longest || self.each == 0
    }

    /// Takes note of what the queue occupied before and after a message of that many bytes.
    pub(crate) fn measured(&mut self, bytes: usize, before: usize, after: usize) {
        self.longest = self.longest.max(bytes);
        self.each = self.each.max(after.saturating_sub(before));
    }

    /// Takes note of a message that was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent += 1;
        self.mark = self.mark.or(Some((now + STUCK_AFTER, self.sent)));
    }

    /// Whether fewer than so many messages lie there. What the queue occupies is asked for only if
    /// more than that were sent since it was asked for last.
    pub(crate) fn has_fewer_than(&self, most: usize, occupied: impl FnOnce() -> usize) -> bool {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        if self.sent - self.collected.get() < most {
            return true;
        }
        let waiting = self.uncollected(occupied());
        self.collected.set(self.sent.saturating_sub(waiting));
        waiting < most
    }

    /// How many messages a queue of that size holds.
    fn uncollected(&self, occupied: usize) -> u64 {
        let count =
            if self.each == 0 { usize::from(occupied > 0) } else { occupied.div_ceil(self.each) };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// When [`Inbox::is_stuck`] has to be asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.mark.map(|(when, _)| when)
    }

    /// Whether something that was there [`STUCK_AFTER`] ago still is.
    pub(crate) fn is_stuck(&mut self, occupied: usize, now: Instant) -> bool {
        let Some((when, until)) = self.mark else { return false };
        if now < when {
            return false;
        }
        let waiting = self.uncollected(occupied);
        if self.sent.saturating_sub(waiting) < until {
            return true;
        }
        self.mark = (waiting > 0).then_some((now + STUCK_AFTER, self.sent));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(inbox: &mut Inbox, before: usize, after: usize, now: Instant) {
        inbox.measured(90, before, after);
        inbox.sent(now);
    }

    #[test]
    fn only_a_longer_message_is_measured_again() {
        let mut inbox = Inbox::default();
        assert!(inbox.wants_measure(90));
        // Somebody has collected so fast that nothing was learnt.
        inbox.measured(90, 768, 0);
        assert!(inbox.wants_measure(80));
        inbox.measured(80, 0, 768);
        assert!(!inbox.wants_measure(90) && inbox.wants_measure(91));
    }

    #[test]
    fn messages_are_counted_by_what_they_occupy() {
        let now = Instant::now();
        let mut inbox = Inbox::default();
        assert_eq!(inbox.uncollected(0), 0);
        send(&mut inbox, 0, 768, now);
        assert_eq!((inbox.uncollected(768), inbox.uncollected(1)), (1, 1));
        // Somebody collected meanwhile.
        send(&mut inbox, 768, 768, now);
        assert_eq!(inbox.uncollected(2 * 768), 2);
        assert_eq!(inbox.uncollected(0), 0);
    }

    #[test]
    fn the_queue_is_looked_at_only_when_it_may_be_full() {
        let now = Instant::now();
        let mut inbox = Inbox::default();
        let never = || -> usize { panic!("looked at") };
        for _ in 0..3 {
            assert!(inbox.has_fewer_than(3, never));
            send(&mut inbox, 0, 768, now);
        }
        // One was collected, so another one may come without a look, and a further one with one.
        assert!(inbox.has_fewer_than(3, || 2 * 768));
        assert!(inbox.has_fewer_than(3, never));
        send(&mut inbox, 768, 768, now);
        assert!(!inbox.has_fewer_than(3, || 3 * 768) && inbox.has_fewer_than(3, || 0));
        assert!(!inbox.has_fewer_than(0, || 0));
    }

    #[test]
    fn only_what_is_never_collected_is_stuck() {
        let start = Instant::now();
        let later = start + STUCK_AFTER;
        let mut inbox = Inbox::default();
        send(&mut inbox, 0, 768, start);
        assert_eq!(inbox.deadline(), Some(later));
        assert!(!inbox.is_stuck(768, start + STUCK_AFTER.saturating_sub(Duration::from_millis(1))));
        assert!(inbox.is_stuck(768, later));

        // The first was collected, another one has come since: a new span begins.
        send(&mut inbox, 0, 768, later);
        assert!(!inbox.is_stuck(768, later));
        assert_eq!(inbox.deadline(), Some(later + STUCK_AFTER));
        assert!(!inbox.is_stuck(0, later + STUCK_AFTER));
        assert_eq!(inbox.deadline(), None);
    }
}
