//! Serving a name.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::socket::SocketKind;

use crate::environment::Environment;
use crate::error::ConnectError;
use crate::identity::{Identity, LocalIdentity};
use crate::interface::broker::BrokerError;
use crate::name::ServiceName;
use crate::registration::Registration;
use crate::rundir::{Instance, RunDirectory, RunDirectoryError};
use crate::stream::Stream;

/// Connections that wait to be accepted at most; the kernel may have a lower limit.
const BACKLOG: i32 = 4096;

/// Accepts clients of one service.
///
/// Dropping it ends the offer: a registration is over, and the file of a socket is removed if it
/// is still this socket's. Connections that were accepted live on. It may be shared by threads.
#[derive(Debug)]
pub struct Listener {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A listening socket, and its file if we made it.
    Socket(OwnedFd, Option<BoundFile>),
    /// Clients come by way of the broker.
    Registered(Box<Registration>),
}

impl Listener {
    /// Serves `name`: on the socket that the service manager passed under this name, or else as
    /// [`Listener::bind_in`] does in the run directory that the environment says (`IPC_RUNDIR`,
    /// the user's own, or for root the system's).
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind(name: &ServiceName) -> Result<Self, ListenError> {
        if let Some(inherited) = Self::inherited(name) {
            return inherited;
        }
        let environment = Environment::of_process();
        let mut directories = environment.run_directories();
        let directory = if nix::unistd::geteuid().is_root() {
            directories.pop()
        } else {
            directories.into_iter().next()
        };
        Self::bind_in(&directory.unwrap_or_else(RunDirectory::system), name)
    }

    /// Serves `name` in `directory`: registered with its broker if there is one, or else as
    /// [`Listener::own_socket_in`] does. A registration outlives restarts of the broker.
    ///
    /// Waits for the broker's word, 10 seconds at most.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; in particular [`ListenError::Refused`] with the broker's reason.
    pub fn bind_in(directory: &RunDirectory, name: &ServiceName) -> Result<Self, ListenError> {
        prepare(directory)?;
        if !directory.has_broker() {
            return Self::own_socket_in(directory, name);
        }
        Ok(Self { source: Source::Registered(Box::new(Registration::new(directory, name)?)) })
    }

    /// Serves `name` on a socket at its place in `directory`, which is made if it is a private
    /// instance's. Clients get it from the broker, or, where there is none, find it themselves.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; in particular if something alive serves the name already.
    pub fn own_socket_in(
        directory: &RunDirectory,
        name: &ServiceName,
    ) -> Result<Self, ListenError> {
        prepare(directory)?;
        let mode = if directory.instance() == Instance::System { 0o666 } else { 0o600 };
        Self::bind_at(&directory.service(name), mode, &directory.lock())
    }

