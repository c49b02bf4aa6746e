//! Why two processes do not meet.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::exchange::ExchangeError;
use super::name::MeetingNameError;
use crate::private_place::PlaceError;

/// Why two processes do not meet.
///
/// ```
/// use libipc::Patience;
/// use libipc::private_place::PrivatePlace;
/// use libipc::rendezvous::{self, RendezvousError};
/// # use libipc::rundir::{Instance, RunDirectory};
/// # let path = std::env::temp_dir().join(format!("libipc-unknown-{}", std::process::id()));
/// # let directory = RunDirectory::new(path.clone(), Instance::Private);
/// # let place = PrivatePlace::in_directory(&directory, rendezvous::PLACE)?;
///
/// let answer = rendezvous::connect_in(&place, 1, "debugger", Patience::Never);
/// assert!(matches!(answer, Err(RendezvousError::Unknown { pid: 1 })));
/// # std::fs::remove_dir_all(path).unwrap();
/// # Ok::<(), RendezvousError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RendezvousError {
    /// The name is none.
    Name(MeetingNameError),
    /// There is no directory that only this user can look into.
    Place(PlaceError),
    /// This process waits under that name already.
    InUse,
    /// The process does not wait under that name.
    Unknown {
        /// Which process.
        pid: u32,
    },
    /// The process that waited under that name is gone.
    Gone {
        /// Which process.
        pid: u32,
    },
    /// The file of the meeting was written by somebody else, or is damaged.
    Damaged {
        /// Where.
        path: PathBuf,
    },
    /// Another process, or another user's, answers in the place of the one that was asked for.
    WrongProcess {
        /// The one that answers, if it is known.
        pid: Option<u32>,
    },
    /// One of the two did not prove that it may take part.
    Exchange(ExchangeError),
    /// The other side ended before both had proven themselves.
    Ended,
    /// The deadline has passed.
    TimedOut,
    /// The kernel's answer.
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl fmt::Display for RendezvousError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "{error}"),
            Self::Place(error) => write!(f, "{error}"),
            Self::InUse => f.write_str("this process waits under that name already"),
            Self::Unknown { pid } => write!(f, "process {pid} does not wait under that name"),
            Self::Gone { pid } => {
                write!(f, "process {pid}, which waited under that name, is gone")
            }
            Self::Damaged { path } => {
                write!(f, "{} is damaged, or not yours alone: remove it", path.display())
            }
            Self::WrongProcess { pid: Some(pid) } => {
                write!(f, "process {pid} answers in its place")
            }
            Self::WrongProcess { pid: None } => {
                f.write_str("an unknown process answers in its place")
            }
            Self::Exchange(error) => write!(f, "{error}"),
            Self::Ended => f.write_str("the other process ended the meeting"),
            Self::TimedOut => f.write_str("no meeting before the deadline"),
            Self::System { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for RendezvousError {}

impl From<ExchangeError> for RendezvousError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(error)
    }
}

impl From<MeetingNameError> for RendezvousError {
    fn from(error: MeetingNameError) -> Self {
        Self::Name(error)
    }
}

impl From<PlaceError> for RendezvousError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}
