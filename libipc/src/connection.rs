//! Messages over a stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use nix::poll::PollFlags;
use serde::de::DeserializeOwned;
use sys::socket::SocketKind;

use crate::channel::Channel;
use crate::decoder::Framing;
use crate::frame;
use crate::identity::{Identity, Peer};
use crate::patience::Patience;
use crate::session::refusal;
use crate::stream::Stream;
use crate::typed::{ContentError, Encoding};

pub use error::ConnectionError;
use observer::Watch;
pub use observer::{Direction, Observer, Passed};
pub use receiver::Receiver;
pub use sender::Sender;

mod error;
mod observer;
mod receiver;
mod sender;

/// One message that came.
///
/// ```
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection, Message};
///
/// let (mut near, mut far) = Connection::pair(Options::default())?;
/// near.send(Channel::DATA, b"hello")?;
/// let Message { channel, payload, descriptors } = far.receive()?;
/// assert_eq!((channel, &payload[..], descriptors.len()), (Channel::DATA, &b"hello"[..], 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Message {
    /// Its channel; zero where there are none.
    pub channel: Channel,
    /// Its content: a slice of what was read.
    pub payload: Bytes,
    /// What came with it, close-on-exec; the receiver's from now on.
    pub descriptors: Vec<OwnedFd>,
}

impl Message {
    /// Its content as a value.
    ///
    /// # Errors
    ///
    /// [`ContentError`]: what is wrong with it, and where.
    pub fn value<T: DeserializeOwned>(&self, encoding: Encoding) -> Result<T, ContentError> {
        encoding.read(&self.payload)
    }

    /// Why the other side lets nobody in, if this is what it says: a message on channel 4, before
    /// it closes the connection.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        (self.channel == Channel::ERROR).then(|| refusal::read(&self.payload))
    }
}

/// What tells messages apart.
///
/// ```
/// use libipc::connection::{Carrier, Options};
/// use libipc::{Channel, Connection};
///
/// let (mut near, mut far) = Connection::pair(Options::of(Carrier::Packets))?;
/// near.send(Channel::default(), b"")?;
/// assert!(far.receive()?.payload.is_empty(), "an empty packet is a message");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// A header before each of them, in a stream of bytes.
    Stream(Framing),
    /// The kernel: each packet of a `SOCK_SEQPACKET` socket is one message, as GIPS has it. There
    /// are no channels.
    Packets,
}

impl Carrier {
    /// The kind of socket that it needs.
    #[must_use]
    pub fn socket_kind(self) -> SocketKind {
        match self {
            Self::Stream(_) => SocketKind::Stream,
            Self::Packets => SocketKind::SeqPacket,
        }
    }
}

/// What is agreed about a connection before the first message.
///
/// ```
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection};
///
/// let (mut near, _far) = Connection::pair(Options { payload_most: 4, ..Options::default() })?;
/// let error = near.send(Channel::DATA, b"hello").unwrap_err();
/// assert_eq!(error.to_string(), "a message of 5 bytes, the most is 4");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// What tells messages apart.
    pub carrier: Carrier,
    /// Bytes of one payload at most, both ways.
    pub payload_most: usize,
    /// Descriptors that may come with one message, at most 253.
    pub descriptors_most: usize,
    /// Bytes that may wait to be sent, headers included.
    pub outgoing_most: usize,
}

impl Default for Options {
    /// Frames of at most 16 MiB with at most 253 descriptors; as much again may wait to be sent.
    fn default() -> Self {
        Self {
            carrier: Carrier::Stream(Framing::Frames),
            payload_most: frame::PAYLOAD_MOST,
            descriptors_most: sys::ancillary::DESCRIPTORS_MOST,
            outgoing_most: frame::PAYLOAD_MOST + (1 << 20),
        }
    }
}

impl Options {
    /// The default limits for another carrier.
    #[must_use]
    pub fn of(carrier: Carrier) -> Self {
        Self { carrier, ..Self::default() }
    }
}

/// A connection that carries messages, with channels and descriptors, both ways.
///
/// ```
/// use libipc::{Channel, Connection, Stream};
///
/// let (left, right) = Stream::pair()?;
/// let (mut asks, mut answers) = (Connection::new(left), Connection::new(right));
/// asks.send(Channel::COMMAND, b"what is it?")?;
/// let question = answers.receive()?;
/// answers.send(question.channel, b"a message")?;
/// assert_eq!(&asks.receive()?.payload[..], b"a message");
/// # Ok::<(), libipc::ConnectionError>(())
/// ```
///
/// Several messages leave in one call of the kernel if they were [queued](Connection::queue), and
/// several come in one call whenever they are there. The flags of the socket are never changed,
/// and whether somebody has set it non-blocking makes no difference. [`Connection::split`] lets
/// one thread send while another receives; more threads share a half behind a `Mutex`.
///
/// After an error but [`ConnectionError::TimedOut`], [`ConnectionError::QueueFull`] and those of a
/// message that was refused before anything was sent, a connection is of no further use.
#[derive(Debug)]
pub struct Connection {
    receiver: Receiver,
    sender: Sender,
    peer: Peer,
}

