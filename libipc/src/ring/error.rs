//! Why a message cannot pass a ring.

use std::fmt;
use std::io;

use sys::map::OutsideMap;

use crate::shm::ShmError;

/// Why a message cannot pass a ring.
///
/// ```
/// use libipc::Patience;
/// use libipc::ring::{self, RingError};
///
/// let (writer, mut reader) = ring::pair(4096)?;
/// assert!(matches!(reader.receive(Patience::Never), Err(RingError::TimedOut)));
/// drop(writer);
/// assert!(matches!(reader.receive(Patience::Never), Err(RingError::Closed)));
/// # Ok::<(), RingError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RingError {
    /// The other end was dropped, and there is nothing left to read.
    Closed,
    /// The other process ended, or closed its descriptors, without a word.
    PeerGone,
    /// The deadline has passed. The ring is as it was.
    TimedOut,
    /// The message is longer than the ring takes.
    TooLong {
        /// Its bytes.
        length: usize,
        /// The bytes of the longest one: see [`pair`](super::pair).
        most: usize,
    },
    /// A ring cannot be that large.
    Capacity {
        /// The bytes asked for.
        capacity: usize,
    },
    /// What the other end wrote into the memory makes no sense. The ring is of no further use.
    Damaged,
    /// The range is not within the message.
    Outside(OutsideMap),
    /// The memory cannot be used.
    Memory(ShmError),
    /// The second descriptor is not a connected Unix stream socket.
    NotASocket,
    /// The kernel's answer.
    System(io::Error),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other end of the ring was closed"),
            Self::PeerGone => f.write_str("the process at the other end of the ring is gone"),
            Self::TimedOut => f.write_str("the ring did not move before the deadline"),
            Self::TooLong { length, most } => {
                write!(f, "a message of {length} bytes, the ring takes {most}")
            }
            Self::Capacity { capacity } => {
                write!(f, "a ring of {capacity} bytes, the most is {}", super::CAPACITY_MOST)
            }
            Self::Damaged => f.write_str("the other end has damaged the ring"),
            Self::Outside(error) => write!(f, "{error}"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::NotASocket => {
                f.write_str("the second descriptor of the ring is not a Unix stream socket")
            }
            Self::System(error) => write!(f, "ring: {error}"),
        }
    }
}

impl std::error::Error for RingError {}

impl From<io::Error> for RingError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<ShmError> for RingError {
    fn from(error: ShmError) -> Self {
        Self::Memory(error)
    }
}

impl From<OutsideMap> for RingError {
    fn from(error: OutsideMap) -> Self {
        Self::Outside(error)
    }
}
