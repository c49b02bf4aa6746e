//! The broker's place: its run directory and its socket.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libipc::environment::Environment;
use libipc::listener::{ListenError, Listener};
use libipc::rundir::{Instance, RunDirectory, RunDirectoryError};
use sys::inherited::Inherited;

use crate::action::Entrance;
use crate::args::{Args, InstanceKind};
use crate::entrance::{self, Way};

/// The account that the system's broker runs as.
pub(crate) use daemon::account::BROKER as ACCOUNT;

/// The run directory that the command line and the environment ask for: a named one, the user's
/// own, or for root the system's.
pub(crate) fn run_directory(
    args: &Args,
    environment: &Environment,
) -> Result<RunDirectory, PlaceError> {
    if let Some(path) = args.rundir.as_ref().or(environment.rundir.as_ref().filter(|_| !args.user))
    {
        let path = std::path::absolute(path)
            .map_err(|error| PlaceError::System { path: path.clone(), error })?;
        return Ok(match args.instance {
            Some(InstanceKind::System) => RunDirectory::new(path, Instance::System),
            Some(InstanceKind::Private) => RunDirectory::new(path, Instance::Private),
            None => RunDirectory::named(&path, environment),
        });
    }
    if nix::unistd::geteuid().is_root() && !args.user {
        return Ok(RunDirectory::system());
    }
    RunDirectory::user(environment).ok_or(PlaceError::NoRuntimeDirectory)
}

/// Listens where clients look for the broker: on the sockets that the service manager passed, or
/// else at its place in the run directory, which is made then.
pub(crate) fn open(
    directory: &RunDirectory,
    inherited: Vec<Inherited>,
) -> Result<Vec<Way>, PlaceError> {
    let mut ways = Vec::new();
    for Inherited { name, descriptor } in inherited {
        let entrance = entrance::of_inherited(&name).map_err(|error| PlaceError::Inherited {
            name: name.clone(),
            error: error.to_string(),
        })?;
        let listener = Listener::from_socket(descriptor).map_err(|error| {
            PlaceError::Inherited { name: name.clone(), error: error.to_string() }
        })?;
        ways.push(way(directory, listener, entrance)?);
    }
    if ways.iter().any(|way| way.entrance == Entrance::Broker) {
        let uid = nix::unistd::geteuid().as_raw();
        directory.check(uid).map_err(PlaceError::RunDirectory)?;
        if directory.instance() != Instance::System {
            make_own(directory)?;
        }
    } else {
        ways.push(way(directory, bind(directory)?, Entrance::Broker)?);
    }
    Ok(ways)
}

fn way(
    directory: &RunDirectory,
    listener: Listener,
    entrance: Entrance,
) -> Result<Way, PlaceError> {
    Way::new(listener, entrance)
        .map_err(|error| PlaceError::System { path: directory.broker(), error })
}

/// Makes the run directory as design section 3 has it, and listens in it.
///
/// In the system's instance root makes everything, so that nobody else can; what is there already
/// is left as it is, and has to be sound.
fn bind(directory: &RunDirectory) -> Result<Listener, PlaceError> {
    let uid = nix::unistd::geteuid().as_raw();
    let mode = if directory.instance() == Instance::System { 0o755 } else { 0o700 };
    make(directory.path(), mode, None)?;
    // In a directory of somebody else's nothing is made, and nothing is changed.
    directory.check(uid).map_err(PlaceError::RunDirectory)?;
    if directory.instance() == Instance::System {
        let group = group_of(ACCOUNT);
        make(&directory.services(), 0o710, group)?;
        make(&directory.transports(), 0o711, group)?;
        make_fronts(&directory.fronts())?;
    } else {
        make_own(directory)?;
    }
    let mode = if directory.instance() == Instance::System { 0o666 } else { 0o600 };
    Listener::bind_noting_senders(&directory.broker(), mode, &directory.lock())
        .map_err(PlaceError::Listen)
}

/// What there is in a run directory that is all of one user. A service manager makes no more of it
/// than its sockets need.
fn make_own(directory: &RunDirectory) -> Result<(), PlaceError> {
    let places = [directory.services(), directory.transports()];
    places.iter().try_for_each(|path| make(path, 0o700, None))
}

/// Fronts come and go with the configuration: their directory is the broker's own.
fn make_fronts(path: &Path) -> Result<(), PlaceError> {
    let is_new = fs::symlink_metadata(path).is_err();
    make(path, 0o755, group_of(ACCOUNT))?;
    if is_new && let Ok(Some(account)) = nix::unistd::User::from_name(ACCOUNT) {
        std::os::unix::fs::chown(path, Some(account.uid.as_raw()), None)
            .map_err(|error| PlaceError::System { path: path.to_owned(), error })?;
    }
    Ok(())
}

fn make(path: &Path, mode: u32, group: Option<u32>) -> Result<(), PlaceError> {
    let system = |error| PlaceError::System { path: path.to_owned(), error };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = "cannot be made, for the directory above it is not there: make that one";
            return Err(system(io::Error::new(error.kind(), why)));
        }
        Err(error) => return Err(system(error)),
    }
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group).map_err(system)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(system)
}

fn group_of(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// Why the broker has no place.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// No user's own run directory is known.
    NoRuntimeDirectory,
    /// The kernel's answer.
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// A socket that the service manager passed is of no use.
    Inherited {
        /// The name that it gave the socket.
        name: String,
        /// What is wrong.
        error: String,
    },
    /// The directory cannot be believed.
    RunDirectory(RunDirectoryError),
    /// Nobody can listen there.
    Listen(ListenError),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntimeDirectory => {
                f.write_str("XDG_RUNTIME_DIR is not set: name the run directory with --rundir DIR")
            }
            Self::System { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Inherited { name, error } => {
                write!(f, "the inherited socket {name:?}: {error}")
            }
            Self::RunDirectory(error) => write!(f, "{error}"),
            Self::Listen(error @ ListenError::AlreadyServed { .. }) => write!(
                f,
                "{error}: write rules and redirects to a file in ipcd.d, then: ipc reload"
            ),
            Self::Listen(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PlaceError {}
