//! Processes, known by a descriptor that can mean no other.

use std::io;
use std::os::fd::BorrowedFd;

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
