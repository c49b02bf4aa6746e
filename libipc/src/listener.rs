//! Serving a name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::socket::SocketKind;

use crate::environment::Environment;
use crate::name::ServiceName;
use crate::registration::Registration;
use crate::rundir::{Instance, RunDirectory};
use crate::stream::Stream;

mod error;
mod file;

pub use error::ListenError;
use file::{BoundFile, lock_file, prepare, remove_dead};

/// Connections that wait to be accepted at most; the kernel may have a lower limit.
const BACKLOG: i32 = 4096;

/// How long a service is left alone after it could not accept: nothing is gained by asking again
/// at once when descriptors are what is missing.
pub(crate) const REST: Duration = Duration::from_millis(100);

/// Accepts clients of one service.
///
/// Dropping it ends the offer: a registration is over, and the file of a socket is removed if it
/// is still this socket's; a child after `fork` removes nothing of its parent's. Connections that
/// were accepted live on. It may be shared by threads.
///
/// ```
/// use std::io::{Read, Write};
/// use libipc::Listener;
/// use libipc::rundir::{Instance, RunDirectory};
/// # use std::os::unix::net::UnixStream;
/// # let place = std::env::temp_dir().join(format!("libipc-{}", std::process::id()));
/// # let directory = RunDirectory::new(place.clone(), Instance::Private);
///
/// let name = libipc::ServiceName::new("pong").unwrap();
/// // A program writes `Listener::bind(&name)`: this one has a directory of its own.
/// let listener = Listener::bind_in(&directory, &name)?;
/// # let mut client = UnixStream::connect(directory.service(&name))?;
/// let mut stream = listener.accept()?;
/// assert!(stream.peer().is_some());
/// stream.write_all(b"welcome")?;
/// # client.read_exact(&mut [0; 7])?;
/// # drop(listener);
/// # std::fs::remove_dir_all(place)?;
/// # Ok::<(), std::io::Error>(())
/// ```
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
        Some(Self::from_socket(sys::inherited::take_named(name.as_str())?))
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

    /// Whether clients still find it: a socket that was bound has its name, whoever registered is
    /// known by it. True of a socket that was inherited, which belongs to whoever made it.
    #[must_use]
    pub fn has_its_name(&self) -> bool {
        match &self.source {
            Source::Socket(_, file) => file.as_ref().is_none_or(BoundFile::is_there),
            Source::Registered(_) => true,
        }
    }

    /// Every client, one after the other, as long as the name is served here.
    ///
    /// What keeps a client from being accepted is told to `told`, and is not the end: after 100 ms
    /// the next one is waited for. So nobody ends a service by opening as many connections as it
    /// has descriptors, and it does not spin meanwhile. Only once another process of the same user
    /// has taken the name over there are no more clients; that is told as well. Serve those that
    /// have come, and end.
    ///
    /// ```
    /// use std::io::Write;
    /// use libipc::Address;
    /// # let address: Address = format!("@libipc-clients-{}", std::process::id()).parse().unwrap();
    ///
    /// let listener = address.listen()?;
    /// # let mut client = address.connect(std::time::Instant::now() + std::time::Duration::from_secs(9))?;
    /// for mut stream in listener.clients(|error| eprintln!("greeter: {error}")) {
    ///     let _gone = stream.write_all(b"welcome").is_err();
    /// #   break;
    /// }
    /// # std::io::Read::read_exact(&mut client, &mut [0; 7])?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clients(&self, told: impl FnMut(&io::Error)) -> impl Iterator<Item = Stream> {
        one_after_the_other(|| self.accept(), told)
    }

    /// Waits for a client. [`Stream::peer`] is what the kernel knows about it, or for a client that
    /// came by way of the broker what the broker does: then ask nobody else, for the socket may be
    /// made by a transport daemon.
    ///
    /// # Errors
    ///
    /// The kernel's: with `EMFILE`, `ENFILE` or `ENOMEM` close something before calling again, or
    /// the same client is met again at once. [`io::ErrorKind::AddrInUse`] ends the service: another
    /// process of the same user has taken the name over, and no more clients come here; every
    /// further call, in whatever thread, says so too.
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
        Ok(sys::socket::accept(socket.as_fd())?.map(Stream::local))
    }
}

/// What `accept` brings until another process has the name, with a rest after each failure.
pub(crate) fn one_after_the_other<T>(
    mut accept: impl FnMut() -> io::Result<T>,
    mut told: impl FnMut(&io::Error),
) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        loop {
            match accept() {
                Ok(client) => return Some(client),
                Err(error) => {
                    told(&error);
                    if error.kind() == io::ErrorKind::AddrInUse {
                        return None;
                    }
                }
            }
            let rest = PollTimeout::try_from(REST).unwrap_or(PollTimeout::MAX);
            let _interrupted = poll(&mut [], rest).is_err();
        }
    })
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

#[cfg(test)]
mod tests;
