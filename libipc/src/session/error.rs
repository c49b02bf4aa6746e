//! Why a session does not begin, does not go on, or brings no message.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::channel::Channel;
use crate::connection::ConnectionError;
use crate::typed::ContentError;

/// Why two sides did not agree.
///
/// ```
/// use libipc::session::{ClientOptions, HelloError, Session, SessionError};
/// use libipc::{Channel, Stream};
///
/// let (near, _far) = Stream::pair()?;
/// let answer = Session::connect(near, &ClientOptions::new(&[Channel::CONTROL]));
/// assert!(matches!(answer, Err(SessionError::Hello(HelloError::ControlChannel))));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HelloError {
    /// It is no JSON of the right form.
    Malformed,
    /// The first message is on another channel than 0.
    Channel(Channel),
    /// The two sides speak different protocols.
    Protocol,
    /// The versions do not fit, or are none.
    Version,
    /// More than 256 channels.
    TooManyChannels,
    /// Channel 0 is nobody's to ask for.
    ControlChannel,
    /// The caller's: channels 5 to 255 have no meaning yet, and must not be given one.
    ReservedChannel {
        /// Which.
        channel: Channel,
    },
    /// The server grants a channel that nobody asked for.
    UnaskedChannel {
        /// Which.
        channel: Channel,
    },
    /// There is no channel that both sides want.
    NoCommonChannel,
    /// The token is empty or too long.
    Token,
    /// The name that the server gives to the client is empty or too long.
    PeerId,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("what it says first cannot be read"),
            Self::Channel(channel) => {
                write!(f, "its first message is on channel {channel}, not on channel 0")
            }
            Self::Protocol => f.write_str("the two sides speak different protocols"),
            Self::Version => f.write_str("the versions of the two sides do not fit"),
            Self::TooManyChannels => f.write_str("more than 256 channels"),
            Self::ControlChannel => f.write_str("channel 0 cannot be asked for"),
            Self::ReservedChannel { channel } => {
                write!(f, "channel {channel} cannot be asked for: an application's begin at 256")
            }
            Self::UnaskedChannel { channel } => {
                write!(f, "channel {channel} is granted, and nobody asked for it")
            }
            Self::NoCommonChannel => f.write_str("there is no channel that both sides want"),
            Self::Token => f.write_str("a token has 1 to 4096 bytes"),
            Self::PeerId => f.write_str("the name of a peer has 1 to 128 bytes"),
        }
    }
}

/// Why a session did not begin, has ended, or brought no message.
///
/// ```
/// use libipc::session::{ClientOptions, Session, SessionError};
/// use libipc::{ConnectionError, Stream};
///
/// let (near, far) = Stream::pair()?;
/// drop(far);
/// let error = Session::connect(near, &ClientOptions::default()).unwrap_err();
/// assert!(matches!(error, SessionError::Connection(ConnectionError::Ended)) && !error.is_timeout());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection below.
    Connection(ConnectionError),
    /// The two sides did not agree.
    Hello(HelloError),
    /// The server does not let this client in, and says why. Or it is an older one, and does not.
    Refused {
        /// Its words.
        reason: String,
    },
    /// The caller's, or the peer's: the channel was not agreed.
    Channel {
        /// Which.
        channel: Channel,
    },
    /// More messages came on channels that nobody reads than may wait. The session is over.
    TooMuchWaiting {
        /// On which channel.
        channel: Channel,
    },
    /// The peer sends more messages on channel 0 than are useful. The session is over.
    ControlFlood {
        /// Within one second at most.
        most: u32,
    },
    /// The peer sent something on channel 0 that cannot be read, or that nobody knows. The session
    /// is over.
    Control,
    /// The peer has ended the session in good order, perhaps with a reason.
    ShutDown {
        /// Its words.
        reason: Option<String>,
    },
    /// The peer has ended the session at once. It was not allowed to where `allowed` is false.
    Forced {
        /// Whether this side allows it.
        allowed: bool,
    },
    /// Nothing was heard of the peer, not even an answer to a ping.
    Silent {
        /// For so long.
        span: Duration,
    },
    /// An earlier request has no answer yet, and the peer does not number them.
    OneAtATime,
    /// The caller's: nobody waits for an answer to this request any more, or ever did.
    UnknownRequest,
    /// The content of a message is not what its schema says. The session goes on.
    #[cfg(feature = "schema")]
    Schema(crate::schema::SchemaError),
    /// A value that was to be sent cannot be written.
    Content(ContentError),
}

impl SessionError {
    /// Whether it is only that nothing was there in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Connection(ConnectionError::TimedOut))
    }

    /// Whether the connection is to be ended, because nobody has.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_breach(&self) -> bool {
        !self.is_about_content() && !matches!(self, Self::ShutDown { .. } | Self::Forced { .. })
    }

    /// Whether it is about one message that came, and the session goes on.
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            #[cfg(feature = "schema")]
            Self::Schema(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => write!(f, "{error}"),
            Self::Hello(error) => write!(f, "the two sides did not agree: {error}"),
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Channel { channel } => write!(f, "channel {channel} was not agreed"),
            Self::TooMuchWaiting { channel } => {
                write!(f, "too many messages on channel {channel} wait while another is read")
            }
            Self::ControlFlood { most } => {
                write!(f, "more than {most} messages on channel 0 within a second")
            }
            Self::Control => f.write_str("what came on channel 0 cannot be understood"),
            Self::ShutDown { reason: Some(reason) } => {
                write!(f, "the peer has ended the session: {reason}")
            }
            Self::ShutDown { reason: None } => f.write_str("the peer has ended the session"),
            Self::Forced { allowed: true } => f.write_str("the peer has ended the session at once"),
            Self::Forced { allowed: false } => {
                f.write_str("the peer has ended the session at once, which is not allowed")
            }
            Self::Silent { span } => write!(f, "nothing was heard of the peer for {span:?}"),
            Self::OneAtATime => f.write_str(
                "an earlier request has no answer yet, and this peer takes one at a time",
            ),
            Self::UnknownRequest => f.write_str("nobody waits for an answer to this request"),
            #[cfg(feature = "schema")]
            Self::Schema(error) => write!(f, "{error}"),
            Self::Content(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.into())
    }
}

impl From<ContentError> for SessionError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<HelloError> for SessionError {
    fn from(error: HelloError) -> Self {
        Self::Hello(error)
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        let kind = match error {
            SessionError::Connection(error) => return error.into(),
            SessionError::Refused { .. } => io::ErrorKind::PermissionDenied,
            SessionError::Channel { .. }
            | SessionError::OneAtATime
            | SessionError::UnknownRequest => io::ErrorKind::InvalidInput,
            SessionError::ShutDown { .. } | SessionError::Forced { allowed: true } => {
                io::ErrorKind::UnexpectedEof
            }
            SessionError::Silent { .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
