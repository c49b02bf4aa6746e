//! Why shared memory cannot be had or used.

use std::fmt;
use std::io;

use sys::map::OutsideMap;

use crate::name::NameError;
use crate::private_place::PlaceError;

/// Why shared memory cannot be had or used.
///
/// ```
/// use std::num::NonZero;
///
/// use libipc::Shm;
/// use libipc::shm::ShmError;
///
/// let memory = Shm::new(NonZero::new(4).unwrap())?;
/// let error = memory.write(2, b"abc").unwrap_err();
/// assert!(matches!(error, ShmError::Outside { offset: 2, length: 3, size: 4 }));
/// # Ok::<(), ShmError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ShmError {
    /// The descriptor is not one of a file in memory whose length is fixed for ever. Whoever sent
    /// it has to make the memory with [`Shm::new`](super::Shm::new), or seal it
    /// (`F_SEAL_SHRINK` and `F_SEAL_GROW`).
    NotFixed,
    /// More bytes than are allowed here.
    TooLong {
        /// How many.
        length: usize,
        /// How many it may be.
        most: usize,
    },
    /// The memory does not begin with the header of a region.
    Damaged,
    /// The range is not, or not wholly, within the memory.
    Outside {
        /// Where it would begin.
        offset: usize,
        /// Its bytes.
        length: usize,
        /// The bytes that are there.
        size: usize,
    },
    /// The name is none.
    Name(NameError),
    /// There is no place for names.
    Place(PlaceError),
    /// A living process has given memory this name.
    InUse {
        /// The process.
        pid: u32,
    },
    /// No living process has given memory this name.
    Unknown,
    /// The kernel's answer.
    System(io::Error),
}

impl fmt::Display for ShmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFixed => f.write_str(
                "not shared memory of a fixed length: its owner could end this process by \
                 shortening it",
            ),
            Self::TooLong { length, most } => {
                write!(f, "shared memory of {length} bytes, the most is {most}")
            }
            Self::Damaged => f.write_str("the header of the shared memory is damaged"),
            Self::Outside { offset, length, size } => {
                write!(f, "{length} bytes at {offset}, the shared memory has {size}")
            }
            Self::Name(error) => write!(f, "{error}"),
            Self::Place(error) => write!(f, "{error}"),
            Self::InUse { pid } => {
                write!(f, "the name is in use by process {pid}: end it, or take another name")
            }
            Self::Unknown => f.write_str("no running process shares memory under this name"),
            Self::System(error) => write!(f, "shared memory: {error}"),
        }
    }
}

impl std::error::Error for ShmError {}

impl From<io::Error> for ShmError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<io::ErrorKind> for ShmError {
    fn from(kind: io::ErrorKind) -> Self {
        Self::System(kind.into())
    }
}

impl From<OutsideMap> for ShmError {
    fn from(OutsideMap { offset, length, mapped }: OutsideMap) -> Self {
        Self::Outside { offset, length, size: mapped }
    }
}
