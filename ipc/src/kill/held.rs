//! Ending a socket that some process holds, known by the kernel's number for it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{Shutdown, shutdown};

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// The kernel has destroyed it.
    ByKernel,
    /// It was shut down in both directions.
    Shut,
    /// It was over before.
    Before,
}

/// Ends the socket with that number: by the kernel if it is TCP of this network namespace, else by
/// shutting it down through a copy of the descriptor of a process that has it, `pid` before all
/// others.
///
/// # Errors
///
/// The kernel's, if it is neither found nor known to be over.
pub(crate) fn end(cookie: u64, pid: Option<u32>) -> io::Result<Ended> {
    let by_kernel = sys::diag::end_tcp(cookie);
    if let Ok(true) = by_kernel {
        return Ok(Ended::ByKernel);
    }
    for process in pid.into_iter().chain(processes()?) {
        if let Some(copy) = copy_of(process, cookie) {
            use std::os::fd::AsRawFd;
            return match shutdown(copy.as_raw_fd(), Shutdown::Both) {
                // Not connected any more.
                Err(nix::Error::ENOTCONN) => Ok(Ended::Before),
                Err(error) => Err(error.into()),
                Ok(()) => Ok(Ended::Shut),
            };
        }
    }
    by_kernel.map(|_| Ended::Before)
}

fn processes() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// A copy of the socket with that number, if the process has it. A process that ends meanwhile has
/// nothing.
fn copy_of(pid: u32, cookie: u64) -> Option<OwnedFd> {
    let process = sys::process::open(pid).ok()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let sockets = descriptors.filter(|entry| {
        let is_socket = |target: &std::path::Path| target.to_string_lossy().starts_with("socket:");
        fs::read_link(entry.path()).is_ok_and(|target| is_socket(&target))
    });
    let numbers = sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|fd| sys::process::copy_descriptor(process.as_fd(), fd).ok());
    let mut copies = copies.filter(|copy| {
        // Looked at once more in the copy: what the process has under a number can change.
        sys::diag::cookie(copy.as_fd()).is_ok_and(|number| number == cookie)
    });
    copies.next()
}
