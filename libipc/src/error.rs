//! Why there is no connection.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::environment::NetworkFileError;
use crate::interface::broker::BrokerError;
use crate::name::{NameError, ServiceName};
use crate::network::NetworkError;
use crate::rundir::{RunDirectory, RunDirectoryError};
use crate::varlink::MessageError;
use crate::wire::WireError;

/// Why [`crate::connect`] failed: whose fault it is ([`ConnectError::errno`]), whether trying
/// again can help ([`ConnectError::retry`]).
///
/// ```
/// use libipc::ConnectError;
///
/// let error = libipc::connect("no name").unwrap_err();
/// assert!(matches!(error, ConnectError::Name(_)) && !error.retry());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The caller's: this is no service name.
    Name(NameError),
    /// The caller's: `IPC_NETWORK` cannot be read.
    Network(NetworkError),
    /// The caller's: `IPC_NETWORK_FILE` cannot be used.
    NetworkFile(NetworkFileError),
    /// The named run directory cannot be believed.
    RunDirectory(RunDirectoryError),
    /// There is no broker to ask.
    NoBroker {
        /// Where it would be.
        path: PathBuf,
    },
    /// The broker does not answer.
    BrokerDown {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The broker answered with an error.
    Broker(Box<BrokerError>),
    /// The broker closed the connection.
    BrokerGone,
    /// The broker has ended by way of which this process was started.
    InheritedGone,
    /// Nothing came in time.
    TimedOut,
    /// The service's own socket did not take the connection.
    Service {
        /// Which service.
        service: ServiceName,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The socket at a path, or under an abstract name, did not take the connection.
    Socket {
        /// Where.
        address: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The broker's: its answer cannot be read.
    Malformed(MessageError),
    /// The broker's: its answer brought no descriptor of the promised kind.
    NoDescriptor,
    /// The service does not speak in streams.
    NotAStream,
    /// The broker's: an error that this version does not know.
    UnknownError,
    /// The connection to the broker broke its rules.
    Wire(WireError),
    /// The kernel's answer.
    System(io::Error),
}

impl ConnectError {
    /// Whether another broker may know the name.
    pub(crate) fn is_unknown(&self) -> bool {
        match self {
            Self::NoBroker { .. } => true,
            Self::Broker(error) => matches!(**error, BrokerError::UnknownService { .. }),
            _ => false,
        }
    }

    pub(crate) fn no_broker(directories: &[RunDirectory]) -> Self {
        let last = directories.last().cloned().unwrap_or_else(RunDirectory::system);
        Self::NoBroker { path: last.broker() }
    }

    /// A connection that ended while it was used, told apart from one that broke its rules.
    pub(crate) fn of_wire(error: WireError) -> Self {
        match error {
            WireError::System(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Self::BrokerGone
            }
            WireError::System(error) => Self::System(error),
            error => Self::Wire(error),
        }
    }

    /// The error number that says the same, as a C program would see it.
    #[must_use]
    pub fn errno(&self) -> i32 {
        use nix::libc;
        match self {
            Self::Name(_) | Self::Network(_) | Self::NetworkFile(_) => libc::EINVAL,
            Self::RunDirectory(_) => libc::EPERM,
            Self::NoBroker { .. }
            | Self::BrokerDown { .. }
            | Self::BrokerGone
            | Self::InheritedGone => libc::ECONNREFUSED,
            Self::Broker(error) => broker_errno(error),
            Self::TimedOut => libc::ETIMEDOUT,
            Self::Service { error, .. } | Self::Socket { error, .. } | Self::System(error) => {
                error.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::Malformed(_) | Self::NoDescriptor | Self::UnknownError | Self::Wire(_) => {
                libc::EPROTO
            }
            Self::NotAStream => libc::EPROTONOSUPPORT,
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Broker(error) => error.retry(),
            Self::NoBroker { .. }
            | Self::BrokerDown { .. }
            | Self::BrokerGone
            | Self::TimedOut
            | Self::Service { .. }
            | Self::Socket { .. } => true,
            _ => false,
        }
    }
}

fn broker_errno(error: &BrokerError) -> i32 {
    use nix::libc;
    match error {
        BrokerError::Denied { .. } => libc::EACCES,
        BrokerError::UnknownService { .. } => libc::ENOENT,
        BrokerError::Unreachable { .. } => libc::EHOSTUNREACH,
        BrokerError::Refused { .. } => libc::ECONNREFUSED,
        BrokerError::TimedOut { .. } => libc::ETIMEDOUT,
        BrokerError::TransportMissing { .. } | BrokerError::NoHandoff { .. } => {
            libc::EPROTONOSUPPORT
        }
        BrokerError::Untrusted { .. } => libc::EKEYREJECTED,
        BrokerError::Unauthenticated { .. } => libc::ENOKEY,
        BrokerError::Busy { .. } => libc::EAGAIN,
        BrokerError::InvalidRequest { .. } => libc::EINVAL,
        BrokerError::Protocol { .. } | BrokerError::Internal { .. } => libc::EPROTO,
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "{error}"),
            Self::Network(error) => write!(f, "{error}"),
            Self::NetworkFile(error) => write!(f, "{error}"),
            Self::RunDirectory(error) => write!(f, "{error}"),
            Self::NoBroker { path } => write!(f, "no broker at {}", path.display()),
            Self::BrokerDown { path, error } => {
                write!(f, "the broker at {} does not answer: {error}", path.display())
            }
            Self::Broker(error) => write!(f, "{error}"),
            Self::BrokerGone => f.write_str("the broker closed the connection"),
            Self::InheritedGone => {
                f.write_str("the broker has ended by way of which this program was started")
            }
            Self::TimedOut => f.write_str("timed out: the broker did not answer"),
            Self::Service { service, error } => {
                write!(f, "refused: {service} is known, but does not answer: {error}")
            }
            Self::Socket { address, error } => write!(f, "{address}: {error}"),
            Self::Malformed(error) => write!(f, "the broker's answer: {error}"),
            Self::NoDescriptor => f.write_str("the broker's answer brought no connection"),
            Self::NotAStream => f.write_str("the service does not speak in streams"),
            Self::UnknownError => f.write_str("the broker answered with an unknown error"),
            Self::Wire(error) => write!(f, "the connection to the broker: {error}"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = Self::from_raw_os_error(error.errno()).kind();
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
