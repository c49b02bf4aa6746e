//! What a service has been sent and has not collected.

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
    /// What one message occupies.
    each: usize,
    /// When to look whether all that was sent until then is collected.
    mark: Option<(Instant, u64)>,
}

impl Inbox {
    /// Takes note of a message that was sent; what the queue occupied before and after it.
    pub(crate) fn sent(&mut self, before: usize, after: usize, now: Instant) {
        self.sent += 1;
        self.each = self.each.max(after.saturating_sub(before));
        self.mark = self.mark.or(Some((now + STUCK_AFTER, self.sent)));
    }

    /// How many messages a queue of that size holds.
    pub(crate) fn uncollected(&self, occupied: usize) -> usize {
        if self.each == 0 { usize::from(occupied > 0) } else { occupied.div_ceil(self.each) }
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
        let waiting = u64::try_from(self.uncollected(occupied)).unwrap_or(u64::MAX);
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

    #[test]
    fn messages_are_counted_by_what_they_occupy() {
        let now = Instant::now();
        let mut inbox = Inbox::default();
        assert_eq!(inbox.uncollected(0), 0);
        inbox.sent(0, 768, now);
        assert_eq!((inbox.uncollected(768), inbox.uncollected(1)), (1, 1));
        // Somebody collected meanwhile.
        inbox.sent(768, 768, now);
        assert_eq!(inbox.uncollected(2 * 768), 2);
        assert_eq!(inbox.uncollected(0), 0);
    }

    #[test]
    fn only_what_is_never_collected_is_stuck() {
        let start = Instant::now();
        let later = start + STUCK_AFTER;
        let mut inbox = Inbox::default();
        inbox.sent(0, 768, start);
        assert_eq!(inbox.deadline(), Some(later));
        assert!(!inbox.is_stuck(768, start + STUCK_AFTER.saturating_sub(Duration::from_millis(1))));
        assert!(inbox.is_stuck(768, later));

        // The first was collected, another one has come since: a new span begins.
        inbox.sent(0, 768, later);
        assert!(!inbox.is_stuck(768, later));
        assert_eq!(inbox.deadline(), Some(later + STUCK_AFTER));
        assert!(!inbox.is_stuck(0, later + STUCK_AFTER));
        assert_eq!(inbox.deadline(), None);
    }
}
