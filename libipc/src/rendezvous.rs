//! Two processes of one user find each other by process id and name.
//!
//! ```no_run
//! use libipc::Patience;
//! use libipc::rendezvous::{self, Meeting, RendezvousError};
//!
//! # fn main() -> Result<(), RendezvousError> {
//! // One process waits, and tells its number in whatever way there is …
//! let mut meeting = Meeting::open("debugger")?;
//! println!("{}", std::process::id());
//! let stream = meeting.accept(Patience::Forever)?;
//!
//! // … and the other one comes, with that number.
//! # let pid = 1;
//! let stream = rendezvous::connect(pid, "debugger", Patience::Forever)?;
//! # Ok(())
//! # }
//! ```
//!
//! No broker takes part, and nobody else can: the host leaves a key in a directory that only its
//! user can look into (`.rendezvous` below the run directory, 0700), both sides prove to each
//! other that they know it ([`Exchange`]), and the kernel vouches for the user, and to the guest
//! for the process. Until then no byte of the program passes.
//!
//! The stream carries descriptors as any other between two processes does. What hosts that were
//! killed have left is swept when the next one opens.

mod error;
mod exchange;
mod meeting;
mod name;
mod step;
#[cfg(test)]
mod tests;
mod ticket;

use std::os::fd::{AsFd, OwnedFd};

use sys::socket::SocketKind;

pub use error::RendezvousError;
pub use exchange::{Exchange, ExchangeError, KEY_BYTES, Key};
pub use meeting::Meeting;
pub use name::{MeetingName, MeetingNameError, NAME_BYTES_MOST};

use crate::identity::{Identity, LocalIdentity};
use crate::patience::Patience;
use crate::private_place::PrivatePlace;
use crate::stream::Stream;
use ticket::Ticket;

/// The name of the place where processes meet, for [`PrivatePlace`].
pub const PLACE: &str = "rendezvous";

/// Meets process `pid` under `name`. The process has to wait already: `patience` is for its answer.
///
/// # Errors
///
/// - [`RendezvousError::Unknown`]: the process does not wait under that name, perhaps not yet.
/// - [`RendezvousError::Gone`]: it was ended without a chance to clean up.
/// - The others of [`RendezvousError`].
pub fn connect(pid: u32, name: &str, patience: Patience) -> Result<Stream, RendezvousError> {
    connect_in(&PrivatePlace::of_process(PLACE)?, pid, name, patience)
}

/// As [`connect`], in a place of the caller's choice.
///
/// # Errors
///
/// As there.
pub fn connect_in(
    place: &PrivatePlace,
    pid: u32,
    name: &str,
    patience: Patience,
) -> Result<Stream, RendezvousError> {
    let name = MeetingName::new(name)?;
    let ticket = Ticket::read(place, pid, &name)?;
    let socket = step::connect(&ticket.socket, SocketKind::Stream, patience, pid)?;
    let peer = step::same_user(socket.as_fd(), &ticket.socket)?
        .filter(|peer| peer.pid == Some(pid))
        .ok_or_else(|| RendezvousError::WrongProcess { pid: step::pid_of(socket.as_fd()) })?;
    let mut exchange = Exchange::guest(ticket.key, step::number(&ticket.socket)?);
    step::finish(socket.as_fd(), &mut exchange, patience)?;
    Ok(as_stream(socket, peer))
}

fn as_stream(socket: OwnedFd, peer: LocalIdentity) -> Stream {
    Stream::new(socket, Some(Identity::Local(peer)))
}
