//! Why a name cannot be served.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::ConnectError;
use crate::interface::broker::BrokerError;
use crate::name::ServiceName;
use crate::rundir::RunDirectoryError;

/// Why a name cannot be served.
///
/// ```
/// use std::fs::File;
///
/// use libipc::Listener;
/// use libipc::listener::ListenError;
///
/// let no_socket = File::open("/dev/null")?.into();
/// assert!(matches!(Listener::from_socket(no_socket), Err(ListenError::NotListening)));
/// # Ok::<(), std::io::Error>(())
/// ```
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
