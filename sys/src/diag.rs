//! Sockets by the number that the kernel gave them, which no other socket ever has.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::socket::{SocketKind, option, unix_pair};

use nix::sys::socket::{
    self as sock, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

/// The kernel's number for a socket, the same for all its copies (`socket(7)`, `SO_COOKIE`).
///
/// # Errors
///
/// The kernel's; `ENOTSOCK` for what is no socket.
pub fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    number(socket, libc::SO_COOKIE)
}

/// The kernel's number for the network namespace that a socket belongs to (`SO_NETNS_COOKIE`, since
/// Linux 5.14).
///
/// # Errors
///
/// The kernel's; `ENOPROTOOPT` for an older one.
pub fn namespace(socket: BorrowedFd<'_>) -> io::Result<u64> {
    number(socket, libc::SO_NETNS_COOKIE)
}

fn number(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<u64> {
    let mut number = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most `length` bytes into the eight that are there.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut number).cast(),
            &raw mut length,
        )
    };
    if answer == 0 { Ok(number) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel knows a socket by, so that it can be found again without keeping it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketNumber {
    /// Its [`cookie`].
    pub cookie: u64,
    /// Its [`namespace`], where the kernel tells, if it is one of TCP: of others it does not tell
    /// whether anybody has them.
    pub namespace: Option<u64>,
}

impl SocketNumber {
    /// Of that socket; `None` for what is none.
    #[must_use]
    pub fn of(socket: BorrowedFd<'_>) -> Option<Self> {
        let is_tcp = option(socket, libc::SO_PROTOCOL).is_ok_and(|one| one == libc::IPPROTO_TCP);
        let namespace = namespace(socket).ok().filter(|_| is_tcp);
        Some(Self { cookie: cookie(socket).ok()?, namespace })
    }
}

/// The TCP connections of this process's network namespace that anybody has a descriptor of. One that
/// was reset is none any more.
#[derive(Debug)]
pub struct Held {
    namespace: u64,
    cookies: BTreeSet<u64>,
}

impl Held {
    /// Asks the kernel, which tells everybody.
    ///
    /// # Errors
    ///
    /// The kernel's: no netlink in a sandbox, no `CONFIG_INET_DIAG`, older than Linux 5.14.
    pub fn now() -> io::Result<Self> {
        let mut cookies = BTreeSet::new();
        for family in FAMILIES {
            dump(family, |socket| {
                if socket.inode() != Some(0) {
                    cookies.extend(socket.cookie());
                }
            })?;
        }
        let (here, _) = unix_pair(SocketKind::Stream)?;
        Ok(Self { namespace: namespace(here.as_fd())?, cookies })
    }

    /// Whether that connection is over: its namespace is this one, and nobody has it any more.
    #[must_use]
    pub fn is_over(&self, cookie: u64, namespace: u64) -> bool {
        namespace == self.namespace && !self.cookies.contains(&cookie)
    }
}

/// Ends the TCP connection of which the kernel's number is `cookie`, whoever holds it: both ends
/// see a reset. False if there is none of that number in this network namespace.
///
/// It takes `CAP_NET_ADMIN`. The kernel compares the number again before it ends the socket, so
/// that it is never another one (`sock_diag(7)`, `SOCK_DESTROY`).
///
/// # Errors
///
/// The kernel's: `EPERM` without the right, `EOPNOTSUPP` where it was built without
/// `CONFIG_INET_DIAG_DESTROY`.
pub fn end_tcp(cookie: u64) -> io::Result<bool> {
    for family in FAMILIES {
        let mut found = None;
        dump(family, |socket| {
            found = found.or(socket.id().filter(|_| socket.cookie() == Some(cookie)));
        })?;
        if let Some(socket) = found {
            return destroy(family, &socket);
        }
    }
    Ok(false)
}

/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

/// Bytes of `struct nlmsghdr`, and of `struct inet_diag_sockid`.
const HEADER: usize = 16;
const SOCKET_ID: usize = 48;

/// Where the socket's own id stands in `struct inet_diag_msg`, and in it its cookie.
const ID_AT: usize = 4;
const COOKIE_AT: usize = 40;

/// Where the number of its inode stands: behind the id are its timer, two queues and its user.
const INODE_AT: usize = ID_AT + SOCKET_ID + 16;

/// All states in which a TCP socket is a connection: everything but `TCP_CLOSE` (7) and
/// `TCP_LISTEN` (10).
const CONNECTED: u32 = 0xfff & !(1 << 7) & !(1 << 10);

/// The id of a socket, as the kernel wrote it.
type SocketId = [u8; SOCKET_ID];

/// One socket, as the kernel describes it: `struct inet_diag_msg`.
struct Described<'d>(&'d [u8]);

impl Described<'_> {
    fn id(&self) -> Option<SocketId> {
        SocketId::try_from(self.0.get(ID_AT..ID_AT + SOCKET_ID)?).ok()
    }

    fn cookie(&self) -> Option<u64> {
        cookie_of(&self.id()?)
    }

    /// Zero if no descriptor leads to it any more.
    fn inode(&self) -> Option<u32> {
        let bytes = self.0.get(INODE_AT..INODE_AT + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }
}

