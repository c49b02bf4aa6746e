//! One client's connection: which protocol it speaks, and its bytes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libipc::varlink::Bytes;
use libipc::wire::{Limits, Progress, Reading, Wire, WireError};
use sys::ancillary::{self, Wait};
use sys::credentials::PeerCredentials;

use crate::lookup::{Lookup, OK, Wanted};

/// Bytes that a client may have waiting to be collected.
const QUEUE_BYTES_MOST: usize = 512 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    protocol: Protocol,
    who: PeerCredentials,
}

#[derive(Debug)]
enum Protocol {
    /// Nothing has come yet.
    Unknown(OwnedFd),
    Varlink(Box<Wire>),
    /// The first libipc's.
    Lookup(OwnedFd, Lookup),
    /// Given away or broken.
    Over,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A varlink message.
    Message(Bytes),
    /// A request in the first libipc's protocol.
    Lookup(Wanted),
}

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Read {
    /// Something whole.
    Sent(Sent),
    /// Nothing whole yet. True if something unfinished is there.
    Nothing { unfinished: bool },
    /// The client is gone, or broke the rules; `why` for the log.
    Over { why: Option<String> },
}

impl Connection {
    /// Takes over an accepted socket.
    pub(crate) fn new(socket: OwnedFd, who: PeerCredentials) -> Self {
        Self { protocol: Protocol::Unknown(socket), who }
    }

    /// Reads until something whole is there, or nothing is left.
    pub(crate) fn read(&mut self) -> Read {
        if let Protocol::Unknown(socket) = &self.protocol {
            let mut first = [0];
            match ancillary::peek(socket.as_fd(), &mut first, Wait::Never) {
                Ok(0) => return Read::Over { why: None },
                Ok(_) => self.choose(first == [0]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Read::Nothing { unfinished: false };
                }
                Err(_) => return Read::Over { why: None },
            }
        }
        match &mut self.protocol {
            Protocol::Varlink(wire) => read_varlink(wire),
            Protocol::Lookup(socket, lookup) => read_lookup(socket.as_fd(), lookup),
            Protocol::Unknown(_) | Protocol::Over => Read::Over { why: None },
        }
    }

    /// The first byte tells: a frame of the first libipc begins with a zero.
    fn choose(&mut self, is_old: bool) {
        let Protocol::Unknown(socket) = std::mem::replace(&mut self.protocol, Protocol::Over)
        else {
            return;
        };
        if is_old {
            self.protocol = Protocol::Lookup(socket, Lookup::default());
            return;
        }
        let limits = Limits { queue_bytes: QUEUE_BYTES_MOST, ..Limits::default() };
        let mut wire = Wire::new(socket, Reading::Exact, limits);
        wire.expect_sender(self.who);
        self.protocol = Protocol::Varlink(Box::new(wire));
    }

    /// Queues a message and sends what can be sent. True once nothing waits.
    ///
    /// # Errors
    ///
    /// The client is gone, or does not collect.
    pub(crate) fn send(
        &mut self,
        message: Bytes,
        descriptor: Option<OwnedFd>,
    ) -> Result<bool, WireError> {
        if matches!(self.protocol, Protocol::Unknown(_)) {
            self.choose(false);
        }
        let Protocol::Varlink(wire) = &mut self.protocol else { return Ok(true) };
        wire.queue(message, descriptor)?;
        wire.flush(Wait::Never)
    }

    /// Sends what waits. True once nothing does.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(crate) fn flush(&mut self) -> Result<bool, WireError> {
        match &mut self.protocol {
            Protocol::Varlink(wire) => wire.flush(Wait::Never),
            _ => Ok(true),
        }
    }

    /// Whether something waits to be sent.
    pub(crate) fn has_outgoing(&self) -> bool {
        match &self.protocol {
            Protocol::Varlink(wire) => wire.has_outgoing(),
            Protocol::Unknown(_) | Protocol::Lookup(..) | Protocol::Over => false,
        }
    }

    /// Gives a client of the first libipc its descriptor: `ok` with the descriptor riding on it.
    pub(crate) fn provide(&mut self, descriptor: BorrowedFd<'_>) -> std::io::Result<()> {
        if let Protocol::Lookup(socket, _) = &self.protocol {
            ancillary::send(socket.as_fd(), OK, &[descriptor], Wait::Never)?;
        }
        Ok(())
    }

    /// The socket, while it is ours.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.protocol {
            Protocol::Unknown(socket) | Protocol::Lookup(socket, _) => Some(socket.as_fd()),
            Protocol::Varlink(wire) => Some(wire.as_fd()),
            Protocol::Over => None,
        }
    }
}

fn read_varlink(wire: &mut Wire) -> Read {
    loop {
        match wire.take() {
            Ok(Some(message)) => return Read::Sent(Sent::Message(message.bytes)),
            Ok(None) => {}
            Err(error) => return Read::Over { why: Some(error.to_string()) },
        }
        match wire.receive(Wait::Never) {
            Ok(Progress::Some) => {}
            Ok(Progress::Blocked) => {
                return Read::Nothing { unfinished: !wire.pending().is_empty() };
            }
            Ok(Progress::Ended) | Err(WireError::System(_)) => return Read::Over { why: None },
            Err(error) => return Read::Over { why: Some(error.to_string()) },
        }
    }
}

fn read_lookup(socket: BorrowedFd<'_>, lookup: &mut Lookup) -> Read {
    let mut chunk = zeroize::Zeroizing::new([0; 4096]);
    loop {
        let received = match ancillary::receive(socket, &mut *chunk, 0, Wait::Never) {
            Ok(received) if received.bytes == 0 => return Read::Over { why: None },
            Ok(received) => received,
            Err(ancillary::ReceiveError::System(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                return Read::Nothing { unfinished: true };
            }
            Err(error) => return Read::Over { why: Some(error.to_string()) },
        };
        match lookup.push(chunk.get(..received.bytes).unwrap_or_default()) {
            Ok(Some(wanted)) => return Read::Sent(Sent::Lookup(wanted)),
            Ok(None) => {}
            Err(error) => return Read::Over { why: Some(format!("{error:?}")) },
        }
    }
}
