//! What lies unread in a Unix stream socket.
//!
//! The kernel tells the other end that a connection broke, instead of that it ended, exactly if the
//! socket is closed, by whatever, while something unread lies in it. So who leaves one byte
//! unread until the proper end has even its own crash told as one. These are the calls for that.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Has peeking begin behind the first `bytes` of what lies unread, from where it goes on with each
/// peek; reading moves it back by what it takes (`SO_PEEK_OFF`).
///
/// # Errors
///
/// The kernel's; `EOPNOTSUPP` for what is no Unix socket.
pub fn set_peek_offset(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    crate::socket::set_option(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, bytes)
}

/// Bytes that lie unread.
///
/// # Errors
///
/// The kernel's; `ENOTTY` for what is no socket.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD (SIOCINQ) writes one int.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::ancillary::{Wait, peek};

    #[test]
    fn what_is_closed_with_something_unread_is_a_reset_on_the_other_side() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"!").unwrap();
        (&ours).write_all(b"x").unwrap();
        assert_eq!(unread(ours.as_fd()).unwrap(), 1);
        drop(ours);
        theirs.read_exact(&mut [0]).unwrap();
        let error = theirs.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn peeking_goes_on_behind_what_was_peeked_at() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        set_peek_offset(ours.as_fd(), 1).unwrap();
        theirs.write_all(b"!ab").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(peek(ours.as_fd(), &mut buffer, Wait::Never).unwrap(), 2);
        assert_eq!(&buffer[..2], b"ab");
        (&ours).read_exact(&mut buffer[..2]).unwrap();
        assert_eq!(unread(ours.as_fd()).unwrap(), 1);
        let error = peek(ours.as_fd(), &mut buffer, Wait::Never).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(peek(ours.as_fd(), &mut buffer, Wait::Never).unwrap(), 0);
    }
}