impl Connection {
    /// Frames over `stream`, with the default limits.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self::over(stream, Options::default())
    }

    fn over(stream: Stream, options: Options) -> Self {
        let (peer, leads_elsewhere) = (stream.peer_to_be_asked(), stream.leads_elsewhere());
        let socket = Arc::new(OwnedFd::from(stream));
        let receiver = Receiver::new(Arc::clone(&socket), options);
        Self { receiver, sender: Sender::new(socket, options, leads_elsewhere), peer }
    }

    /// Messages over `stream` as `options` say. For [`Carrier::Packets`] the stream has to be a
    /// socket of packets, see [`crate::Address`].
    ///
    /// # Errors
    ///
    /// The kernel's, if a socket of packets is none.
    pub fn with(stream: Stream, options: Options) -> io::Result<Self> {
        if options.carrier == Carrier::Packets {
            // Nothing else tells an empty packet from the end.
            sys::credentials::pass_credentials(stream.as_fd(), true)?;
        }
        Ok(Self::over(stream, options))
    }

    /// Two connections that lead to each other, both of this process.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn pair(options: Options) -> io::Result<(Self, Self)> {
        let (left, right) = sys::socket::unix_pair(options.carrier.socket_kind())?;
        let with = |socket| Self::with(Stream::new(socket, None), options);
        Ok((with(left)?, with(right)?))
    }

    /// What is proven about the other end; `None` where nobody has looked.
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        self.peer.identity(self.as_fd())
    }

    /// Sends a message, and waits while the peer does not read. What was queued goes before it.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`]: the peer is gone, or the message cannot be sent at all.
    pub fn send(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        self.sender.send(channel, payload)
    }

    /// As [`Connection::send`], with at most 253 descriptors, which the peer gets copies of, and
    /// with patience: `Ok` once the message has begun to leave. What of it has not left by then
    /// goes before whatever is sent next, or with [`Connection::flush`].
    ///
    /// # Errors
    ///
    /// [`ConnectionError::TimedOut`] if nothing of the message could be sent.
    pub fn send_within(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Patience,
    ) -> Result<(), ConnectionError> {
        self.sender.send_within(channel, payload, descriptors, patience)
    }

    /// Puts a message behind what waits to be sent. It leaves with others once there is enough for
    /// one call of the kernel, before the next [`Connection::receive`] waits, or with
    /// [`Connection::flush`]. Never waits.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::QueueFull`] if the peer does not read; otherwise as
    /// [`Connection::send`].
    pub fn queue(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        self.sender.queue(channel, payload)
    }

    /// Sends what is queued; true once nothing waits.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`]: the peer is gone.
    pub fn flush(&mut self, patience: Patience) -> Result<bool, ConnectionError> {
        self.sender.flush(patience)
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn outgoing_bytes(&self) -> usize {
        self.sender.outgoing_bytes()
    }

    /// Waits for the next message. What was queued is sent before.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Ended`] once the peer will send nothing more;
    /// [`ConnectionError::Truncated`] if it ended within a message.
    pub fn receive(&mut self) -> Result<Message, ConnectionError> {
        self.receive_within(Patience::Forever)
    }

    /// As [`Connection::receive`], with patience.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::TimedOut`] if no message was there in time; what has come of one is
    /// kept.
    pub fn receive_within(&mut self, patience: Patience) -> Result<Message, ConnectionError> {
        loop {
            if let Some(message) = self.receiver.take()? {
                return Ok(message);
            }
            if self.sender.flush(Patience::Never)? {
                if !self.receiver.fill(patience)? {
                    return Err(ConnectionError::TimedOut);
                }
            } else if !self.receiver.fill(Patience::Never)? {
                // Both at once: the peer may be waiting for us to read before it reads.
                let events = PollFlags::POLLIN | PollFlags::POLLOUT;
                let is_ready = patience.wait(self.as_fd(), events);
                if !is_ready.map_err(ConnectionError::System)? {
                    return Err(ConnectionError::TimedOut);
                }
            }
        }
    }

    /// The next message if it is there; waits for nothing.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`].
    pub fn try_receive(&mut self) -> Result<Option<Message>, ConnectionError> {
        match self.receive_within(Patience::Never) {
            Ok(message) => Ok(Some(message)),
            Err(ConnectionError::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a whole message has been read already, so that waiting for the descriptor to become
    /// readable would be wrong. False also where the next [`Connection::receive`] is an error.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.receiver.has_message()
    }

    /// Has somebody told of each message that passes from now on, of those of a session on channel 0
    /// too.
    pub fn observe(&mut self, observer: Arc<Observer>) {
        self.receiver.watch = Watch(Some(Arc::clone(&observer)));
        self.sender.watch = Watch(Some(observer));
    }

    /// Throws away something of what the peer sends, whatever it is; false if nothing was there in
    /// time. No message can be received any more after that.
    pub(crate) fn discard(&mut self, patience: Patience) -> Result<bool, ConnectionError> {
        self.receiver.discard(patience)
    }

    /// Where in the peer's stream the message begins that is received next.
    #[cfg(feature = "tokio")]
    pub(crate) fn position(&self) -> u64 {
        self.receiver.position()
    }

    /// Takes payloads of up to that many bytes from now on.
    pub(crate) fn allow_payload(&mut self, most: usize) {
        self.receiver.allow_payload(most);
    }

    /// Sends payloads of up to that many bytes from now on.
    pub(crate) fn allow_sending(&mut self, most: usize) {
        self.sender.allow_payload(most);
    }

    /// Says that nothing more will be sent: the peer finds the end behind the last message.
    ///
    /// # Errors
    ///
    /// As [`Connection::flush`]; `ENOTCONN` if the peer is gone.
    pub fn end_sending(&mut self) -> Result<(), ConnectionError> {
        self.sender.flush(Patience::Forever)?;
        sys::socket::end_sending(self.as_fd()).map_err(ConnectionError::System)
    }

    /// The two directions, for two threads.
    #[must_use]
    pub fn split(self) -> (Receiver, Sender) {
        (self.receiver, self.sender)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

#[cfg(test)]
mod tests;
