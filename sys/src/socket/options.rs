//! Options of sockets, and flags of descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket as sock;

use crate::credentials::{check, socket_length};

/// Has closing the socket tell the peer that the connection broke (a TCP reset).
///
/// # Errors
///
/// The kernel's. A Unix socket takes the option and knows no reset.
pub fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(sock::setsockopt(&socket, sock::sockopt::Linger, &linger)?)
}

/// Bounds how long a blocking receive waits; `None`: for ever.
///
/// # Errors
///
/// The kernel's.
pub fn set_receive_timeout(socket: BorrowedFd<'_>, span: Option<Duration>) -> io::Result<()> {
    set_timeout(socket, libc::SO_RCVTIMEO, span)
}

/// Bounds how long a blocking send waits; `None`: for ever.
///
/// # Errors
///
/// The kernel's.
pub fn set_send_timeout(socket: BorrowedFd<'_>, span: Option<Duration>) -> io::Result<()> {
    set_timeout(socket, libc::SO_SNDTIMEO, span)
}

/// Makes reads and writes of everybody who shares this socket wait, or not.
///
/// # Errors
///
/// The kernel's.
pub fn set_blocking(socket: BorrowedFd<'_>, blocking: bool) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let before = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    let mut flags = before;
    flags.set(OFlag::O_NONBLOCK, !blocking);
    if flags != before {
        fcntl(socket, FcntlArg::F_SETFL(flags))?;
    }
    Ok(())
}

/// Undoes what others may have set on a Unix socket that changes hands: credentials and process
/// descriptors with messages, time-outs, non-blocking.
///
/// # Errors
///
/// The kernel's.
pub fn make_plain(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_PASSCRED, 0)?;
    match set_option(socket, libc::SOL_SOCKET, libc::SO_PASSPIDFD, 0) {
        // A kernel before 6.5 has no such option, so it is not set.
        Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => return Err(error),
        _ => {}
    }
    set_receive_timeout(socket, None)?;
    set_send_timeout(socket, None)?;
    set_blocking(socket, true)
}

/// Has the descriptor closed, or kept, across `exec`.
///
/// # Errors
///
/// The kernel's.
pub fn set_close_on_exec(descriptor: BorrowedFd<'_>, close: bool) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let flags = if close { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(descriptor, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

pub(super) fn set_timeout(
    socket: BorrowedFd<'_>,
    name: libc::c_int,
    span: Option<Duration>,
) -> io::Result<()> {
    let span = span.unwrap_or_default();
    let value = libc::timeval {
        // That is 68 years, whatever the library of C has for times.
        tv_sec: i32::try_from(span.as_secs()).unwrap_or(i32::MAX).into(),
        tv_usec: span.subsec_micros().into(),
    };
    // SAFETY: the kernel reads a whole timeval.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const value).cast(),
            socket_length(size_of::<libc::timeval>()),
        )
    };
    check(answer)
}

/// Asks for room for `bytes` that the peer has not read yet; the kernel has a highest number.
///
/// # Errors
///
/// The kernel's.
pub fn set_send_room(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)
}

/// Whether reads and writes of everybody who shares this socket return at once.
///
/// # Errors
///
/// The kernel's.
pub fn is_nonblocking(socket: BorrowedFd<'_>) -> io::Result<bool> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    Ok(OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?).contains(OFlag::O_NONBLOCK))
}

pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads a whole int.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            socket_length(size_of::<libc::c_int>()),
        )
    };
    check(answer)
}

pub(crate) fn option(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = socket_length(size_of::<libc::c_int>());
    // SAFETY: the kernel writes at most a whole int to `value`.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    check(answer)?;
    Ok(value)
}
