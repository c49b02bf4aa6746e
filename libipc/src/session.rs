//! Messages on agreed channels, with requests, pings and farewells.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::Channel;
use crate::connection::{Connection, ConnectionError, Observer};
use crate::identity::Identity;
use crate::patience::Patience;
use crate::secret::Secret;
use crate::typed::{ContentError, Encoding};

#[cfg(feature = "schema")]
pub use checks::Checked;
use conversation::Conversation;
pub use error::{HelloError, SessionError};
pub use hello::{CHANNELS_MOST, PROTOCOL, TOKEN_BYTES_MOST, VERSION};
pub use options::{ClientOptions, HELLO_BYTES_MOST, Limits, Refused, ServerOptions, Verify};
use requests::Kind;
pub use requests::{ReplyTo, RequestId};

mod asking;
pub(crate) mod beginning;
mod checks;
mod control;
mod conversation;
mod ending;
mod error;
mod hello;
pub(crate) mod inbox;
mod options;
pub(crate) mod refusal;
mod requests;
#[cfg(feature = "tokio")]
mod sharing;

/// What the two sides have agreed.
///
/// ```
/// use libipc::session::{ClientOptions, ServerOptions, Session};
/// use libipc::Channel;
///
/// # let (near, far) = libipc::Stream::pair()?;
/// # let serving = std::thread::spawn(move || {
/// #     let mut session = Session::accept(far, &ServerOptions::default(), "peer-1")?;
/// #     session.send(Channel::DATA, b"42")
/// # });
/// let session = Session::connect(near, &ClientOptions::new(&[Channel::DATA]))?;
/// let agreed = session.negotiated().unwrap();
/// assert_eq!((&agreed.channels[..], agreed.peer_id.as_str()), (&[Channel::DATA][..], "peer-1"));
/// # serving.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Negotiated {
    /// The channels, in the client's order.
    pub channels: Vec<Channel>,
    /// What the server calls the client.
    pub peer_id: String,
    /// The version that the other side speaks.
    pub version: String,
    /// Whether requests are numbered, so that several can be under way.
    pub request_ids: bool,
}

/// One message of a session.
///
/// ```
/// use libipc::session::{ClientOptions, Received, ServerOptions, Session};
/// use libipc::typed::Encoding;
/// use libipc::Channel;
///
/// # let (near, far) = libipc::Stream::pair()?;
/// # let serving = std::thread::spawn(move || {
/// #     let mut session = Session::accept(far, &ServerOptions::default(), "peer-1")?;
/// #     session.send(Channel::DATA, b"42")
/// # });
/// let mut session = Session::connect(near, &ClientOptions::default())?;
/// let message: Received = session.receive()?;
/// assert_eq!((message.channel, message.value(Encoding::Json).ok()), (Channel::DATA, Some(42)));
/// # serving.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Received {
    /// Its channel.
    pub channel: Channel,
    /// Its content: a slice of what was read.
    pub payload: Bytes,
    /// What came with it; the receiver's from now on.
    pub descriptors: Vec<OwnedFd>,
    /// How to answer it, if it came on channel 1 and is or may be a request.
    pub request: Option<ReplyTo>,
}

impl Received {
    /// Its content as a value.
    ///
    /// # Errors
    ///
    /// [`ContentError`]: what is wrong with it, and where.
    pub fn value<T: DeserializeOwned>(&self, encoding: Encoding) -> Result<T, ContentError> {
        encoding.read(&self.payload)
    }
}

