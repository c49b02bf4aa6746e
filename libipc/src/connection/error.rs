//! Why there is no message.

use std::fmt;
use std::io;

use sys::ancillary::DESCRIPTORS_MOST;

use crate::frame::FrameError;

/// Why a message was not sent, or none came.
///
/// ```
/// use libipc::connection::Options;
/// use libipc::{Connection, ConnectionError};
///
/// let (mut near, far) = Connection::pair(Options::default())?;
/// drop(far);
/// assert!(matches!(near.receive(), Err(ConnectionError::Ended)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer has ended the connection, between two messages.
    Ended,
    /// The peer has ended the connection within a message.
    Truncated,
    /// It took longer than the caller's patience.
    TimedOut,
    /// What came is no message, or what was to be sent can be none.
    Frame(FrameError),
    /// The peer sent more descriptors than were agreed, or twice for one message; all are closed.
    TooManyDescriptors {
        /// How many a message may have.
        most: usize,
    },
    /// The peer sent descriptors in the middle of a message; all are closed.
    MisplacedDescriptors,
    /// The caller's: descriptors travel between programs of one host only.
    NoDescriptorsHere,
    /// The caller's: the kernel takes no packet of this length.
    PacketTooLong {
        /// Bytes of the message.
        length: usize,
    },
    /// The peer does not read what is sent.
    QueueFull {
        /// Bytes that may wait.
        most: usize,
    },
    /// The kernel's answer.
    System(io::Error),
}

impl ConnectionError {
    /// The kernel's answer to a send or a receive, told apart from the end.
    pub(crate) fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Ended,
            _ => Self::System(error),
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Ended | Self::Truncated => io::ErrorKind::UnexpectedEof,
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::Frame(FrameError::NoMemory { .. }) => io::ErrorKind::OutOfMemory,
            Self::Frame(_) | Self::TooManyDescriptors { .. } | Self::MisplacedDescriptors => {
                io::ErrorKind::InvalidData
            }
            Self::NoDescriptorsHere | Self::PacketTooLong { .. } => io::ErrorKind::InvalidInput,
            Self::QueueFull { .. } => io::ErrorKind::WouldBlock,
            Self::System(error) => error.kind(),
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the peer has ended the connection"),
            Self::Truncated => {
                f.write_str("the peer has ended the connection in the middle of a message")
            }
            Self::TimedOut => f.write_str("timed out"),
            Self::Frame(error) => write!(f, "{error}"),
            Self::TooManyDescriptors { most } if *most == DESCRIPTORS_MOST => {
                write!(f, "a message carries at most {most} descriptors")
            }
            Self::TooManyDescriptors { most } => {
                write!(f, "more than {most} descriptors with a message")
            }
            Self::MisplacedDescriptors => f.write_str("descriptors in the middle of a message"),
            Self::NoDescriptorsHere => {
                f.write_str("descriptors travel between programs of one host only")
            }
            Self::PacketTooLong { length } => {
                write!(f, "the kernel takes no packet of {length} bytes: use a stream for that")
            }
            Self::QueueFull { most } => {
                write!(f, "the peer does not read: {most} bytes wait to be sent already")
            }
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ConnectionError {}

impl From<FrameError> for ConnectionError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::System(error) => error,
            error => Self::new(error.kind(), error),
        }
    }
}
