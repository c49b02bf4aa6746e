//! Waiting for a word in shared memory to change.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Why a wait is over. Look at the word in every case: other processes may wake for no reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Woken {
    /// Somebody woke us, the word had changed before, or a signal came.
    Look,
    /// The time is over.
    TimedOut,
}

/// Waits until somebody calls [`wake`] for `word`, unless it is no longer `expected`; at most
/// `limit`. Works across processes that map the same file.
///
/// # Errors
///
/// The kernel's, which is not expected.
pub fn wait(word: &AtomicU32, expected: u32, limit: Duration) -> io::Result<Woken> {
    let limit = libc::timespec {
        // That is 68 years, whatever the library of C has for times.
        tv_sec: i32::try_from(limit.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: the word and the time outlive the call, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const limit)
    };
    if result == 0 {
        return Ok(Woken::Look);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Ok(Woken::Look),
        Some(libc::ETIMEDOUT) => Ok(Woken::TimedOut),
        _ => Err(error),
    }
}

/// Wakes one that waits for `word`, if any.
pub fn wake(word: &AtomicU32) {
    // SAFETY: the kernel takes the address as a name, and reads nothing.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::map::Map;

    #[test]
    fn a_wait_ends_when_the_word_has_changed_or_the_time_is_over() {
        let word = AtomicU32::new(7);
        let short = Duration::from_millis(2);
        assert_eq!(wait(&word, 7, short).unwrap(), Woken::TimedOut);
        assert_eq!(wait(&word, 8, Duration::MAX).unwrap(), Woken::Look);
    }

    #[test]
    fn a_wake_reaches_who_waits_through_another_mapping() {
        let file = crate::memfd::create(4096).unwrap();
        let map = Map::new(file.as_fd(), 4096).unwrap();
        let waiter = std::thread::spawn(move || {
            let map = Map::new(file.as_fd(), 4096).unwrap();
            let word = map.word(64).unwrap();
            while word.load(Ordering::Acquire) == 0 {
                wait(word, 0, Duration::from_secs(10)).unwrap();
            }
        });
        let word = map.word(64).unwrap();
        word.store(1, Ordering::Release);
        wake(word);
        waiter.join().unwrap();
    }
}