/// Messages on agreed channels over a stream, with requests, pings and farewells.
///
/// The bytes are those of ipcprims 0.2: its programs and ours understand each other.
///
/// ```
/// use libipc::session::{ClientOptions, ServerOptions, Session};
/// use libipc::{Channel, Patience, Stream};
///
/// let (near, far) = Stream::pair()?;
/// let server = std::thread::spawn(move || {
///     let mut session = Session::accept(far, &ServerOptions::default(), "peer-1")?;
///     let question = session.receive()?;
///     session.answer(question.request.unwrap(), b"42")
/// });
/// let mut session = Session::connect(near, &ClientOptions::default())?;
/// let answer = session.request(b"{\"action\":\"compute\"}", Patience::Forever)?;
/// assert_eq!(&answer[..], b"42");
/// # server.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The library has no threads: pings of the peer are answered, and a silent one is noticed, while
/// a call waits. A session is used by one thread at a time; others share it behind a `Mutex`.
///
/// After an error but a timeout, [`SessionError::Channel`] of a message that was to be sent,
/// [`SessionError::OneAtATime`], [`SessionError::UnknownRequest`] and those of a message's content,
/// a session is of no further use.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    state: State,
    token: Option<Secret>,
    limits: Limits,
    checks: checks::Checks,
}

#[derive(Debug)]
enum State {
    /// The client has spoken, the server not yet.
    Greeted(Box<ClientOptions>),
    Open(Box<Conversation>),
}

