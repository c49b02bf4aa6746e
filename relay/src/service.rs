//! The way to a service of this host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The connection to a service: what was given, or one through the door that was given. It never
/// waits: a service whose queue is full is busy.
///
/// # Errors
///
/// The kernel's; `WouldBlock` if the queue is full.
pub fn connect(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if !sys::door::is_path(descriptor.as_fd())? {
        return Ok(descriptor);
    }
    sys::door::connect_now(descriptor.as_fd())
}
