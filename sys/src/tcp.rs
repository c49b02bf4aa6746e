//! Beginnings and options of TCP connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{self as sock, AddressFamily, SockFlag, SockType};

use crate::socket;

/// A TCP listener: non-blocking, close-on-exec, of that address family alone.
///
/// # Errors
///
/// The kernel's.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    socket::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        socket::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    sock::bind(socket.as_raw_fd(), &sock::SockaddrStorage::from(address))?;
    socket::listen(&socket, backlog)?;
    Ok(socket)
}

/// Where a connection comes from; the kernel chooses what is not said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// An address of this host.
    pub source: Option<IpAddr>,
    /// The mark that routes and filters know it by (`SO_MARK`).
    pub mark: Option<u32>,
}

/// Starts to connect to `address` without waiting. The socket is non-blocking; it is writable
/// once connected or refused, which [`take_error`](crate::socket::take_error) tells apart.
///
/// # Errors
///
/// The kernel's immediate ones, for example `ENETUNREACH`; `EPERM` where a mark may not be set,
/// `EADDRNOTAVAIL` where the source is no address of this host.
pub fn connect_start(address: SocketAddr, origin: Origin) -> io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    if let Some(mark) = origin.mark {
        socket::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())?;
    }
    if let Some(source) = origin.source {
        // The port is chosen when the far end is known, so that one port serves many.
        let late = libc::IP_BIND_ADDRESS_NO_PORT;
        socket::set_option(socket.as_fd(), libc::IPPROTO_IP, late, 1)?;
        let source = sock::SockaddrStorage::from(SocketAddr::new(source, 0));
        sock::bind(socket.as_raw_fd(), &source)?;
    }
    loop {
        match sock::connect(socket.as_raw_fd(), &sock::SockaddrStorage::from(address)) {
            Ok(()) | Err(nix::Error::EINPROGRESS) => return Ok(socket),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn new_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(sock::socket(family, SockType::Stream, flags, None)?)
}

/// The source address that the kernel would use to reach `address`; nothing is sent.
///
/// # Errors
///
/// The kernel's, for example `ENETUNREACH`.
pub fn source_for(address: SocketAddr) -> io::Result<SocketAddr> {
    let any: SocketAddr = if address.is_ipv6() {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let probe = std::net::UdpSocket::bind(any)?;
    probe.connect(address)?;
    probe.local_addr()
}

/// Sends small pieces at once (`TCP_NODELAY`).
///
/// # Errors
///
/// The kernel's; `EOPNOTSUPP` for what is not TCP.
pub fn set_nodelay(socket: BorrowedFd<'_>) -> io::Result<()> {
    socket::set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// Has the kernel take no more than about so many bytes that it has not sent yet
/// (`TCP_NOTSENT_LOWAT`). What is on its way counts apart, so that this slows nobody who reads.
///
/// # Errors
///
/// The kernel's; `EOPNOTSUPP` for what is not TCP.
pub fn set_unsent_most(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    socket::set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
}

/// Has a silent peer asked after `idle`, then every `interval`, at most `count` times.
///
/// # Errors
///
/// The kernel's.
pub fn set_keepalive(
    socket: BorrowedFd<'_>,
    idle: Duration,
    interval: Duration,
    count: i32,
) -> io::Result<()> {
    let seconds = |span: Duration| i32::try_from(span.as_secs()).unwrap_or(i32::MAX);
    socket::set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    socket::set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds(idle))?;
    socket::set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds(interval))?;
    socket::set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_comes_from_where_it_is_told_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Origin { source: Some("127.0.0.9".parse().unwrap()), mark: None };
        let _socket = connect_start(listener.local_addr().unwrap(), origin).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), origin.source.unwrap());
        let nowhere = Origin { source: Some("192.0.2.1".parse().unwrap()), mark: None };
        let error = connect_start(listener.local_addr().unwrap(), nowhere).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        for address in ["127.0.0.1:9", "[::1]:9"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(source_for(address).unwrap().ip(), address.ip());
        }
    }
}
