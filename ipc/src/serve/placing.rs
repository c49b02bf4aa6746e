//! Putting a connection on the descriptors where a program expects it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::{dup2, dup3};

/// Which descriptors of a program are its connection.
///
/// Those above 2 are occupied in this process from the start, so that nothing of ours, or of std
/// while it starts a program, ever has their numbers.
#[derive(Debug)]
pub(super) struct Placing {
    standard: Vec<u8>,
    reserved: Vec<OwnedFd>,
    nothing: OwnedFd,
}

impl Placing {
    /// For these numbers.
    pub(super) fn reserve(numbers: &[u8]) -> Result<Self, ReserveError> {
        let (standard, above): (Vec<u8>, Vec<u8>) = numbers.iter().partition(|number| **number < 3);
        let highest = above.iter().max().copied().unwrap_or(0);
        // The kernel hands out the lowest free number: all free ones up to the highest come by.
        let mut reserved = Vec::new();
        let nothing = loop {
            let next = open_nothing().map_err(ReserveError::System)?;
            if next.as_raw_fd() > i32::from(highest) {
                break next;
            }
            reserved.push(next);
        };
        reserved.retain(|place| above.iter().any(|number| is_at(place, *number)));
        let is_missing =
            |number: &&u8| !reserved.iter().any(|place: &OwnedFd| is_at(place, **number));
        match above.iter().find(is_missing) {
            Some(number) => Err(ReserveError::InUse(*number)),
            None => Ok(Self { standard, reserved, nothing }),
        }
    }

    /// Starts `command` with `connection` on the descriptors.
    pub(super) fn spawn(
        &mut self,
        command: &mut Command,
        connection: &OwnedFd,
    ) -> io::Result<Child> {
        command.stdin(Stdio::null());
        for number in &self.standard {
            let end = Stdio::from(connection.try_clone()?);
            match number {
                0 => command.stdin(end),
                1 => command.stdout(end),
                _ => command.stderr(end),
            };
        }
        let child = self.place(connection).and_then(|()| command.spawn());
        self.withdraw()?;
        child
    }

    /// A duplicate made so is not close-on-exec: the program gets it.
    fn place(&mut self, connection: &OwnedFd) -> io::Result<()> {
        for place in &mut self.reserved {
            dup2(connection, place)?;
        }
        Ok(())
    }

    fn withdraw(&mut self) -> io::Result<()> {
        for place in &mut self.reserved {
            dup3(&self.nothing, place, OFlag::O_CLOEXEC)?;
        }
        Ok(())
    }
}

fn open_nothing() -> io::Result<OwnedFd> {
    File::open("/dev/null").map(OwnedFd::from)
}

fn is_at(place: &OwnedFd, number: u8) -> bool {
    place.as_raw_fd() == i32::from(number)
}

/// Why a descriptor cannot be placed.
#[derive(Debug)]
pub(super) enum ReserveError {
    /// It was open already when the command was started.
    InUse(u8),
    /// The kernel's answer.
    System(io::Error),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(number) => write!(f, "descriptor {number} is open already"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReserveError {}
