//! One connection that is being made: from the broker's call to the socket that it gets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use libipc::interface::transport::{Dial, TransportError};
use libipc::poller::Token;
use libipc::varlink::Bytes;
use relay::failure;
use relay::hello::{self, Reader};
use sys::ancillary::{self, Wait};

use crate::options::Options;
use crate::race::Race;

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// What the broker wants.
    pub(crate) wanted: Dial,
    /// What its options say.
    pub(crate) options: Options,
    /// What its question to the resolver is known by: an answer to an earlier one is not for it.
    pub(crate) lookup: Token,
    /// When it is too late.
    pub(crate) deadline: Instant,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Why the last attempt failed.
    pub(crate) last: Option<io::Error>,
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The name is being resolved.
    Resolving,
    /// Addresses are being tried; each attempt with the token that it is watched under.
    Racing(Race, Vec<Attempt>),
    /// Connected; the far daemon is being asked.
    Asking(Box<Asking>),
}

/// One address that is being tried.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its token.
    pub(crate) token: Token,
    /// The address.
    pub(crate) address: SocketAddr,
    /// The socket.
    pub(crate) socket: OwnedFd,
}

/// A hello on its way, or its answer.
#[derive(Debug)]
pub(crate) struct Asking {
    /// The connected attempt.
    pub(crate) attempt: Attempt,
    unsent: Bytes,
    sent: usize,
    reader: Reader,
}

/// How far the asking is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// There is something left to send.
    Sending,
    /// The answer has not come.
    Waiting,
    /// The far daemon said yes; nothing behind that has been read.
    Yes,
}

impl Asking {
    /// Begins to ask over a connected socket.
    pub(crate) fn new(attempt: Attempt, hello: &libipc::interface::transport::Hello) -> Self {
        Self { attempt, unsent: hello::ask(hello, None), sent: 0, reader: Reader::default() }
    }

    /// Sends and reads what is possible now.
    pub(crate) fn advance(&mut self) -> Result<Progress, TransportError> {
        let socket = self.attempt.socket.as_fd();
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ancillary::send(socket, rest, &[], Wait::Never) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Sending);
                }
                Err(error) => return Err(failure::unreachable(&error)),
            }
        }
        match read_exactly(socket, &mut self.reader) {
            Ok(None) => Ok(Progress::Waiting),
            Ok(Some(answer)) => match hello::read_answer(&answer) {
                Ok(Ok(_)) => Ok(Progress::Yes),
                Ok(Err(refused)) => Err(failure::refused(&refused)),
                Err(error) => Err(TransportError::Protocol { reason: error.to_string() }),
            },
            Err(error) => Err(error.into_transport_error()),
        }
    }
}

/// Why a message at the front of a stream cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The stream ended in the middle of it, or before.
    Ended,
    /// The kernel's answer.
    System(io::Error),
    /// It is too long.
    Hello(hello::HelloError),
}

impl ReadError {
    fn into_transport_error(self) -> TransportError {
        match self {
            Self::Ended => failure::silent(),
            Self::System(error) => failure::unreachable(&error),
            Self::Hello(error) => TransportError::Protocol { reason: error.to_string() },
        }
    }
}

/// Reads a message at the front of a stream, and nothing behind it. `None`: more has to come.
pub(crate) fn read_exactly(
    socket: std::os::fd::BorrowedFd<'_>,
    reader: &mut Reader,
) -> Result<Option<Bytes>, ReadError> {
    let mut chunk = [0; 4096];
    loop {
        let there = match ancillary::peek(socket, &mut chunk, Wait::Never) {
            Ok(0) => return Err(ReadError::Ended),
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(ReadError::System(error)),
        };
        let hello::Take(count) = reader.wants(chunk.get(..there).unwrap_or_default());
        let wanted = chunk.get_mut(..count).unwrap_or_default();
        let taken = match ancillary::receive(socket, wanted, 0, Wait::Never) {
            Ok(received) => received.bytes,
            Err(error) => return Err(ReadError::System(io::Error::other(error))),
        };
        let taken = chunk.get(..taken).unwrap_or_default();
        if let Some(message) = reader.push(taken).map_err(ReadError::Hello)? {
            return Ok(Some(message));
        }
    }
}
