//! Who made a connection, as the kernel recorded it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use crate::ancillary::MessageCredentials;

/// Ids of the process that called `connect` or `socketpair`.
///
/// An id that this process's user namespace does not map, and the pid of a process of a foreign
/// pid namespace, are unknown (`None`), never a number that stands in for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeerCredentials {
    /// Process id.
    pub pid: Option<u32>,
    /// Effective user id.
    pub uid: Option<u32>,
    /// Effective group id.
    pub gid: Option<u32>,
}

impl PeerCredentials {
    /// The sender of one message, by the same rules.
    #[must_use]
    pub fn of_message(sender: MessageCredentials) -> Self {
        Self::known(sender.pid, sender.uid, sender.gid)
    }

    fn known(pid: u32, uid: u32, gid: u32) -> Self {
        let [nobody, nogroup] = overflow_ids();
        Self {
            pid: Some(pid).filter(|pid| *pid != 0),
            uid: Some(uid).filter(|uid| *uid != nobody && *uid != u32::MAX),
            gid: Some(gid).filter(|gid| *gid != nogroup && *gid != u32::MAX),
        }
    }
}

/// Asks for the credentials of whoever made the connection.
///
/// # Errors
///
/// The kernel's; `ENOTCONN` for what is not a connected Unix socket.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let mut who = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = socket_length(size_of::<libc::ucred>());
    // SAFETY: the kernel writes at most `length` bytes to `who`, which has that size.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &raw mut length,
        )
    };
    check(answer)?;
    if who.pid == 0 && who.uid == u32::MAX {
        return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
    }
    Ok(PeerCredentials::known(who.pid.unsigned_abs(), who.uid, who.gid))
}

/// The supplementary groups of whoever made the connection, as they were then.
///
/// # Errors
///
/// The kernel's; `ENODATA` for a connection without credentials.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let mut length = socket_length(size_of_val(groups.as_slice()));
        // SAFETY: the kernel writes at most `length` bytes to `groups`, which has that size.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let result = check(answer);
        // The length is what came, or, with ERANGE, what there is.
        groups.resize(length as usize / size_of::<u32>(), 0);
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(groups),
        }
    }
}

/// A descriptor of the process that made the connection; `None` where the kernel (before 6.5) or
/// the process is no longer able to give one.
///
/// # Errors
///
/// The kernel's other answers, for example `EMFILE`.
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut number: libc::c_int = -1;
    let mut length = socket_length(size_of::<libc::c_int>());
    // SAFETY: the kernel writes at most `length` bytes to `number`, which has that size.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut number).cast(),
            &raw mut length,
        )
    };
    match check(answer) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(()) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOPROTOOPT | libc::ESRCH | libc::EINVAL | libc::ENODATA)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether this kernel gives descriptors of the processes that make connections (6.5 and later do).
/// If even a socket pair cannot be made, the answer is no.
#[must_use]
pub fn has_peer_pidfd() -> bool {
    let asked = std::os::unix::net::UnixStream::pair()
        .and_then(|(own, _other)| peer_pidfd(std::os::fd::AsFd::as_fd(&own)));
    matches!(asked, Ok(Some(_)))
}

/// Has the sender's credentials come with every message on `socket`, or no longer; a listening
/// socket passes this on to what it accepts.
///
/// # Errors
///
/// The kernel's.
pub fn pass_credentials(socket: BorrowedFd<'_>, pass: bool) -> io::Result<()> {
    crate::socket::set_option(socket, libc::SOL_SOCKET, libc::SO_PASSCRED, pass.into())
}

/// Whether every user and group id of the machine is visible here. Under a partial map strangers
/// all look alike, and nobody can be told apart.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn id_maps_are_full() -> io::Result<bool> {
    Ok(map_is_full(&fs::read_to_string("/proc/self/uid_map")?)
        && map_is_full(&fs::read_to_string("/proc/self/gid_map")?))
}

fn map_is_full(map: &str) -> bool {
    let mut words = map.split_whitespace();
    let line = [words.next(), words.next(), words.next(), words.next()];
    line == [Some("0"), Some("0"), Some("4294967295"), None]
}

/// The ids that stand in for unmapped ones.
fn overflow_ids() -> [u32; 2] {
    static IDS: OnceLock<[u32; 2]> = OnceLock::new();
    *IDS.get_or_init(|| {
        ["/proc/sys/kernel/overflowuid", "/proc/sys/kernel/overflowgid"].map(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.trim().parse().unwrap_or(65534)
        })
    })
}

pub(crate) fn socket_length(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).unwrap_or(libc::socklen_t::MAX)
}

pub(crate) fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::socket::{SocketKind, unix_pair};

    #[test]
    fn a_socket_pair_is_its_makers() {
        let (left, _right) = unix_pair(SocketKind::Stream).unwrap();
        let who = peer_credentials(left.as_fd()).unwrap();
        assert_eq!(who.pid, Some(std::process::id()));
        assert_eq!(who.uid, Some(nix::unistd::geteuid().as_raw()));
        let mut groups = peer_groups(left.as_fd()).unwrap();
        let mut expected: Vec<_> =
            nix::unistd::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        expected.sort_unstable();
        assert_eq!(groups, expected);
    }

    #[test]
    fn what_is_not_connected_has_no_credentials() {
        let file = fs::File::open("/dev/null").unwrap();
        assert!(peer_credentials(file.as_fd()).is_err());
        let lonely = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        assert!(peer_credentials(lonely.as_fd()).is_err());
    }

    #[test]
    fn only_the_identity_map_is_full() {
        assert!(map_is_full("         0          0 4294967295\n"));
        assert!(!map_is_full("         0     100000      65536\n"));
        assert!(!map_is_full("0 0 1000\n1000 1000 4294966295\n"));
        assert!(!map_is_full(""));
    }
}
