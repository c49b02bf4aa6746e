//! Unix sockets whose name is not in the file system.
//!
//! Anybody of the same network namespace may take such a name, and anybody may connect to it:
//! it says nothing about who is there. It is gone when the socket is closed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{self as sock, AddressFamily, SockFlag, UnixAddr};

use crate::socket::{SocketKind, connect_until_done, listen, set_send_timeout};

/// Binds and listens under `name`: a non-blocking, close-on-exec listener.
///
/// # Errors
///
/// The kernel's; `EADDRINUSE` if the name is taken, `ENAMETOOLONG` above 107 bytes.
pub fn bind(name: &[u8], kind: SocketKind, backlog: i32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = sock::socket(AddressFamily::Unix, kind.native(), flags, None)?;
    sock::bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name)?)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// Connects to `name`: a blocking, close-on-exec descriptor. Waits while the listener's queue is
/// full, until `deadline`.
///
/// # Errors
///
/// The kernel's; `ECONNREFUSED` if nobody has the name, [`io::ErrorKind::TimedOut`] at the
/// deadline.
pub fn connect(name: &[u8], kind: SocketKind, deadline: Instant) -> io::Result<OwnedFd> {
    let socket = sock::socket(AddressFamily::Unix, kind.native(), SockFlag::SOCK_CLOEXEC, None)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    set_send_timeout(socket.as_fd(), Some(left))?;
    connect_until_done(&socket, &UnixAddr::new_abstract(name)?)?;
    set_send_timeout(socket.as_fd(), None)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::accept;

    #[test]
    fn a_name_is_bound_once_reached_and_gone_with_its_socket() {
        let name = format!("ipcd-test-{}", std::process::id()).into_bytes();
        let soon = || Instant::now() + Duration::from_secs(5);
        let listener = bind(&name, SocketKind::SeqPacket, 4).unwrap();
        let taken = bind(&name, SocketKind::SeqPacket, 4).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let _client = connect(&name, SocketKind::SeqPacket, soon()).unwrap();
        assert!(accept(listener.as_fd()).unwrap().is_some());
        drop(listener);
        let gone = connect(&name, SocketKind::SeqPacket, soon()).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_name_has_107_bytes_at_most() {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut name = format!("ipcd-{}-", std::process::id()).into_bytes();
        name.resize(107, b'x');
        bind(&name, SocketKind::Stream, 4).unwrap();
        name.push(b'x');
        for error in [
            bind(&name, SocketKind::Stream, 4).unwrap_err(),
            connect(&name, SocketKind::Stream, deadline).unwrap_err(),
        ] {
            assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
        }
    }
}
