//! One position, and whether somebody waits for it to change: no wake-up is ever lost.
//!
//! The one who moves the position stores it, then looks whether the other waits; the one who waits
//! says so, then looks at the position. With a full fence between the two on both sides, at least
//! one of them sees what the other did. In between the kernel decides: it puts nobody to sleep
//! whose position is no longer the one that he saw. Only the waiter takes his flag back: were it
//! the waker, a waiter that comes again at once could lose the flag of his second wait.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

/// Nobody waits.
const AWAKE: u32 = 0;
/// Somebody waits in a call.
const SLEEPS: u32 = 1;
/// Somebody waits in a poller.
const WATCHES: u32 = 2;

/// A word of memory that can be waited for: the kernel's, or the one of the model.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> u32;
    fn store(&self, value: u32, order: Ordering);
    /// Orders everything before before everything after, for all threads.
    fn full_fence();
    /// Waits until somebody wakes who waits for this word, unless it is no longer `expected`.
    fn wait(&self, expected: u32, limit: Duration) -> std::io::Result<()>;
    /// Wakes who waits for this word.
    fn wake(&self);
}

impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }

    fn full_fence() {
        fence(Ordering::SeqCst);
    }

    fn wait(&self, expected: u32, limit: Duration) -> std::io::Result<()> {
        sys::futex::wait(self, expected, limit).map(drop)
    }

    fn wake(&self) {
        sys::futex::wake(self);
    }
}

/// A position that one end moves, and the word in which the other says that it waits for it.
#[derive(Debug)]
pub(super) struct Signal<'a, W> {
    pub(super) position: &'a W,
    pub(super) waits: &'a W,
}

impl<W: Word> Signal<'_, W> {
    /// The position, with all that was written before it was published.
    pub(super) fn load(&self) -> u32 {
        self.position.load(Ordering::Acquire)
    }

    /// Publishes a position, and wakes who waits for it in a call. True: the other waits in a
    /// poller and has to be told there.
    #[must_use]
    pub(super) fn publish(&self, position: u32) -> bool {
        self.position.store(position, Ordering::Release);
        W::full_fence();
        match self.waits.load(Ordering::Relaxed) {
            AWAKE => false,
            WATCHES => true,
            _ => {
                self.position.wake();
                false
            }
        }
    }

    /// Waits until the position is no longer `seen`, at most `limit`, or for no reason.
    pub(super) fn wait(&self, seen: u32, limit: Duration) -> std::io::Result<()> {
        self.waits.store(SLEEPS, Ordering::Relaxed);
        W::full_fence();
        let result = if self.load() == seen { self.position.wait(seen, limit) } else { Ok(()) };
        self.waits.store(AWAKE, Ordering::Relaxed);
        result
    }

    /// Asks to be told in a poller when the position is no longer `seen`. False: it is not, now.
    pub(super) fn watch(&self, seen: u32) -> bool {
        self.waits.store(WATCHES, Ordering::Relaxed);
        W::full_fence();
        let unchanged = self.load() == seen;
        if !unchanged {
            self.unwatch();
        }
        unchanged
    }

    /// Takes that back.
    pub(super) fn unwatch(&self) {
        self.waits.store(AWAKE, Ordering::Relaxed);
    }
}
