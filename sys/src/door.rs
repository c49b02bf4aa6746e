//! Doors: the socket of a service as an `O_PATH` descriptor.
//!
//! Whoever holds a door can connect to the service, and is seen there with credentials of his own.
//! So a broker opens the door, and never connects in anybody's place.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::socket::{SocketKind, connect_unix, connect_unix_now};

/// An open door.
#[derive(Debug)]
pub struct Door {
    /// The socket's place, opened with `O_PATH`, close-on-exec.
    pub descriptor: OwnedFd,
    /// The user who owns the socket.
    pub owner: u32,
}

/// Why there is no door.
#[derive(Debug)]
pub enum DoorError {
    /// Nothing has this name.
    NotFound,
    /// What has this name is not a socket, or is reached through a symbolic link.
    NotASocket,
    /// The kernel's answer.
    System(io::Error),
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no socket has this name"),
            Self::NotASocket => f.write_str("what has this name is not a socket"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DoorError {}

/// Opens the door of the socket `name` in `directory`. The name has no slash and is no link, so the
/// socket is in that very directory.
///
/// # Errors
///
/// [`DoorError`]; none leaves anything open.
pub fn open_beneath(directory: BorrowedFd<'_>, name: &str) -> Result<Door, DoorError> {
    if name.contains('/') || name == ".." {
        return Err(DoorError::NotFound);
    }
    open(directory, Path::new(name))
}

/// Opens the door of the socket at `path`, which an administrator wrote down. The last component
/// is not followed if it is a symbolic link.
///
/// # Errors
///
/// [`DoorError`].
pub fn open_path(path: &Path) -> Result<Door, DoorError> {
    open(nix::fcntl::AT_FDCWD, path)
}

/// By openat, not openat2: systemd's `RestrictSUIDSGID=` forbids all of the latter.
fn open(directory: BorrowedFd<'_>, path: &Path) -> Result<Door, DoorError> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let opened = openat(directory, path, flags, Mode::empty()).map_err(|error| match error {
        Errno::ENOENT => DoorError::NotFound,
        Errno::ELOOP => DoorError::NotASocket,
        error => DoorError::System(error.into()),
    })?;
    let file = File::from(opened);
    let facts = file.metadata().map_err(DoorError::System)?;
    if !facts.file_type().is_socket() {
        return Err(DoorError::NotASocket);
    }
    Ok(Door { descriptor: file.into(), owner: facts.uid() })
}

/// Connects through a door. The result is a blocking, close-on-exec socket of the caller's own
/// making: the service sees the caller.
///
/// Waits while the service's queue is full, until `deadline` if there is one.
///
/// # Errors
///
/// The kernel's: `ECONNREFUSED` if nobody listens behind the door, `EPROTOTYPE` if it is of
/// another kind, [`io::ErrorKind::TimedOut`] at the deadline.
pub fn connect(
    door: BorrowedFd<'_>,
    kind: SocketKind,
    deadline: Option<Instant>,
) -> io::Result<OwnedFd> {
    connect_unix(&path_of(door), kind, deadline)
}

/// As [`connect`] to a stream, without waiting: the socket is non-blocking.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] if the service's queue is full.
pub fn connect_now(door: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    connect_unix_now(&path_of(door))
}

fn path_of(door: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", door.as_raw_fd()))
}

/// Whether a descriptor was opened with `O_PATH`: a door, not a connected socket.
///
/// # Errors
///
/// The kernel's.
pub fn is_path(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let flags = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_GETFL)?;
    Ok(OFlag::from_bits_retain(flags).contains(OFlag::O_PATH))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn directory() -> (tempfile::TempDir, File) {
        let directory = tempfile::tempdir().unwrap();
        let opened = File::open(directory.path()).unwrap();
        (directory, opened)
    }

    #[test]
    fn a_client_connects_through_a_door_as_itself() {
        let (place, opened) = directory();
        let listener = UnixListener::bind(place.path().join("pong")).unwrap();
        let door = open_beneath(opened.as_fd(), "pong").unwrap();
        assert_eq!(door.owner, nix::unistd::geteuid().as_raw());
        assert!(is_path(door.descriptor.as_fd()).unwrap());
        let client = connect(door.descriptor.as_fd(), SocketKind::Stream, None).unwrap();
        assert!(!is_path(client.as_fd()).unwrap());
        let (accepted, _) = listener.accept().unwrap();
        let who = crate::credentials::peer_credentials(accepted.as_fd()).unwrap();
        assert_eq!(who.pid, Some(std::process::id()));
    }

    #[test]
    fn only_a_socket_in_that_very_directory_has_a_door() {
        let (place, opened) = directory();
        let outside = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(outside.path().join("x")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("x"), place.path().join("link")).unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let escape = format!("../{}/x", outside.path().file_name().unwrap().to_str().unwrap());
        let absolute = outside.path().join("x");
        let cases = [
            ("absent", "no socket has this name"),
            ("link", "what has this name is not a socket"),
            ("file", "what has this name is not a socket"),
            (&escape, "no socket has this name"),
            (absolute.to_str().unwrap(), "no socket has this name"),
            ("..", "no socket has this name"),
            (".", "what has this name is not a socket"),
        ];
        for (name, expected) in cases {
            assert_eq!(open_beneath(opened.as_fd(), name).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_door_without_a_service_behind_it_refuses() {
        let (place, opened) = directory();
        drop(UnixListener::bind(place.path().join("dead")).unwrap());
        let door = open_beneath(opened.as_fd(), "dead").unwrap();
        let error = connect(door.descriptor.as_fd(), SocketKind::Stream, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_full_queue_is_waited_for_until_the_deadline() {
        let (place, opened) = directory();
        let path = place.path().join("busy");
        let listener = crate::socket::bind_unix(&path, 0o600, SocketKind::Stream, 0).unwrap();
        let door = open_beneath(opened.as_fd(), "busy").unwrap();
        let first = connect(door.descriptor.as_fd(), SocketKind::Stream, None).unwrap();
        let soon = Instant::now() + std::time::Duration::from_millis(50);
        let error = connect(door.descriptor.as_fd(), SocketKind::Stream, Some(soon)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop((first, listener));
    }
}
