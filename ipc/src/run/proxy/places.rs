//! How many connections there are, and how many of them the program still writes to.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections at once; further clients wait.
const CONNECTIONS_MOST: usize = 128;

/// How long to rest when the system has no descriptor left.
const REST: Duration = Duration::from_millis(100);

/// Places for connections, all of which may be taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    senders: usize,
}

/// A place for a connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

/// A client that may still write. Dropping it says that it has written everything.
#[derive(Debug)]
pub(super) struct Sender(Arc<Places>);

impl Places {
    /// Waits for a place, and takes it.
    pub(super) fn take(places: &Arc<Self>) -> Place {
        let is_full = |taken: &mut Taken| taken.all >= CONNECTIONS_MOST;
        let taken = places.changed.wait_while(places.taken(), is_full);
        taken.unwrap_or_else(PoisonError::into_inner).all += 1;
        Place(Arc::clone(places))
    }

    /// Waits until no client writes any more, but no longer than until `deadline`.
    pub(super) fn wait_for_senders(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let writes = |taken: &mut Taken| taken.senders > 0;
        drop(self.changed.wait_timeout_while(self.taken(), left, writes));
    }

    /// Waits a moment, or until a place is given back.
    pub(super) fn rest(&self) {
        drop(self.changed.wait_timeout(self.taken(), REST));
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Numbers are whole, whoever panicked.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Taken)) {
        change(&mut self.taken());
        self.changed.notify_all();
    }
}

impl Place {
    /// The client that has it.
    pub(super) fn sender(&self) -> Sender {
        self.0.change(|taken| taken.senders += 1);
        Sender(Arc::clone(&self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(|taken| taken.all -= 1);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.change(|taken| taken.senders -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_limit_and_one_that_is_given_back_is_taken() {
        let places = Arc::new(Places::default());
        let mut taken: Vec<_> = (0..CONNECTIONS_MOST).map(|_| Places::take(&places)).collect();
        let own = Arc::clone(&places);
        let next = std::thread::spawn(move || drop(Places::take(&own)));
        assert!(!next.is_finished());
        assert_eq!(places.taken().all, CONNECTIONS_MOST);
        taken.pop();
        next.join().unwrap();
        assert_eq!(places.taken().all, CONNECTIONS_MOST - 1);
    }

    #[test]
    fn the_end_is_waited_for_only_while_somebody_writes() {
        let places = Arc::new(Places::default());
        let place = Places::take(&places);
        let far = Instant::now() + Duration::from_secs(60);
        places.wait_for_senders(far);
        let sender = place.sender();
        places.wait_for_senders(Instant::now() + Duration::from_millis(1));
        let end = std::thread::spawn(move || drop(sender));
        places.wait_for_senders(far);
        end.join().unwrap();
        assert!(Instant::now() < far);
    }
}