impl Session {
    /// What was agreed; `None` before the server has answered.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        match &self.state {
            State::Open(conversation) => Some(&conversation.negotiated),
            State::Greeted(_) => None,
        }
    }

    /// Whether messages may be sent on `channel`.
    #[must_use]
    pub fn has_channel(&self, channel: Channel) -> bool {
        match &self.state {
            State::Open(conversation) => conversation.negotiated.channels.contains(&channel),
            State::Greeted(options) => options.channels.contains(&channel),
        }
    }

    /// What is proven about the other end; `None` where nobody has looked.
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        self.connection.peer()
    }

    /// Has somebody told of each message that passes from now on, those on channel 0 included, as
    /// [`Connection::observe`] does. Payloads of numbered requests count with their prefix.
    pub fn observe(&mut self, observer: Arc<Observer>) {
        self.connection.observe(observer);
    }

    /// The token that the client has shown, for the server; it is given away once.
    pub fn take_token(&mut self) -> Option<Secret> {
        self.token.take()
    }

    /// Sends a message and waits while the peer does not read.
    ///
    /// # Errors
    ///
    /// [`SessionError::Channel`] if it was not agreed; otherwise [`SessionError::Connection`].
    pub fn send(&mut self, channel: Channel, payload: &[u8]) -> Result<(), SessionError> {
        self.send_within(channel, payload, &[], Patience::Forever)
    }

    /// As [`Session::send`], with descriptors and with patience, as
    /// [`Connection::send_within`] has them.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub fn send_within(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Patience,
    ) -> Result<(), SessionError> {
        self.may_send(channel)?;
        self.checks.outgoing(channel, payload)?;
        self.send_controls()?;
        if channel == Channel::COMMAND && self.is_numbered(patience)? {
            let payload = [&Kind::Message.prefix(0)[..], payload].concat();
            self.connection.send_within(channel, &payload, descriptors, patience)?;
        } else {
            self.connection.send_within(channel, payload, descriptors, patience)?;
        }
        Ok(())
    }

    /// Sends a value.
    ///
    /// # Errors
    ///
    /// As [`Session::send`], and [`SessionError::Content`].
    pub fn send_value<T: Serialize>(
        &mut self,
        channel: Channel,
        encoding: Encoding,
        value: &T,
    ) -> Result<(), SessionError> {
        self.send(channel, &encoding.write(value)?)
    }

    /// Puts a message behind what waits to be sent, as [`Connection::queue`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::send`], and [`ConnectionError::QueueFull`].
    pub fn queue(&mut self, channel: Channel, payload: &[u8]) -> Result<(), SessionError> {
        self.may_send(channel)?;
        self.checks.outgoing(channel, payload)?;
        if channel == Channel::COMMAND && self.is_numbered(Patience::Forever)? {
            self.connection.queue(channel, &[&Kind::Message.prefix(0)[..], payload].concat())?;
        } else {
            self.connection.queue(channel, payload)?;
        }
        Ok(())
    }

    /// Sends what is queued; true once nothing waits.
    ///
    /// # Errors
    ///
    /// [`SessionError::Connection`]: the peer is gone.
    pub fn flush(&mut self, patience: Patience) -> Result<bool, SessionError> {
        self.send_controls()?;
        Ok(self.connection.flush(patience)?)
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn outgoing_bytes(&self) -> usize {
        self.connection.outgoing_bytes()
    }

    fn may_send(&self, channel: Channel) -> Result<(), SessionError> {
        if self.has_channel(channel) { Ok(()) } else { Err(SessionError::Channel { channel }) }
    }

    /// Whether payloads on channel 1 have a prefix; a client that wants it has to wait for the
    /// server's word.
    fn is_numbered(&mut self, patience: Patience) -> Result<bool, SessionError> {
        match &self.state {
            State::Greeted(options) if !options.request_ids => Ok(false),
            State::Greeted(_) | State::Open(_) => Ok(self.finish(patience)?.requests.is_numbered()),
        }
    }

    /// Waits for the next message on any channel, in the order of arrival.
    ///
    /// # Errors
    ///
    /// [`SessionError::ShutDown`] once the peer has ended the session and everything that came
    /// before is read.
    pub fn receive(&mut self) -> Result<Received, SessionError> {
        self.receive_within(Patience::Forever)
    }

    /// As [`Session::receive`], with patience.
    ///
    /// # Errors
    ///
    /// As [`Session::receive`]; [`SessionError::is_timeout`] if nothing was there in time.
    pub fn receive_within(&mut self, patience: Patience) -> Result<Received, SessionError> {
        let received = self.wait_for(patience, |conversation| Ok(conversation.take(None)))?;
        self.checks.received(received)
    }

    /// Waits for the next message on one channel. What comes on others meanwhile is kept, in
    /// order, up to the limits.
    ///
    /// # Errors
    ///
    /// As [`Session::receive_within`], and [`SessionError::TooMuchWaiting`].
    pub fn receive_on(
        &mut self,
        channel: Channel,
        patience: Patience,
    ) -> Result<Received, SessionError> {
        self.may_send(channel)?;
        let received =
            self.wait_for(patience, |conversation| Ok(conversation.take(Some(channel))))?;
        self.checks.received(received)
    }

    /// Whether [`Session::receive_within`] has something to tell without reading from the kernel,
    /// so that waiting for the descriptor to become readable would be wrong.
    #[must_use]
    pub fn has_message(&self) -> bool {
        let has_news = match &self.state {
            State::Open(conversation) => conversation.has_news(),
            State::Greeted(_) => false,
        };
        has_news || self.connection.has_message()
    }

    /// Puts answers to the peer's control messages behind what waits to be sent.
    fn send_controls(&mut self) -> Result<(), SessionError> {
        if let State::Open(conversation) = &mut self.state {
            while let Some(control) = conversation.poll_outgoing() {
                self.connection.queue(Channel::CONTROL, &control.bytes())?;
            }
        }
        Ok(())
    }

    /// Handles what comes until `found` finds what is waited for.
    fn wait_for<T>(
        &mut self,
        patience: Patience,
        mut found: impl FnMut(&mut Conversation) -> Result<Option<T>, SessionError>,
    ) -> Result<T, SessionError> {
        loop {
            let conversation = self.finish(patience)?;
            if let Some(found) = found(conversation)? {
                return Ok(found);
            }
            let (ended, timeout) = (conversation.ended(), conversation.timeout());
            self.send_controls()?;
            if let Err(end) = ended {
                // The peer's last wish was an answer; one that has gone does not need it.
                let _gone = self.connection.flush(patience).is_err();
                return Err(end);
            }
            let received = self.connection.receive_within(patience.at_most(timeout));
            let now = Instant::now();
            let conversation = self.finish(patience)?;
            match received {
                Ok(message) => conversation.handle(message, now)?,
                Err(ConnectionError::TimedOut) => {
                    conversation.handle_timeout(now)?;
                    if patience.is_over(now) {
                        self.flush(Patience::Never)?;
                        return Err(ConnectionError::TimedOut.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

#[cfg(test)]
mod tests;
