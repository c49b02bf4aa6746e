//! Facts, options and beginnings of sockets.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{self as sock, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

use crate::credentials::check;

mod options;

pub(crate) use options::option;
pub(crate) use options::set_option;
use options::set_timeout;
pub use options::{
    is_nonblocking, make_plain, reset_on_close, set_blocking, set_close_on_exec,
    set_receive_timeout, set_send_room, set_send_timeout,
};

/// How a Unix socket carries bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SocketKind {
    /// A stream of bytes.
    Stream,
    /// Whole messages in order.
    SeqPacket,
    /// Single messages.
    Datagram,
}

impl SocketKind {
    pub(crate) fn native(self) -> SockType {
        match self {
            Self::Stream => SockType::Stream,
            Self::SeqPacket => SockType::SeqPacket,
            Self::Datagram => SockType::Datagram,
        }
    }
}

/// A connected pair, both close-on-exec.
///
/// # Errors
///
/// The kernel's: no descriptors or memory left.
pub fn unix_pair(kind: SocketKind) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(sock::socketpair(AddressFamily::Unix, kind.native(), None, SockFlag::SOCK_CLOEXEC)?)
}

/// Bytes of a socket's path at most, as `unix(7)` has it: 108 with the zero behind them.
pub const PATH_BYTES_MOST: usize = 107;

/// A path that no socket can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PathTooLong {
    /// Its bytes.
    pub bytes: usize,
}

impl fmt::Display for PathTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        write!(f, "the path of a socket has {PATH_BYTES_MOST} bytes at most, this one has {bytes}")
    }
}

impl std::error::Error for PathTooLong {}

/// `path` as the kernel wants it.
fn address(path: &Path) -> io::Result<UnixAddr> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, PathTooLong { bytes }));
    }
    Ok(UnixAddr::new(path)?)
}

/// Connects to the Unix socket at `path`: a blocking, close-on-exec descriptor. Waits while the
/// listener's queue is full, until `deadline` if there is one.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::TimedOut`] at the deadline.
pub fn connect_unix(
    path: &Path,
    kind: SocketKind,
    deadline: Option<Instant>,
) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = sock::socket(AddressFamily::Unix, kind.native(), flags, None)?;
    let address = address(path)?;
    // Nearly always there is room in the queue, and nothing to bound.
    let tried = connect_until_done(&socket, &address);
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty()))?;
    match tried {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            wait_and_connect(&socket, &address, deadline)?;
        }
        tried => tried?,
    }
    Ok(socket)
}

fn wait_and_connect(
    socket: &OwnedFd,
    address: &UnixAddr,
    deadline: Option<Instant>,
) -> io::Result<()> {
    if let Some(deadline) = deadline {
        // The kernel bounds the wait for room in the queue by the send time-out.
        let left = deadline.saturating_duration_since(Instant::now());
        set_timeout(socket.as_fd(), libc::SO_SNDTIMEO, Some(left.max(Duration::from_millis(1))))?;
    }
    connect_until_done(socket, address)?;
    if deadline.is_some() {
        set_timeout(socket.as_fd(), libc::SO_SNDTIMEO, None)?;
    }
    Ok(())
}

pub(crate) fn connect_until_done(socket: &OwnedFd, address: &UnixAddr) -> io::Result<()> {
    loop {
        match sock::connect(socket.as_raw_fd(), address) {
            Ok(()) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts to connect to the Unix socket at `path` without waiting: the socket is non-blocking.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] if the listener's queue is full.
pub fn connect_unix_now(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = sock::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect_until_done(&socket, &address(path)?).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })?;
    Ok(socket)
}

/// Binds and listens at `path`: a non-blocking, close-on-exec listener whose file has exactly
/// `mode` from its first moment.
///
/// # Errors
///
/// The kernel's; `EADDRINUSE` if something has this name already.
pub fn bind_unix(path: &Path, mode: u32, kind: SocketKind, backlog: i32) -> io::Result<OwnedFd> {
    bind_prepared(path, mode, kind, backlog, |_| Ok(()))
}

/// As [`bind_unix`], for a socket on which every message is to carry its sender: already those of
/// the first client, which may have connected and written before this returns.
///
/// # Errors
///
/// As [`bind_unix`].
pub fn bind_unix_noting_senders(path: &Path, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    bind_prepared(path, mode, SocketKind::Stream, backlog, |socket| {
        crate::credentials::pass_credentials(socket, true)
    })
}

