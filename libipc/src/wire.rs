//! Varlink with descriptors over a Unix socket.
//!
//! A message with descriptors is sent by a `sendmsg` of its own; the receiver gives them to the
//! last message that *begins* in the bytes that came with them. See `docs/protocol.md`,
//! "Descriptors".

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use sys::ancillary::Wait;
use sys::ancillary::{self, ReceiveError};
use sys::credentials::PeerCredentials;

use crate::varlink::{Bytes, Decoder};

mod error;

pub use error::WireError;

/// What a peer may make us hold.
///
/// ```
/// use libipc::wire::Limits;
///
/// let limits = Limits { descriptors: 0, ..Limits::default() };
/// assert_eq!(limits.message_bytes, libipc::varlink::MESSAGE_BYTES_MOST);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Descriptors that come with one message.
    pub descriptors: usize,
    /// Bytes that wait to be sent.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let message_bytes = crate::varlink::MESSAGE_BYTES_MOST;
        Self { message_bytes, descriptors: 1, queue_bytes: 4 * message_bytes }
    }
}

/// How much is taken out of the socket.
///
/// ```
/// use std::os::unix::net::UnixStream;
///
/// use libipc::wire::{Limits, Reading, Wait, Wire};
///
/// let (near, mut far) = UnixStream::pair().unwrap();
/// std::io::Write::write_all(&mut far, b"{}\0what follows").unwrap();
/// let mut wire = Wire::new(near.into(), Reading::Exact, Limits::default());
/// wire.receive(Wait::Block)?;
/// assert_eq!(&wire.take()?.unwrap().bytes[..], b"{}");
/// assert!(wire.pending().is_empty(), "the rest is left to whoever reads the socket next");
/// # Ok::<(), libipc::wire::WireError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// Whatever is there: fewest system calls.
    Eager,
    /// Nothing behind the message: what follows may belong to somebody else.
    Exact,
}

/// One message that came.
///
/// ```
/// use std::os::unix::net::UnixStream;
///
/// use libipc::wire::{Limits, Message, Reading, Wait, Wire};
///
/// let (near, mut far) = UnixStream::pair().unwrap();
/// std::io::Write::write_all(&mut far, b"{}\0").unwrap();
/// let mut wire = Wire::new(near.into(), Reading::Eager, Limits::default());
/// wire.receive(Wait::Block)?;
/// let Message { bytes, descriptors, sender } = wire.take()?.unwrap();
/// assert!(&bytes[..] == b"{}" && descriptors.is_empty() && sender.is_none());
/// # Ok::<(), libipc::wire::WireError>(())
/// ```
#[derive(Debug)]
pub struct Message {
    /// Its bytes, without the NUL.
    pub bytes: Bytes,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
    /// Who wrote it, where the socket passes credentials. All of a message has one writer.
    pub sender: Option<PeerCredentials>,
}

/// What a [`Wire::receive`] found.
///
/// ```
/// use std::os::unix::net::UnixStream;
///
/// use libipc::wire::{Limits, Progress, Reading, Wait, Wire};
///
/// let (near, far) = UnixStream::pair().unwrap();
/// let mut wire = Wire::new(near.into(), Reading::Eager, Limits::default());
/// assert_eq!(wire.receive(Wait::Never)?, Progress::Blocked);
/// drop(far);
/// assert_eq!(wire.receive(Wait::Never)?, Progress::Ended);
/// # Ok::<(), libipc::wire::WireError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Bytes came; there may be messages now.
    Some,
    /// Nothing has come yet.
    Blocked,
    /// The peer will send nothing more.
    Ended,
}

/// A connection that carries varlink messages, with descriptors, both ways.
///
/// It never changes flags of the socket; whether a call waits is said at each call.
///
/// ```
/// use std::os::unix::net::UnixStream;
///
/// use libipc::varlink::{self, CallFlags};
/// use libipc::wire::{Limits, Message, Progress, Reading, Wait, Wire};
///
/// let (near, far) = UnixStream::pair().unwrap();
/// let wire = |socket: UnixStream| Wire::new(socket.into(), Reading::Eager, Limits::default());
/// let (mut near, mut far) = (wire(near), wire(far));
/// near.queue(varlink::call("a.B", &(), CallFlags::default()), None)?;
/// assert!(near.flush(Wait::Block)?);
/// assert_eq!(far.receive(Wait::Block)?, Progress::Some);
/// let Message { bytes, descriptors, .. } = far.take()?.unwrap();
/// assert_eq!(varlink::read_call(&bytes).unwrap().method, "a.B");
/// assert!(descriptors.is_empty());
/// # Ok::<(), libipc::wire::WireError>(())
/// ```
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    reading: Reading,
    limits: Limits,
    decoder: Decoder,
    /// Messages that began so far, and messages that were taken.
    begun: u64,
    taken: u64,
    descriptors: VecDeque<(u64, Vec<OwnedFd>)>,
    /// Who writes, from which message on.
    senders: VecDeque<(u64, Option<PeerCredentials>)>,
    outgoing: VecDeque<Outgoing>,
    outgoing_bytes: usize,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Bytes,
    sent: usize,
    descriptor: Option<OwnedFd>,
}

/// Bytes that one receive takes at most.
const CHUNK_BYTES: usize = 4096;