/// Tells of every TCP connection of that family in this network namespace.
fn dump(family: u8, mut tell: impl FnMut(&Described<'_>)) -> io::Result<()> {
    let netlink = ask_for_all(family)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = sock::recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in Messages(buffer.get(..length).unwrap_or_default()) {
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => return error_of(message.body),
                // Read to the end in any case: the kernel sends all of it.
                _ => tell(&Described(message.body)),
            }
        }
    }
}

fn ask_for_all(family: u8) -> io::Result<OwnedFd> {
    ask(BY_FAMILY, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, family, &[0; SOCKET_ID])
}

fn destroy(family: u8, socket: &SocketId) -> io::Result<bool> {
    let netlink = ask(DESTROY, libc::NLM_F_REQUEST | libc::NLM_F_ACK, family, socket)?;
    let mut buffer = vec![0; 1 << 12];
    let length = sock::recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let answer = Messages(buffer.get(..length).unwrap_or_default()).next();
    let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    match error_of(answer.body) {
        Ok(()) => Ok(true),
        // It ended by itself meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends a request about TCP (`inet_diag_req_v2` of `linux/inet_diag.h`) behind a header.
fn ask(kind: u16, flags: i32, family: u8, socket: &SocketId) -> io::Result<OwnedFd> {
    let netlink = sock::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let flags = u16::try_from(flags).map_err(io::Error::other)?;
    let tcp = u8::try_from(libc::IPPROTO_TCP).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADER + 8 + SOCKET_ID);
    let length = u32::try_from(HEADER + 8 + SOCKET_ID).map_err(io::Error::other)?;
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, tcp, 0, 0]);
    message.extend(CONNECTED.to_ne_bytes());
    message.extend(socket);
    let kernel = NetlinkAddr::new(0, 0);
    sock::sendto(netlink.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    Ok(netlink)
}

/// The two halves of a cookie, the lower one first.
fn cookie_of(id: &SocketId) -> Option<u64> {
    let (lower, upper) = id.get(COOKIE_AT..)?.split_at_checked(4)?;
    let lower = u64::from(u32::from_ne_bytes(lower.try_into().ok()?));
    let upper = u64::from(u32::from_ne_bytes(upper.try_into().ok()?));
    Some(upper << 32 | lower)
}

/// The number at the beginning of an acknowledgement: zero, or an error's negative one.
fn error_of(body: &[u8]) -> io::Result<()> {
    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The messages that one datagram holds.
struct Messages<'m>(&'m [u8]);

struct Message<'m> {
    kind: u16,
    body: &'m [u8],
}

impl<'m> Iterator for Messages<'m> {
    type Item = Message<'m>;

    fn next(&mut self) -> Option<Message<'m>> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let body = self.0.get(HEADER..length)?;
        // Messages begin at multiples of four bytes (netlink(7)).
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, body })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn copies_have_one_number_and_no_two_sockets_have_the_same() {
        let (one, other) = UnixStream::pair().unwrap();
        let copy = one.try_clone().unwrap();
        assert_eq!(cookie(one.as_fd()).unwrap(), cookie(copy.as_fd()).unwrap());
        assert_ne!(cookie(one.as_fd()).unwrap(), cookie(other.as_fd()).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(cookie(file.as_fd()).is_err());
    }

    #[test]
    fn a_connection_is_over_when_the_last_copy_of_it_is_closed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = pair(address);
            let copy = client.try_clone().unwrap();
            let SocketNumber { cookie: number, namespace: here } =
                SocketNumber::of(client.as_fd()).unwrap();
            let here = here.unwrap();
            let is_over = |namespace| Held::now().unwrap().is_over(number, namespace);
            // Half of it has ended, and one of two copies is closed: somebody has it still.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            drop(client);
            assert!(!is_over(here));
            drop(copy);
            // The kernel goes on with it, for nobody.
            assert!(is_over(here) && !is_over(here + 1));
            drop(server);
            assert!(is_over(here));
        }
    }

    #[test]
    fn a_connection_that_was_reset_is_over_though_somebody_has_its_socket() {
        let (client, server) = pair("127.0.0.1:0");
        let SocketNumber { cookie, namespace } = SocketNumber::of(client.as_fd()).unwrap();
        let is_over = || Held::now().unwrap().is_over(cookie, namespace.unwrap());
        assert!(!is_over());
        crate::socket::reset_on_close(server.as_fd()).unwrap();
        drop(server);
        assert!(is_over());
    }

    #[test]
    fn of_a_socket_that_is_none_of_tcp_the_kernel_does_not_tell_whether_anybody_has_it() {
        let (one, _other) = UnixStream::pair().unwrap();
        let number = SocketNumber::of(one.as_fd()).unwrap();
        assert_eq!((number.cookie, number.namespace), (cookie(one.as_fd()).unwrap(), None));
    }

    #[test]
    fn exactly_the_connection_of_that_number_is_ended() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut client, _server) = pair(address);
            let (other, mut others_server) = pair(address);
            let number = cookie(client.as_fd()).unwrap();
            assert!(end_tcp(number).unwrap());
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            assert!(!end_tcp(number).unwrap(), "it is over");
            (&other).write_all(b"x").unwrap();
            others_server.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn a_number_that_no_socket_has_ends_none() {
        assert!(!end_tcp(u64::MAX).unwrap_or(false));
    }
}
