//! The direction from the peer.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use nix::poll::PollFlags;
use sys::ancillary::{self, ReceiveError, Received, Wait};

use super::observer::Watch;
use super::{Carrier, ConnectionError, Direction, Message, Options, Passed};
use crate::decoder::{Decoder, Framing};
use crate::frame::FrameError;
use crate::patience::Patience;

/// The half of a [`Connection`](super::Connection) that receives.
///
/// ```
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection, Patience};
///
/// let (near, far) = Connection::pair(Options::default())?;
/// let ((_, mut sender), (mut receiver, _)) = (near.split(), far.split());
/// let sending = std::thread::spawn(move || sender.send(Channel::DATA, b"from a thread"));
/// assert_eq!(receiver.receive(Patience::Forever)?.payload, "from a thread");
/// # sending.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<OwnedFd>,
    carrier: Carrier,
    payload_most: usize,
    descriptors_most: usize,
    decoder: Decoder,
    /// Where in the stream the messages begin that have descriptors.
    descriptors: VecDeque<(u64, Vec<OwnedFd>)>,
    packet: Option<Message>,
    pub(super) watch: Watch,
}

impl Receiver {
    pub(super) fn new(socket: Arc<OwnedFd>, options: Options) -> Self {
        let framing = match options.carrier {
            Carrier::Stream(framing) => framing,
            Carrier::Packets => Framing::default(),
        };
        Self {
            socket,
            carrier: options.carrier,
            payload_most: options.payload_most,
            descriptors_most: options.descriptors_most,
            decoder: Decoder::new(framing, options.payload_most),
            descriptors: VecDeque::new(),
            packet: None,
            watch: Watch::default(),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive_within`](super::Connection::receive_within).
    pub fn receive(&mut self, patience: Patience) -> Result<Message, ConnectionError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            if !self.fill(patience)? {
                return Err(ConnectionError::TimedOut);
            }
        }
    }

    /// The next message, of what has been read already.
    pub(super) fn take(&mut self) -> Result<Option<Message>, ConnectionError> {
        let message = self.take_unseen()?;
        if let Some(Message { channel, payload, descriptors }) = &message {
            let (channel, bytes, descriptors) = (*channel, payload.len(), descriptors.len());
            self.watch.tell(Passed { direction: Direction::Received, channel, bytes, descriptors });
        }
        Ok(message)
    }

    fn take_unseen(&mut self) -> Result<Option<Message>, ConnectionError> {
        if self.carrier == Carrier::Packets {
            return Ok(self.packet.take());
        }
        let position = self.decoder.position();
        let Some(frame) = self.decoder.decode()? else { return Ok(None) };
        let is_ours = self.descriptors.front().is_some_and(|(place, _)| *place == position);
        let descriptors = if is_ours { self.descriptors.pop_front() } else { None };
        Ok(Some(Message {
            channel: frame.channel,
            payload: frame.payload,
            descriptors: descriptors.map(|(_, them)| them).unwrap_or_default(),
        }))
    }

    /// The socket, for somebody who watches it.
    #[cfg(feature = "tokio")]
    pub(crate) fn socket(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket)
    }

    #[cfg(feature = "tokio")]
    pub(super) fn position(&self) -> u64 {
        self.decoder.position()
    }

    pub(super) fn allow_payload(&mut self, most: usize) {
        self.payload_most = most;
        self.decoder.allow_payload(most);
    }

    pub(super) fn has_message(&self) -> bool {
        self.packet.is_some() || self.decoder.has_message()
    }

    /// Reads once, waiting for something to read as long as `patience` says; false if nothing was
    /// there in time.
    pub(super) fn fill(&mut self, patience: Patience) -> Result<bool, ConnectionError> {
        loop {
            let done = match self.carrier {
                Carrier::Stream(_) => self.read(patience.in_call())?,
                Carrier::Packets => self.read_packet(patience.in_call())?,
            };
            if done {
                return Ok(true);
            }
            if !patience.wait(self.as_fd(), PollFlags::POLLIN).map_err(ConnectionError::System)? {
                return Ok(false);
            }
        }
    }

    /// Reads something and throws it away, with its descriptors, whether it is a message or not;
    /// false if nothing was there in time.
    pub(super) fn discard(&mut self, patience: Patience) -> Result<bool, ConnectionError> {
        let mut waste = [0; 4 << 10];
        loop {
            match ancillary::receive(self.as_fd(), &mut waste, 0, patience.in_call()) {
                Ok(received) if received.bytes == 0 => return Err(ConnectionError::Ended),
                Ok(_) | Err(ReceiveError::TooManyDescriptors { .. }) => return Ok(true),
                Err(ReceiveError::System(error)) if is_blocked(&error) => {}
                Err(ReceiveError::System(error)) => return Err(ConnectionError::of(error)),
            }
            if !patience.wait(self.as_fd(), PollFlags::POLLIN).map_err(ConnectionError::System)? {
                return Ok(false);
            }
        }
    }

    /// Reads what is there of the stream; false if nothing is.
    fn read(&mut self, wait: Wait) -> Result<bool, ConnectionError> {
        let room = self.decoder.room()?;
        let (socket, most) = (self.socket.as_fd(), self.descriptors_most);
        let received = ancillary::receive_behind(socket, room, most, wait);
        let Some(received) = judge(received)? else { return Ok(false) };
        if received.bytes == 0 {
            let is_whole = self.decoder.is_between();
            return Err(if is_whole { ConnectionError::Ended } else { ConnectionError::Truncated });
        }
        self.decoder.advance(received.bytes);
        if !received.descriptors.is_empty() {
            self.keep(received.bytes, received.descriptors)?;
        }
        Ok(true)
    }

    /// Gives descriptors to the last message that begins in the bytes that came with them. It has
    /// none yet: a message begins once.
    fn keep(&mut self, count: usize, descriptors: Vec<OwnedFd>) -> Result<(), ConnectionError> {
        let position =
            self.decoder.last_beginning(count).ok_or(ConnectionError::MisplacedDescriptors)?;
        self.descriptors.push_back((position, descriptors));
        Ok(())
    }

    /// Reads one packet; false if none is there.
    fn read_packet(&mut self, wait: Wait) -> Result<bool, ConnectionError> {
        let length = match ancillary::packet_bytes(self.socket.as_fd(), wait) {
            Ok(length) => length,
            Err(error) if is_blocked(&error) => return Ok(false),
            Err(error) => return Err(ConnectionError::of(error)),
        };
        if length > self.payload_most {
            return Err(FrameError::TooLong { length, most: self.payload_most }.into());
        }
        let mut packet = Vec::new();
        packet.try_reserve_exact(length).map_err(|_| FrameError::NoMemory { bytes: length })?;
        packet.resize(length, 0);
        let (socket, most) = (self.socket.as_fd(), self.descriptors_most);
        let received = ancillary::receive(socket, &mut packet, most, wait);
        let Some(received) = judge(received)? else { return Ok(false) };
        // The end of a connection has no sender; an empty packet has one.
        if received.bytes == 0 && received.credentials.is_none() {
            return Err(ConnectionError::Ended);
        }
        packet.truncate(received.bytes);
        self.packet = Some(Message {
            payload: Bytes::from(packet),
            descriptors: received.descriptors,
            ..Message::default()
        });
        Ok(true)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What came, or nothing yet.
fn judge(received: Result<Received, ReceiveError>) -> Result<Option<Received>, ConnectionError> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(ReceiveError::System(error)) if is_blocked(&error) => Ok(None),
        Err(ReceiveError::System(error)) => Err(ConnectionError::of(error)),
        Err(ReceiveError::TooManyDescriptors { most }) => {
            Err(ConnectionError::TooManyDescriptors { most })
        }
    }
}

pub(super) fn is_blocked(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
}
