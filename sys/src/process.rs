//! Processes, known by a descriptor that can mean no other.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether the process of a pidfd has not ended. It does not wait.
///
/// # Errors
///
/// The kernel's.
pub fn is_alive(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut ended = [PollFd::new(pidfd, PollFlags::POLLIN)];
    loop {
        match poll(&mut ended, PollTimeout::ZERO) {
            Ok(count) => return Ok(count == 0),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A descriptor that means the process with that number, and never another one.
///
/// # Errors
///
/// The kernel's; `ESRCH` if there is none.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the call takes numbers alone.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    own(answer)
}

/// A copy of the descriptor that the process of a pidfd has under that number. It takes the right
/// to trace the process. The copy is close-on-exec.
///
/// # Errors
///
/// The kernel's; `EBADF` if the process has none under that number, `EPERM` without the right.
pub fn copy_descriptor(pidfd: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers alone.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    own(answer)
}

fn own(answer: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(answer) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_copy_is_of_the_very_descriptor_that_the_process_has() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let number = crate::diag::cookie(theirs.as_fd()).unwrap();
        let mut child = Command::new("cat");
        child.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let mut child = child.spawn().unwrap();
        let pidfd = open(child.id()).unwrap();
        assert!(is_alive(pidfd.as_fd()).unwrap());
        let copy = copy_descriptor(pidfd.as_fd(), 0).unwrap();
        assert_eq!(crate::diag::cookie(copy.as_fd()).unwrap(), number);
        let error = copy_descriptor(pidfd.as_fd(), 99).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        drop((ours, copy));
        child.wait().unwrap();
        assert!(!is_alive(pidfd.as_fd()).unwrap());
    }
}
