//! Sockets that a service manager opened for us: `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`.

use std::env;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The first inherited descriptor, as `sd_listen_fds(3)` has it.
const FIRST: RawFd = 3;

/// Descriptors that are taken at most.
const MOST: usize = 2048;

/// One inherited descriptor.
#[derive(Debug)]
pub struct Inherited {
    /// The name that the service manager gave it; empty if none.
    pub name: String,
    /// Close-on-exec, ours.
    pub descriptor: OwnedFd,
}

/// Takes over what was inherited. The second call answers nothing, for the descriptors have an
/// owner then. A process with raised rights inherits nothing.
///
/// Call it before anything else opens descriptors: the environment's word is all there is.
#[must_use]
pub fn take() -> Vec<Inherited> {
    if TAKEN.swap(true, Ordering::SeqCst) || crate::secure::raised_rights() {
        return Vec::new();
    }
    take_of(std::process::id())
}

/// As [`take`], what was meant for the parent, which has left it to this process.
#[must_use]
pub fn take_of_parent() -> Vec<Inherited> {
    if TAKEN.swap(true, Ordering::SeqCst) || crate::secure::raised_rights() {
        return Vec::new();
    }
    take_of(std::os::unix::process::parent_id())
}

/// Takes over what was inherited under one name, the first if there are several; the others wait
/// for whoever asks for them. After [`take`] there is nothing left, nor the other way round.
#[must_use]
pub fn take_named(name: &str) -> Option<OwnedFd> {
    static LEFT: Mutex<Vec<Inherited>> = Mutex::new(Vec::new());
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.extend(take());
    let place = left.iter().position(|one| one.name == name)?;
    Some(left.remove(place).descriptor)
}

/// Whether it was taken over.
static TAKEN: AtomicBool = AtomicBool::new(false);

fn take_of(pid: u32) -> Vec<Inherited> {
    let read = |name| env::var(name).unwrap_or_default();
    let names = names(&read("LISTEN_PID"), &read("LISTEN_FDS"), &read("LISTEN_FDNAMES"), pid);
    (FIRST..).zip(names).filter_map(|(number, name)| own(number, name)).collect()
}

fn own(number: RawFd, name: String) -> Option<Inherited> {
    let descriptor = adopt(number)?;
    Some(Inherited { name, descriptor })
}

/// Owns the inherited descriptor `number`, and makes it close-on-exec; `None` if nothing is open
/// there.
///
/// The caller promises that the number was given to this process by whoever started it, and that
/// it is adopted once.
#[must_use]
pub fn adopt(number: RawFd) -> Option<OwnedFd> {
    if number < FIRST {
        return None;
    }
    // SAFETY: the borrow lasts for the next call alone, which only asks whether it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    crate::socket::set_close_on_exec(borrowed.as_fd(), true).ok()?;
    // SAFETY: it is open, and by the caller's promise nobody else in this process owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy, close-on-exec, of the descriptor that this process inherited under `number`; that one
/// stays as it is.
///
/// # Errors
///
/// The kernel's: `EBADF` if nothing is open there.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(nix::Error::EBADF.into());
    }
    // SAFETY: the borrow lasts for the next call alone, which asks the kernel for a copy.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}

/// The names of the inherited descriptors, in their order.
fn names(pid: &str, count: &str, names: &str, own_pid: u32) -> Vec<String> {
    if pid.parse() != Ok(own_pid) {
        return Vec::new();
    }
    let count = count.parse().unwrap_or(0_usize).min(MOST);
    let mut names = names.split(':').map(str::to_owned);
    (0..count).map(|_| names.next().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_meant_for_another_process_are_not_ours() {
        assert_eq!(names("12", "2", "a:b", 12), ["a", "b"]);
        assert!(names("12", "2", "a:b", 13).is_empty());
        assert!(names("", "2", "a:b", 13).is_empty());
    }

    #[test]
    fn missing_names_are_empty_and_garbage_counts_as_none() {
        assert_eq!(names("12", "3", "a", 12), ["a", "", ""]);
        assert!(names("12", "many", "a", 12).is_empty());
        assert!(names("12", "-1", "a", 12).is_empty());
    }

    #[test]
    fn as_many_sockets_are_taken_as_the_limit_and_the_others_are_not() {
        let taken = |count: &str| names("12", count, "first:second", 12);
        assert_eq!(taken("2048").len(), 2_048);
        for more in ["2049", "99999999"] {
            assert_eq!(taken(more), taken("2048"), "{more}");
        }
        assert_eq!(taken("2049")[1], "second");
    }

    #[test]
    fn standard_descriptors_and_closed_numbers_are_never_adopted() {
        assert!(adopt(2).is_none());
        assert!(adopt(-1).is_none());
        assert!(adopt(19_999).is_none());
    }
}
