//! What happens in a loop.

use std::fmt;
use std::io;

use bytes::Bytes;

use crate::connection::{ConnectionError, Message};
use crate::poller::Token;
use crate::session::{Received, RequestId, SessionError};

/// Something in an [`EventLoop`](super::EventLoop). No id is ever given twice.
///
/// ```
/// use libipc::event_loop::{EventLoop, Id};
/// use libipc::{Connection, Stream};
///
/// let mut events = EventLoop::new()?;
/// let one: Id = events.add(Connection::new(Stream::pair()?.0))?;
/// let other: Id = events.add(Connection::new(Stream::pair()?.0))?;
/// assert_ne!(one, other);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Id(pub(super) u64);

impl Id {
    pub(super) fn token(self) -> Token {
        Token(self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What has happened.
///
/// ```
/// use libipc::event_loop::{Event, EventLoop, Id};
/// use libipc::{Channel, Connection, Stream};
///
/// let (ours, theirs) = Stream::pair()?;
/// let mut events = EventLoop::new()?;
/// let client: Id = events.add(Connection::new(ours))?;
/// Connection::new(theirs).send(Channel::DATA, b"hello")?;
/// let Event::Received { connection, message } = events.next()? else { panic!("no message") };
/// assert_eq!((connection, &message.payload[..]), (client, &b"hello"[..]));
/// assert!(matches!(events.next()?, Event::Disconnected { error: None, .. }));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client has come.
    Connected {
        /// Where to.
        service: Id,
        /// Its connection, which is in the loop now.
        connection: Id,
    },
    /// A connection is over, and out of the loop. Every message that came is told before.
    Disconnected {
        /// Which.
        connection: Id,
        /// What ended it, if not the peer in good order.
        error: Option<ConnectionError>,
    },
    /// A message has come.
    Received {
        /// From whom.
        connection: Id,
        /// The message.
        message: Message,
    },
    /// Everything that was scheduled has been sent.
    Sent {
        /// To whom.
        connection: Id,
    },
    /// A message went from one side of a switch to the other.
    Passed {
        /// From whom.
        from: Id,
        /// To whom.
        to: Id,
        /// Bytes of the message.
        bytes: usize,
    },
    /// A client of a service for sessions was let in.
    SessionBegun {
        /// Where to.
        service: Id,
        /// Its session, which is in the loop now.
        session: Id,
    },
    /// A client of a service for sessions was not let in, and was told why if it still listened.
    SessionRefused {
        /// Where.
        service: Id,
        /// The reason.
        error: SessionError,
    },
    /// A message of a session has come.
    SessionReceived {
        /// From whom.
        session: Id,
        /// The message.
        message: Received,
    },
    /// The answer to a request has come.
    SessionAnswered {
        /// From whom.
        session: Id,
        /// To which request.
        request: RequestId,
        /// The answer, or what its schema has against it.
        answer: Result<Bytes, SessionError>,
    },
    /// A message has come whose content is not what its schema says. The session goes on.
    ContentRefused {
        /// From whom.
        session: Id,
        /// What is wrong with it.
        error: SessionError,
    },
    /// A session is over, and out of the loop. Every message that came is told before.
    SessionEnded {
        /// Which.
        session: Id,
        /// How: [`SessionError::ShutDown`] in good order, perhaps with a reason.
        error: SessionError,
    },
    /// The timer.
    Timer,
    /// A foreign descriptor is ready.
    Ready {
        /// Which.
        external: Id,
        /// There is something to read, or the end.
        readable: bool,
        /// There is room to write.
        writable: bool,
        /// Both directions are over.
        hangup: bool,
    },
    /// Another thread has called the waker.
    Woken,
    /// A service could not accept a client. It is tried again shortly, unless `is_over`.
    ServiceFailed {
        /// Which.
        service: Id,
        /// What the kernel, or the broker, says.
        error: io::Error,
        /// The name was taken over by another process; the service is out of the loop.
        is_over: bool,
    },
}
