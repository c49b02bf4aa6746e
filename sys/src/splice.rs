//! Bytes from one socket to another without a copy to user space.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice as native};

/// A non-blocking, close-on-exec pipe of about `capacity` bytes: its reading and writing end.
///
/// # Errors
///
/// The kernel's: no descriptors, or too many pages in this user's pipes (the capacity is then
/// what the kernel grants).
pub fn pipe(capacity: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let wanted = i32::try_from(capacity).unwrap_or(i32::MAX);
    match fcntl(&writer, FcntlArg::F_SETPIPE_SZ(wanted)) {
        // Past this user's share of pages the kernel refuses; a smaller pipe is only slower.
        Ok(_) | Err(nix::Error::EPERM | nix::Error::EBUSY) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((reader, writer))
}

/// Moves at most `most` bytes; one of the two is a pipe. Zero is the end of `from`.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] if either side is not ready.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        match native(from, None, to, None, most, flags) {
            Err(nix::Error::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::socket::{SocketKind, unix_pair};

    #[test]
    fn bytes_go_through_a_pipe_and_the_end_is_zero() {
        let (left, right) = unix_pair(SocketKind::Stream).unwrap();
        let (reader, writer) = pipe(65536).unwrap();
        let (into, out) = unix_pair(SocketKind::Stream).unwrap();
        crate::socket::set_blocking(right.as_fd(), false).unwrap();
        let empty = splice(right.as_fd(), writer.as_fd(), 10).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        nix::unistd::write(&left, b"hello").unwrap();
        drop(left);
        assert_eq!(splice(right.as_fd(), writer.as_fd(), 100).unwrap(), 5);
        assert_eq!(splice(reader.as_fd(), into.as_fd(), 100).unwrap(), 5);
        assert_eq!(splice(right.as_fd(), writer.as_fd(), 100).unwrap(), 0);
        let mut buffer = [0; 8];
        assert_eq!(nix::unistd::read(&out, &mut buffer).unwrap(), 5);
    }
}
