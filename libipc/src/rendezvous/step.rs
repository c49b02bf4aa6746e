//! The exchange over a socket, one step at a time.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::poll::PollFlags;
use sys::ancillary::{self, ReceiveError, Wait};
use sys::socket::SocketKind;

use super::RendezvousError;
use super::exchange::{Exchange, KEY_BYTES};
use crate::identity::LocalIdentity;
use crate::patience::Patience;

/// What a step leaves to wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    Done,
    Reading,
    Writing,
}

/// Says and hears as much as goes without waiting.
pub(super) fn advance(
    socket: BorrowedFd<'_>,
    exchange: &mut Exchange,
) -> Result<Progress, RendezvousError> {
    loop {
        if !say(socket, exchange)? {
            return Ok(Progress::Writing);
        }
        if exchange.is_done() {
            return Ok(Progress::Done);
        }
        // Never past the end of the exchange: what follows is the program's.
        let mut piece = [0; 2 * KEY_BYTES];
        let room = piece.get_mut(..exchange.wanted()).unwrap_or_default();
        let count = match ancillary::receive(socket, room, 0, Wait::Never) {
            Ok(received) => received.bytes,
            Err(ReceiveError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Progress::Reading);
            }
            Err(_) => 0,
        };
        if count == 0 {
            return Err(RendezvousError::Ended);
        }
        if let Err(error) = exchange.handle_bytes(room.get(..count).unwrap_or_default()) {
            // A refusal that cannot be told at once is not worth waiting for.
            let _told = say(socket, exchange).is_ok();
            return Err(error.into());
        }
    }
}

/// Whether everything was said.
fn say(socket: BorrowedFd<'_>, exchange: &mut Exchange) -> Result<bool, RendezvousError> {
    while !exchange.outgoing().is_empty() {
        match ancillary::send(socket, exchange.outgoing(), &[], Wait::Never) {
            Ok(count) => exchange.sent(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(RendezvousError::Ended),
        }
    }
    Ok(true)
}

/// Waits until both have proven themselves.
pub(super) fn finish(
    socket: BorrowedFd<'_>,
    exchange: &mut Exchange,
    patience: Patience,
) -> Result<(), RendezvousError> {
    loop {
        let events = match advance(socket, exchange)? {
            Progress::Done => return Ok(()),
            Progress::Reading => PollFlags::POLLIN,
            Progress::Writing => PollFlags::POLLOUT,
        };
        let is_ready = patience.wait(socket, events);
        if !is_ready.map_err(|error| system(Path::new("socket"), error))? {
            return Err(RendezvousError::TimedOut);
        }
    }
}

/// Connects to the socket of process `pid`.
pub(super) fn connect(
    path: &Path,
    kind: SocketKind,
    patience: Patience,
    pid: u32,
) -> Result<OwnedFd, RendezvousError> {
    let until = match patience {
        Patience::Forever => None,
        Patience::Until(moment) => Some(moment),
        Patience::Never => Some(Instant::now()),
    };
    sys::socket::connect_unix(path, kind, until).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => RendezvousError::TimedOut,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => RendezvousError::Gone { pid },
        _ => system(path, error),
    })
}

/// Who is at the other end, if it is a process of this user.
pub(super) fn same_user(
    socket: BorrowedFd<'_>,
    path: &Path,
) -> Result<Option<LocalIdentity>, RendezvousError> {
    let peer = LocalIdentity::of_peer(socket).map_err(|error| system(path, error))?;
    Ok((peer.uid == Some(nix::unistd::geteuid().as_raw())).then_some(peer))
}

pub(super) fn pid_of(socket: BorrowedFd<'_>) -> Option<u32> {
    LocalIdentity::of_peer(socket).ok()?.pid
}

/// A number that was never used before.
pub(super) fn number(path: &Path) -> Result<[u8; KEY_BYTES], RendezvousError> {
    let mut number = [0; KEY_BYTES];
    sys::random::fill(&mut number).map_err(|error| system(path, error))?;
    Ok(number)
}

pub(super) fn system(path: &Path, error: io::Error) -> RendezvousError {
    RendezvousError::System { path: PathBuf::from(path), error }
}