fn bind_prepared(
    path: &Path,
    mode: u32,
    kind: SocketKind,
    backlog: i32,
    prepare: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = sock::socket(AddressFamily::Unix, kind.native(), flags, None)?;
    prepare(socket.as_fd())?;
    // The mode of the socket before bind, less the umask, becomes the mode of the file: it is
    // never wider than asked for. What the umask took away is given back afterwards.
    let before = nix::sys::stat::Mode::from_bits_truncate(mode);
    nix::sys::stat::fchmod(&socket, before)?;
    sock::bind(socket.as_raw_fd(), &address(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listen(&socket, backlog)?;
    Ok(socket)
}

pub(crate) fn listen(socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    set_queue(socket.as_fd(), backlog)
}

/// Has a listening socket keep so many connections that nobody has accepted yet, and one more; the
/// kernel has a highest number (`net.core.somaxconn`). Those who are there stay.
///
/// To whoever connects from then on, this process is the one who listens (`SO_PEERCRED`).
///
/// # Errors
///
/// The kernel's; `EINVAL` for a socket that has no name to listen at.
pub fn set_queue(socket: BorrowedFd<'_>, most: i32) -> io::Result<()> {
    let most = Backlog::new(most).unwrap_or(Backlog::MAXCONN);
    Ok(sock::listen(&socket, most)?)
}

/// Accepts one connection of a non-blocking listener; `None` if there is none.
///
/// # Errors
///
/// The kernel's. Out of descriptors (`EMFILE`, `ENFILE`) or memory: wait a moment before trying
/// again, for the listener stays readable.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    loop {
        // SAFETY: null address and length mean that the peer's address is not wanted.
        let number = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            )
        };
        match check(number) {
            Ok(()) => {
                // SAFETY: accept4 has just made this descriptor for us.
                return Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }));
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ECONNABORTED) => {}
                Some(libc::EAGAIN) => return Ok(None),
                _ => return Err(error),
            },
        }
    }
}

/// The pending error of a socket, which is thereby taken.
///
/// # Errors
///
/// If the question itself fails.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    let number = option(socket, libc::SO_ERROR)?;
    Ok((number != 0).then(|| io::Error::from_raw_os_error(number)))
}

/// The other end's address, if the socket is connected and of the internet families.
///
/// # Errors
///
/// The kernel's, for example `ENOTCONN`.
pub fn peer_address(socket: BorrowedFd<'_>) -> io::Result<Option<SocketAddr>> {
    let address: sock::SockaddrStorage = sock::getpeername(socket.as_raw_fd())?;
    Ok(internet(&address))
}

/// The socket's own address, if it is of the internet families.
///
/// # Errors
///
/// The kernel's; `ENOTSOCK` for what is no socket.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<Option<SocketAddr>> {
    let address: sock::SockaddrStorage = sock::getsockname(socket.as_raw_fd())?;
    Ok(internet(&address))
}

fn internet(address: &sock::SockaddrStorage) -> Option<SocketAddr> {
    if let Some(four) = address.as_sockaddr_in() {
        return Some(SocketAddr::from(std::net::SocketAddrV4::from(*four)));
    }
    address.as_sockaddr_in6().map(|six| SocketAddr::from(std::net::SocketAddrV6::from(*six)))
}

/// The path that the other end of a connected Unix socket is bound to; `None` if unnamed or not a
/// Unix socket.
///
/// # Errors
///
/// The kernel's, for example `ENOTCONN`.
pub fn peer_path(socket: BorrowedFd<'_>) -> io::Result<Option<PathBuf>> {
    let address: sock::SockaddrStorage = sock::getpeername(socket.as_raw_fd())?;
    Ok(address.as_unix_addr().and_then(UnixAddr::path).map(Path::to_owned))
}

/// The path that a Unix socket is itself bound to; `None` if unnamed or not a Unix socket.
///
/// # Errors
///
/// The kernel's; `ENOTSOCK` for what is no socket.
pub fn local_path(socket: BorrowedFd<'_>) -> io::Result<Option<PathBuf>> {
    let address: sock::SockaddrStorage = sock::getsockname(socket.as_raw_fd())?;
    Ok(address.as_unix_addr().and_then(UnixAddr::path).map(Path::to_owned))
}

/// Bytes sent over a Unix socket that the peer has not read yet, with the kernel's overhead.
///
/// # Errors
///
/// The kernel's; `ENOTTY` for what is no socket.
pub fn uncollected(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    check(answer)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Whether this is a Unix socket.
///
/// # Errors
///
/// The kernel's; `ENOTSOCK` for what is no socket.
pub fn is_unix(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(option(socket, libc::SO_DOMAIN)? == libc::AF_UNIX)
}

/// Whether this is a stream socket.
///
/// # Errors
///
/// The kernel's; `ENOTSOCK` for what is no socket.
pub fn is_stream(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(option(socket, libc::SO_TYPE)? == libc::SOCK_STREAM)
}

/// Whether the socket accepts connections.
///
/// # Errors
///
/// The kernel's; `ENOTSOCK` for what is no socket.
pub fn is_listening(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(option(socket, libc::SO_ACCEPTCONN)? == 1)
}

/// Tells the peer that nothing more will be sent. One that is gone already needs no telling.
///
/// # Errors
///
/// The kernel's.
pub fn end_sending(socket: BorrowedFd<'_>) -> io::Result<()> {
    end(socket, sock::Shutdown::Write)
}

/// Ends both directions, for everybody who has the socket. One whose peer is gone has ended.
///
/// # Errors
///
/// The kernel's.
pub fn end_both(socket: BorrowedFd<'_>) -> io::Result<()> {
    end(socket, sock::Shutdown::Both)
}

fn end(socket: BorrowedFd<'_>, how: sock::Shutdown) -> io::Result<()> {
    match sock::shutdown(socket.as_raw_fd(), how) {
        Ok(()) | Err(nix::Error::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
