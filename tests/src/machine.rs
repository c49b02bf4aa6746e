//! What a test may say about time on a machine that others use too.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Daemon, Host};

/// A clock that stands still while those that it watches could run and the machine had no
/// processor for them: what is left is the time that they took, or waited for somebody.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    kept: Duration,
}

impl Watch {
    /// Begins to measure this thread and the daemons of a host.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self { began: Instant::now(), kept: kept_waiting(host) }
    }

    /// The time since then.
    #[must_use]
    pub fn elapsed(&self, host: &Host) -> Duration {
        let kept = kept_waiting(host).saturating_sub(self.kept);
        self.began.elapsed().saturating_sub(kept)
    }
}

/// How long this thread and the daemons of a host have waited for a processor so far.
fn kept_waiting(host: &Host) -> Duration {
    let daemons = std::iter::once(&host.broker).chain(&host.others).map(Daemon::pid);
    let threads = daemons.flat_map(|pid| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path())
    });
    threads.map(|thread| of_thread(&thread)).sum::<Duration>()
        + of_thread(Path::new("/proc/thread-self"))
}

/// The same of one thread: the second of its numbers, in nanoseconds. A kernel that does not count
/// that, and a thread that has ended, have waited for nothing.
fn of_thread(place: &Path) -> Duration {
    let text = fs::read_to_string(place.join("schedstat")).unwrap_or_default();
    let kept = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(kept.unwrap_or_default())
}