impl Wire {
    /// Takes over a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd, reading: Reading, limits: Limits) -> Self {
        Self {
            socket,
            reading,
            limits,
            decoder: Decoder::new(limits.message_bytes),
            begun: 0,
            taken: 0,
            descriptors: VecDeque::new(),
            senders: VecDeque::new(),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
        }
    }

    /// Bytes that came and are no whole message yet.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.decoder.pending()
    }

    /// Whether something waits to be sent.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes what has come out of the socket, once.
    ///
    /// # Errors
    ///
    /// [`WireError`]; close the connection.
    pub fn receive(&mut self, wait: Wait) -> Result<Progress, WireError> {
        let mut chunk = sys::wiped::Wiped::new([0_u8; CHUNK_BYTES]);
        let wanted = match self.reading {
            Reading::Eager => CHUNK_BYTES,
            Reading::Exact => match self.length_of_next(&mut *chunk, wait)? {
                Some(length) => length,
                None => return Ok(Progress::Blocked),
            },
        };
        let room = chunk.get_mut(..wanted.max(1)).unwrap_or_default();
        let most = self.limits.descriptors;
        let received = match ancillary::receive(self.socket.as_fd(), room, most, wait) {
            Ok(received) => received,
            Err(ReceiveError::System(error)) if is_blocked(&error) => return Ok(Progress::Blocked),
            Err(ReceiveError::System(error)) => return Err(WireError::System(error)),
            Err(ReceiveError::TooManyDescriptors { most }) => {
                return Err(WireError::TooManyDescriptors { most });
            }
        };
        if received.bytes == 0 {
            return Ok(Progress::Ended);
        }
        let bytes = room.get(..received.bytes).unwrap_or_default();
        self.note_sender(received.credentials.map(PeerCredentials::of_message))?;
        self.accept_bytes(bytes, received.descriptors)?;
        Ok(Progress::Some)
    }

    /// How many bytes belong to the message that comes next, or are there of it; zero at the end
    /// of the stream.
    fn length_of_next(&self, chunk: &mut [u8], wait: Wait) -> Result<Option<usize>, WireError> {
        match ancillary::peek(self.socket.as_fd(), chunk, wait) {
            Ok(there) => {
                let seen = chunk.get(..there).unwrap_or_default();
                let end = seen.iter().position(|byte| *byte == 0);
                Ok(Some(end.map_or(there, |end| end + 1)))
            }
            Err(error) if is_blocked(&error) => Ok(None),
            Err(error) => Err(WireError::System(error)),
        }
    }

    /// The kernel never gives bytes of two writers in one piece.
    fn note_sender(&mut self, sender: Option<PeerCredentials>) -> Result<(), WireError> {
        if self.senders.back().is_some_and(|(_, last)| *last == sender) {
            return Ok(());
        }
        if !self.decoder.is_empty() {
            return Err(WireError::MixedSenders);
        }
        self.senders.push_back((self.begun + 1, sender));
        Ok(())
    }

    fn accept_bytes(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<(), WireError> {
        let begins = u64::from(self.decoder.is_empty()) + messages_behind_others(bytes);
        self.begun += begins;
        self.decoder.push(bytes);
        if descriptors.is_empty() {
            return Ok(());
        }
        if begins == 0 {
            return Err(WireError::MisplacedDescriptors);
        }
        if self.descriptors.back().is_some_and(|(message, _)| *message == self.begun) {
            return Err(WireError::TooManyDescriptors { most: self.limits.descriptors });
        }
        self.descriptors.push_back((self.begun, descriptors));
        Ok(())
    }

    /// Takes the next whole message.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]; close the connection.
    pub fn take(&mut self) -> Result<Option<Message>, WireError> {
        let Some(bytes) = self.decoder.take().map_err(WireError::TooLong)? else {
            return Ok(None);
        };
        self.taken += 1;
        let taken = self.taken;
        let is_ours = self.descriptors.front().is_some_and(|(message, _)| *message == taken);
        let descriptors = if is_ours { self.descriptors.pop_front() } else { None };
        let descriptors = descriptors.map(|(_, them)| them).unwrap_or_default();
        while self.senders.get(1).is_some_and(|(from, _)| *from <= taken) {
            self.senders.pop_front();
        }
        let sender = self.senders.front().and_then(|(_, sender)| *sender);
        Ok(Some(Message { bytes, descriptors, sender }))
    }

    /// Puts a message in the queue; [`Wire::flush`] sends it.
    ///
    /// # Errors
    ///
    /// [`WireError::QueueFull`]; close the connection.
    pub fn queue(&mut self, bytes: Bytes, descriptor: Option<OwnedFd>) -> Result<(), WireError> {
        self.outgoing_bytes += bytes.len();
        if self.outgoing_bytes > self.limits.queue_bytes {
            return Err(WireError::QueueFull { most: self.limits.queue_bytes });
        }
        self.outgoing.push_back(Outgoing { bytes, sent: 0, descriptor });
        Ok(())
    }

    /// Sends what is queued. True once nothing waits; false if the peer has to collect first.
    /// Our copy of a descriptor is closed as soon as it has left.
    ///
    /// # Errors
    ///
    /// [`WireError::System`]; close the connection.
    pub fn flush(&mut self, wait: Wait) -> Result<bool, WireError> {
        while let Some(next) = self.outgoing.front_mut() {
            let rest = next.bytes.get(next.sent..).unwrap_or_default();
            let riding: Vec<BorrowedFd<'_>> = next.descriptor.iter().map(AsFd::as_fd).collect();
            match ancillary::send(self.socket.as_fd(), rest, &riding, wait) {
                Ok(sent) => {
                    next.sent += sent;
                    next.descriptor = None;
                    self.outgoing_bytes -= sent;
                    if next.sent == next.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(error) if is_blocked(&error) => return Ok(false),
                Err(error) => return Err(WireError::System(error)),
            }
        }
        Ok(true)
    }

    /// Gives the socket back.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Messages that begin in `bytes` behind the end of another one.
fn messages_behind_others(bytes: &[u8]) -> u64 {
    let (_, inner) = bytes.split_last().unwrap_or((&0, &[]));
    inner.iter().map(|byte| u64::from(*byte == 0)).sum()
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests;
