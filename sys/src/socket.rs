//! Facts, options and beginnings of sockets.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{self as sock, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

use crate::credentials::{check, socket_length};

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
    let socket = sock::socket(AddressFamily::Unix, kind.native(), SockFlag::SOCK_CLOEXEC, None)?;
    let address = UnixAddr::new(path)?;
    if let Some(deadline) = deadline {
        // The kernel bounds the wait for room in the queue by the send time-out.
        let left = deadline.saturating_duration_since(Instant::now());
        set_timeout(socket.as_fd(), libc::SO_SNDTIMEO, Some(left.max(Duration::from_millis(1))))?;
    }
    connect_until_done(&socket, &address)?;
    if deadline.is_some() {
        set_timeout(socket.as_fd(), libc::SO_SNDTIMEO, None)?;
    }
    Ok(socket)
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
    connect_until_done(&socket, &UnixAddr::new(path)?).map_err(|error| match error.kind() {
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
    sock::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listen(&socket, backlog)?;
    Ok(socket)
}

pub(crate) fn listen(socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    let backlog = Backlog::new(backlog).unwrap_or(Backlog::MAXCONN);
    Ok(sock::listen(socket, backlog)?)
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

/// Has closing the socket tell the peer that the connection broke (a TCP reset).
///
/// # Errors
///
/// The kernel's. A Unix socket takes the option and knows no reset.
pub fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(sock::setsockopt(&socket, sock::sockopt::Linger, &linger)?)
}

/// Tells the peer that nothing more will be sent. One that is gone already needs no telling.
///
/// # Errors
///
/// The kernel's.
pub fn end_sending(socket: BorrowedFd<'_>) -> io::Result<()> {
    match sock::shutdown(socket.as_raw_fd(), sock::Shutdown::Write) {
        Ok(()) | Err(nix::Error::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
    let mut flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, !blocking);
    fcntl(socket, FcntlArg::F_SETFL(flags))?;
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

fn set_timeout(
    socket: BorrowedFd<'_>,
    name: libc::c_int,
    span: Option<Duration>,
) -> io::Result<()> {
    let span = span.unwrap_or_default();
    let value = libc::timeval {
        tv_sec: libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX),
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

fn option(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<libc::c_int> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_socket_has_its_mode_whatever_the_umask() {
        let place = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o666] {
            let path = place.path().join(format!("{mode:o}"));
            let listener = bind_unix(&path, mode, SocketKind::Stream, 16).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            assert!(is_listening(listener.as_fd()).unwrap());
            assert!(accept(listener.as_fd()).unwrap().is_none());
        }
    }

    #[test]
    fn a_taken_name_is_not_taken_over() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "precious").unwrap();
        let error = bind_unix(&path, 0o600, SocketKind::Stream, 16).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn tcp_addresses_and_errors_are_told() {
        let listener = crate::tcp::listen("127.0.0.1:0".parse().unwrap(), 4).unwrap();
        let address = local_address(listener.as_fd()).unwrap().unwrap();
        let client = crate::tcp::connect_start(address, crate::tcp::Origin::default()).unwrap();
        assert_eq!(peer_address(client.as_fd()).unwrap(), Some(address));
        assert!(take_error(client.as_fd()).unwrap().is_none());
        crate::tcp::set_nodelay(client.as_fd()).unwrap();
        let (idle, every) = (Duration::from_secs(60), Duration::from_secs(10));
        crate::tcp::set_keepalive(client.as_fd(), idle, every, 6).unwrap();
        assert!(!is_unix(client.as_fd()).unwrap());
    }

    #[test]
    fn what_the_peer_has_not_read_is_uncollected() {
        let (left, right) = unix_pair(SocketKind::Stream).unwrap();
        assert_eq!(uncollected(left.as_fd()).unwrap(), 0);
        nix::unistd::write(&left, b"x").unwrap();
        assert!(uncollected(left.as_fd()).unwrap() > 0);
        nix::unistd::read(&right, &mut [0]).unwrap();
        assert_eq!(uncollected(left.as_fd()).unwrap(), 0);
    }

    #[test]
    fn the_peer_of_a_bound_listener_has_its_path() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ipc");
        let _listener = bind_unix(&path, 0o600, SocketKind::Stream, 4).unwrap();
        let client = connect_unix_now(&path).unwrap();
        assert_eq!(peer_path(client.as_fd()).unwrap(), Some(path));
    }
}
