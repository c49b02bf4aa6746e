//! Why a connection is of no further use.

use std::fmt;
use std::io;

use crate::varlink::TooLong;

/// Why a connection is of no further use. Only `System` is not the peer's fault.
///
/// ```
/// use std::os::unix::net::UnixStream;
///
/// use libipc::wire::{Limits, Reading, Wait, Wire, WireError};
///
/// let (near, mut far) = UnixStream::pair().unwrap();
/// std::io::Write::write_all(&mut far, b"{\"too\":\"long\"}\0").unwrap();
/// let limits = Limits { message_bytes: 4, ..Limits::default() };
/// let mut wire = Wire::new(near.into(), Reading::Eager, limits);
/// let took = wire.receive(Wait::Block).and_then(|_| wire.take());
/// assert!(matches!(took, Err(WireError::TooLong(_))));
/// ```
#[derive(Debug)]
pub enum WireError {
    /// The kernel's answer.
    System(io::Error),
    /// A message is too long.
    TooLong(TooLong),
    /// More descriptors than a message may have, or a second set for one message.
    TooManyDescriptors {
        /// How many a message may have.
        most: usize,
    },
    /// Descriptors came in the middle of a message.
    MisplacedDescriptors,
    /// Two processes wrote parts of one message.
    MixedSenders,
    /// The peer does not collect what it asked for.
    QueueFull {
        /// How many bytes may wait.
        most: usize,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "{error}"),
            Self::TooLong(error) => write!(f, "{error}"),
            Self::TooManyDescriptors { most } => {
                write!(f, "more than {most} descriptors for one message")
            }
            Self::MisplacedDescriptors => f.write_str("descriptors in the middle of a message"),
            Self::MixedSenders => f.write_str("two processes wrote parts of one message"),
            Self::QueueFull { most } => write!(f, "more than {most} bytes not collected"),
        }
    }
}

impl std::error::Error for WireError {}
