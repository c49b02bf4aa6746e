//! The wake protocol under every interleaving that memory models allow (loom).
//!
//! `cargo xtask loom` runs it. A wake-up that is lost shows as a deadlock: both threads wait.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loom::sync::atomic::{AtomicU32, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::signal::{Signal, Word};

/// A word with a kernel behind it that wakes and puts to sleep under one lock, as a futex does.
#[derive(Debug)]
struct ModelWord {
    value: AtomicU32,
    sleepers: Mutex<()>,
    bell: Condvar,
}

impl ModelWord {
    fn new() -> Self {
        Self { value: AtomicU32::new(0), sleepers: Mutex::new(()), bell: Condvar::new() }
    }
}

impl Word for ModelWord {
    fn load(&self, order: Ordering) -> u32 {
        self.value.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.value.store(value, order);
    }

    fn full_fence() {
        fence(Ordering::SeqCst);
    }

    fn wait(&self, expected: u32, _limit: Duration) -> io::Result<()> {
        let sleepers = self.sleepers.lock().unwrap();
        if self.value.load(Ordering::Relaxed) == expected {
            drop(self.bell.wait(sleepers).unwrap());
        }
        Ok(())
    }

    fn wake(&self) {
        let _sleepers = self.sleepers.lock().unwrap();
        self.bell.notify_one();
    }
}

/// A ring with room for one message.
struct Ring {
    written: ModelWord,
    reader_waits: ModelWord,
    read: ModelWord,
    writer_waits: ModelWord,
    message: AtomicU32,
}

impl Ring {
    fn new() -> Self {
        Self {
            written: ModelWord::new(),
            reader_waits: ModelWord::new(),
            read: ModelWord::new(),
            writer_waits: ModelWord::new(),
            message: AtomicU32::new(0),
        }
    }

    fn written(&self) -> Signal<'_, ModelWord> {
        Signal { position: &self.written, waits: &self.reader_waits }
    }

    fn read(&self) -> Signal<'_, ModelWord> {
        Signal { position: &self.read, waits: &self.writer_waits }
    }

    fn send(&self, number: u32) {
        // The room for message n is there when n - 1 is read.
        while self.read().load() != number - 1 {
            let seen = self.read().load();
            if seen != number - 1 {
                self.read().wait(seen, Duration::MAX).unwrap();
            }
        }
        self.message.store(number * 10, Ordering::Relaxed);
        assert!(!self.written().publish(number));
    }

    fn receive(&self, number: u32) -> u32 {
        while self.written().load() != number {
            let seen = self.written().load();
            if seen != number {
                self.written().wait(seen, Duration::MAX).unwrap();
            }
        }
        let message = self.message.load(Ordering::Relaxed);
        assert!(!self.read().publish(number));
        message
    }
}

/// Every interleaving with at most three switches that a thread does not ask for: seconds, where
/// all of them take minutes. Leaving out either fence fails with one.
fn explore(scene: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scene);
}

#[test]
fn no_wake_up_is_lost_and_no_message_is_read_before_it_is_written() {
    explore(|| {
        let ring = Arc::new(Ring::new());
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || (1..=2).for_each(|number| writer.send(number)));
        for number in 1..=2 {
            assert_eq!(ring.receive(number), number * 10);
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_watcher_is_told_or_has_seen_it() {
    explore(|| {
        let ring = Arc::new(Ring::new());
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || writer.written().publish(1));
        let watches = ring.written().watch(0);
        let told = thread.join().unwrap();
        // Told and seen may both be; neither would be a watcher that nobody wakes.
        assert!(told || !watches);
    });
}