    /// Listens at `path` with exactly `mode`. What a crash left there is taken over, under an
    /// exclusive lock of the file `lock`; a live socket, or anything else, is left alone.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind_at(path: &Path, mode: u32, lock: &Path) -> Result<Self, ListenError> {
        Self::bind_kind_at(path, SocketKind::Stream, mode, lock)
    }

    /// As [`Listener::bind_at`], for a socket on which every message is to carry its sender: the
    /// broker's.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind_noting_senders(path: &Path, mode: u32, lock: &Path) -> Result<Self, ListenError> {
        Self::bind_by(path, lock, || sys::socket::bind_unix_noting_senders(path, mode, BACKLOG))
    }

    /// As [`Listener::bind_at`], for another kind of socket.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind_kind_at(
        path: &Path,
        kind: SocketKind,
        mode: u32,
        lock: &Path,
    ) -> Result<Self, ListenError> {
        Self::bind_by(path, lock, || sys::socket::bind_unix(path, mode, kind, BACKLOG))
    }

    fn bind_by(
        path: &Path,
        lock: &Path,
        bind: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<Self, ListenError> {
        let system = |error| ListenError::System { path: path.to_owned(), error };
        let lock = lock_file(lock).map_err(system)?;
        lock.lock().map_err(system)?;
        remove_dead(path)?;
        let socket = bind().map_err(system)?;
        let file = BoundFile::at(path).map_err(system)?;
        Ok(Self { source: Source::Socket(socket, Some(file)) })
    }

    /// The socket that the service manager passed under this name, if any.
    fn inherited(name: &ServiceName) -> Option<Result<Self, ListenError>> {
        let ours = sys::inherited::take().into_iter().find(|one| one.name == name.as_str())?;
        Some(Self::from_socket(ours.descriptor))
    }

    /// Serves a listening Unix stream socket that somebody else bound.
    ///
    /// # Errors
    ///
    /// [`ListenError::NotListening`] for anything else.
    pub fn from_socket(socket: OwnedFd) -> Result<Self, ListenError> {
        let fits = sys::socket::is_unix(socket.as_fd()).unwrap_or(false)
            && sys::socket::is_listening(socket.as_fd()).unwrap_or(false);
        if !fits {
            return Err(ListenError::NotListening);
        }
        let path = PathBuf::from("(inherited)");
        match sys::socket::set_blocking(socket.as_fd(), false) {
            Ok(()) => Ok(Self { source: Source::Socket(socket, None) }),
            Err(error) => Err(ListenError::System { path, error }),
        }
    }

    /// Waits for a client. [`Stream::peer`] is what the kernel knows about it, or for a client that
    /// came by way of the broker what the broker does: then ask nobody else, for the socket may be
    /// made by a transport daemon.
    ///
    /// # Errors
    ///
    /// The kernel's: with `EMFILE`, `ENFILE` or `ENOMEM` close something before calling again, or
    /// the same client is met again at once. [`io::ErrorKind::AddrInUse`] ends the service: another
    /// process of the same user has taken the name over, and no more clients come here.
    /// [`io::ErrorKind::PermissionDenied`]: a broker that restarted refuses the name; it is asked
    /// again by itself.
    pub fn accept(&self) -> io::Result<Stream> {
        loop {
            if let Some(stream) = self.try_accept()? {
                return Ok(stream);
            }
            match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Accepts a client if one is there.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`].
    pub fn try_accept(&self) -> io::Result<Option<Stream>> {
        let socket = match &self.source {
            Source::Registered(registration) => return registration.try_accept(),
            Source::Socket(socket, _) => socket,
        };
        let Some(socket) = sys::socket::accept(socket.as_fd())? else { return Ok(None) };
        let peer = LocalIdentity::of_peer(socket.as_fd())?;
        Ok(Some(Stream::new(socket, Some(Identity::Local(peer)))))
    }
}

impl AsFd for Listener {
    /// Readable while [`Listener::try_accept`] has something to do. It stays the same one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Socket(socket, _) => socket.as_fd(),
            Source::Registered(registration) => registration.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Source::Socket(_, Some(file)) = &self.source {
            file.remove();
        }
    }
}

/// The file of a bound socket, known by more than its name.
#[derive(Debug)]
struct BoundFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl BoundFile {
    fn at(path: &Path) -> io::Result<Self> {
        let facts = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: facts.dev(), inode: facts.ino() })
    }

    /// Removes the file if it is still the one that was bound.
    fn remove(&self) {
        let still_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|facts| (facts.dev(), facts.ino()) == (self.device, self.inode));
        if still_ours {
            // Whoever removed it before us wanted the same.
            let _gone = fs::remove_file(&self.path).is_err();
        }
    }
}

/// Makes what a private instance needs, and checks the directory.
fn prepare(directory: &RunDirectory) -> Result<(), ListenError> {
    if directory.instance() != Instance::System {
        for path in [directory.path(), directory.services().as_path()] {
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(ListenError::System { path: path.to_owned(), error });
                }
                _ => {}
            }
        }
    }
    directory.check(nix::unistd::geteuid().as_raw()).map_err(ListenError::RunDirectory)
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Removes a socket that nobody answers on.
fn remove_dead(path: &Path) -> Result<(), ListenError> {
    let system = |error| ListenError::System { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(facts) if !facts.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match sys::socket::connect_unix_now(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system)
        }
        Ok(socket) => {
            let who = sys::credentials::peer_credentials(socket.as_fd()).unwrap_or_default();
            Err(ListenError::AlreadyServed { path: path.to_owned(), pid: who.pid })
        }
        // A full queue is a living service, and so is a socket of another kind.
        Err(error)
            if error.kind() == io::ErrorKind::WouldBlock
                || error.raw_os_error() == Some(nix::libc::EPROTOTYPE) =>
        {
            Err(ListenError::AlreadyServed { path: path.to_owned(), pid: None })
        }
        Err(error) => Err(system(error)),
    }
}

/// Why a name cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The kernel's answer.
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The run directory cannot be believed.
    RunDirectory(RunDirectoryError),
    /// A living process serves the name.
    AlreadyServed {
        /// Where.
        path: PathBuf,
        /// Which process, if it is known.
        pid: Option<u32>,
    },
    /// Something that is not a socket has the name. It is never removed.
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The descriptor is not a listening Unix socket.
    NotListening,
    /// The broker does not let this process serve the name.
    Refused {
        /// The name.
        service: ServiceName,
        /// The broker's words.
        error: Box<BrokerError>,
    },
    /// Another process of the same user has taken the name over.
    Replaced {
        /// The name.
        service: ServiceName,
    },
    /// The broker gave no answer that can be read.
    NoAnswer {
        /// The name.
        service: ServiceName,
        /// What happened.
        error: ConnectError,
    },
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::System { error, .. } => error.kind(),
            ListenError::AlreadyServed { .. } | ListenError::Replaced { .. } => {
                io::ErrorKind::AddrInUse
            }
            ListenError::RunDirectory(_) | ListenError::Refused { .. } => {
                io::ErrorKind::PermissionDenied
            }
            ListenError::NotASocket { .. } | ListenError::NotListening => {
                io::ErrorKind::InvalidInput
            }
            ListenError::NoAnswer { .. } => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { path, error } => write!(f, "{}: {error}", path.display()),
            Self::RunDirectory(error) => write!(f, "{error}"),
            Self::AlreadyServed { path, pid: Some(pid) } => {
                write!(f, "already running here (pid {pid}): {}", path.display())
            }
            Self::AlreadyServed { path, pid: None } => {
                write!(f, "already running here: {}", path.display())
            }
            Self::NotASocket { path } => {
                write!(f, "{} is not a socket, and is left as it is", path.display())
            }
            Self::Refused { service, error } => {
                write!(f, "{service} may not be served by this process: {error}")?;
                match error.cure() {
                    Some(cure) => write!(f, "; to allow: {cure}"),
                    None => Ok(()),
                }
            }
            Self::Replaced { service } => {
                write!(f, "another process of this user serves {service} from now on")
            }
            Self::NoAnswer { service, error } => {
                write!(f, "the broker gave no answer about {service}: {error}")
            }
            Self::NotListening => f.write_str("the descriptor is not a listening Unix socket"),
        }
    }
}

impl std::error::Error for ListenError {}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn instance() -> (tempfile::TempDir, RunDirectory, ServiceName) {
        let place = tempfile::tempdir().unwrap();
        let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
        (place, directory, ServiceName::new("pong").unwrap())
    }

    #[test]
    fn a_client_is_accepted_with_its_identity() {
        let (_place, directory, name) = instance();
        let listener = Listener::bind_in(&directory, &name).unwrap();
        assert!(listener.try_accept().unwrap().is_none());
        let client = sys::socket::connect_unix_now(&directory.service(&name)).unwrap();
        let mut accepted = listener.accept().unwrap();
        let Some(Identity::Local(peer)) = accepted.peer().cloned() else { panic!("no peer") };
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.uid, Some(nix::unistd::geteuid().as_raw()));
        accepted.write_all(b"hi").unwrap();
        drop(accepted);
        let mut text = String::new();
        Stream::new(client, None).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.service(&name)), 0o600);
        assert_eq!((mode(directory.path()), mode(&directory.services())), (0o700, 0o700));
    }

    #[test]
    fn a_living_service_is_never_taken_over() {
        let (_place, directory, name) = instance();
        let _first = Listener::bind_in(&directory, &name).unwrap();
        let said = Listener::bind_in(&directory, &name).unwrap_err().to_string();
        let start = format!("already running here (pid {}): ", std::process::id());
        assert!(said.starts_with(&start), "{said}");
    }

    #[test]
    fn what_a_crash_left_is_taken_over_and_a_file_is_not() {
        let (_place, directory, name) = instance();
        drop(Listener::bind_in(&directory, &name).unwrap());
        assert!(!directory.service(&name).exists());
        drop(std::os::unix::net::UnixListener::bind(directory.service(&name)).unwrap());
        assert!(directory.service(&name).exists());
        drop(Listener::bind_in(&directory, &name).unwrap());

        fs::write(directory.service(&name), "precious").unwrap();
        let said = Listener::bind_in(&directory, &name).unwrap_err().to_string();
        assert!(said.ends_with("is not a socket, and is left as it is"), "{said}");
        assert_eq!(fs::read_to_string(directory.service(&name)).unwrap(), "precious");
    }

    #[test]
    fn a_living_socket_of_another_kind_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (path, lock) = (place.path().join("packets"), place.path().join("lock"));
        let _alive = Listener::bind_kind_at(&path, SocketKind::SeqPacket, 0o600, &lock).unwrap();
        let said = Listener::bind_at(&path, 0o600, &lock).unwrap_err().to_string();
        assert!(said.starts_with("already running here: "), "{said}");
        sys::socket::connect_unix(&path, SocketKind::SeqPacket, None).unwrap();
    }

    #[test]
    fn a_successors_file_is_not_removed() {
        let (_place, directory, name) = instance();
        let first = Listener::bind_in(&directory, &name).unwrap();
        fs::remove_file(directory.service(&name)).unwrap();
        let _second = Listener::bind_in(&directory, &name).unwrap();
        drop(first);
        assert!(directory.service(&name).exists());
    }

    #[test]
    fn only_a_listening_socket_can_be_served() {
        let file = File::open("/dev/null").unwrap();
        let said = Listener::from_socket(file.into()).unwrap_err().to_string();
        assert_eq!(said, "the descriptor is not a listening Unix socket");
    }
}
