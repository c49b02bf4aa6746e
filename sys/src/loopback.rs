//! The loopback device of a network namespace, which is down in a new one.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::credentials::check;

/// Has `127.0.0.1` and `::1` of this thread's network namespace answer. Where they do already,
/// nothing happens, and no right is needed.
///
/// # Errors
///
/// The kernel's; `EPERM` without the right to configure this network.
pub fn raise() -> io::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an ifreq is numbers and bytes; all zero is one.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: the kernel reads and fills one ifreq.
    let answer = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) };
    check(answer)?;
    // SAFETY: the call has filled the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = UP | flags;
    if flags == up {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = up;
    // SAFETY: the kernel reads one ifreq.
    let answer =
        unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    check(answer)
}

/// `IFF_UP` as the flags have it.
const UP: libc::c_short = 1;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn loopback_answers_in_a_network_that_has_just_been_made() {
        let inside = || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                eprintln!("skipped: this user may make no network namespace");
                return;
            }
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            assert!(TcpStream::connect(address).is_err(), "it is down at first");
            raise().unwrap();
            TcpStream::connect(address).unwrap();
            raise().unwrap();
        };
        // Only this thread enters, and it ends there.
        std::thread::spawn(inside).join().unwrap();
    }
}
