//! What each side of a session says and allows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::hello;
use crate::accept_rules::AcceptRules;
use crate::channel::Channel;
use crate::identity::Identity;
use crate::secret::Secret;

/// Bytes of a hello at most.
pub const HELLO_BYTES_MOST: usize = 16 << 10;

/// What a client wants.
///
/// ```
/// use libipc::Channel;
/// use libipc::secret::Secret;
/// use libipc::session::ClientOptions;
///
/// let token = Some(Secret::new("s3cret".to_owned()));
/// let options = ClientOptions { token, ..ClientOptions::new(&[Channel::COMMAND, Channel(300)]) };
/// assert!(!format!("{options:?}").contains("s3cret"));
/// ```
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The channels that it wants to use, at most 256; never channel 0.
    pub channels: Vec<Channel>,
    /// Shown to the server, which may verify it. At most 4096 bytes.
    pub token: Option<Secret>,
    /// Several requests at once, told apart by numbers, if the server knows how to; otherwise one
    /// at a time.
    pub request_ids: bool,
    /// Name of the protocol, 1 to 32 bytes, the same on both sides.
    pub protocol: String,
    /// Its version: two numbers with a dot between them.
    pub version: String,
    /// Whether a session without a channel makes no sense.
    pub require_common_channel: bool,
    /// How long the beginning may take.
    pub timeout: Duration,
    /// What the session may hold.
    pub limits: Limits,
}

impl ClientOptions {
    /// A client of these channels.
    #[must_use]
    pub fn new(channels: &[Channel]) -> Self {
        Self { channels: channels.to_vec(), ..Self::default() }
    }
}

impl Default for ClientOptions {
    /// Channels 1 to 4, one request at a time, 5 seconds: what ipcprims says.
    fn default() -> Self {
        Self {
            channels: builtin_channels(),
            token: None,
            request_ids: false,
            protocol: hello::PROTOCOL.to_owned(),
            version: hello::VERSION.to_owned(),
            require_common_channel: true,
            timeout: TIMEOUT,
            limits: Limits::default(),
        }
    }
}

/// How long the beginning of a session may take.
const TIMEOUT: Duration = Duration::from_secs(5);

fn builtin_channels() -> Vec<Channel> {
    vec![Channel::COMMAND, Channel::DATA, Channel::TELEMETRY, Channel::ERROR]
}

/// Judges a client by its token, if it shows one, and by what is proven about it. An error is told
/// to the client.
///
/// ```
/// use std::sync::Arc;
///
/// use libipc::identity::Identity;
/// use libipc::session::{Refused, ServerOptions, Verify};
///
/// let verify: Arc<Verify> = Arc::new(|_token, peer| match peer {
///     Some(Identity::Local(local)) if local.uid == Some(1000) => Ok(()),
///     _ => Err(Refused("this is for user 1000".to_owned())),
/// });
/// let options = ServerOptions { verify: Some(verify), ..ServerOptions::default() };
/// # drop(options);
/// ```
pub type Verify =
    dyn Fn(Option<&Secret>, Option<&Identity>) -> Result<(), Refused> + Send + Sync + 'static;

/// Why a client is not let in: a text for the client, without secrets.
///
/// ```
/// use libipc::session::{Refused, ServerOptions};
///
/// let verify = std::sync::Arc::new(|_: Option<&_>, _: Option<&_>| Err(Refused("closed".to_owned())));
/// let options = ServerOptions { verify: Some(verify), ..ServerOptions::default() };
/// # drop(options);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused(pub String);

/// What a server offers.
///
/// ```
/// use libipc::secret::Secret;
/// use libipc::session::{ClientOptions, ServerOptions, Session, SessionError};
///
/// let (near, far) = libipc::Stream::pair()?;
/// let options = ServerOptions::default().with_token(Secret::new("s3cret".to_owned()));
/// let serving = std::thread::spawn(move || Session::accept(far, &options, "peer-1").map(drop));
/// let refused = Session::connect(near, &ClientOptions::default()).unwrap_err();
/// assert_eq!(refused.to_string(), "refused: a token is required");
/// # assert!(matches!(serving.join().unwrap(), Err(SessionError::Refused { .. })));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ServerOptions {
    /// The channels that it serves; never channel 0, nor one from 5 to 255, which are reserved.
    pub channels: Vec<Channel>,
    /// Who is let in at all, whatever it shows.
    pub rules: AcceptRules,
    /// Asked before the session begins; `None`: everybody who got here is let in.
    pub verify: Option<Arc<Verify>>,
    /// Name of the protocol, 1 to 32 bytes, the same on both sides.
    pub protocol: String,
    /// Its version: two numbers with a dot between them.
    pub version: String,
    /// Whether a session without a channel makes no sense.
    pub require_common_channel: bool,
    /// How long the beginning may take.
    pub timeout: Duration,
    /// What the session may hold.
    pub limits: Limits,
}

impl ServerOptions {
    /// A server of these channels.
    #[must_use]
    pub fn new(channels: &[Channel]) -> Self {
        Self { channels: channels.to_vec(), ..Self::default() }
    }

    /// Lets in only clients that show exactly this token.
    #[must_use]
    pub fn with_token(mut self, expected: Secret) -> Self {
        self.verify = Some(Arc::new(move |token, _| match token {
            Some(token) if expected.is(token.expose()) => Ok(()),
            Some(_) => Err(Refused("the token is wrong".to_owned())),
            None => Err(Refused("a token is required".to_owned())),
        }));
        self
    }
}

impl Default for ServerOptions {
    /// Channels 1 to 4 for everybody who got here, within 5 seconds.
    fn default() -> Self {
        Self {
            channels: builtin_channels(),
            rules: AcceptRules::default(),
            verify: None,
            protocol: hello::PROTOCOL.to_owned(),
            version: hello::VERSION.to_owned(),
            require_common_channel: true,
            timeout: TIMEOUT,
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("channels", &self.channels)
            .field("rules", &self.rules)
            .field("verify", &self.verify.is_some())
            .field("protocol", &self.protocol)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What a session may hold, and how long it waits.
///
/// ```
/// use std::time::Duration;
///
/// use libipc::session::{ClientOptions, Limits};
///
/// let limits = Limits { keepalive: Some(Duration::from_secs(30)), ..Limits::default() };
/// let options = ClientOptions { limits, ..ClientOptions::default() };
/// # drop(options);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of one payload, both ways.
    pub payload_most: usize,
    /// Descriptors that may come with one message. This process holds those of all messages that
    /// wait; where a session is shared, once for each subscription.
    pub descriptors_most: usize,
    /// Messages of one channel that wait while another channel is read.
    pub waiting_per_channel: usize,
    /// Bytes of all of them, with 8 for each message.
    pub waiting_bytes: usize,
    /// Messages on channel 0 within one second.
    pub controls_per_second: u32,
    /// Whether the peer may end the session without being asked.
    pub allow_forced_end: bool,
    /// Whether messages on channel 0 that nobody knows are ignored, rather than the end.
    pub ignore_unknown_controls: bool,
    /// A silent peer is pinged after this long, and given up after twice as long. Only while
    /// somebody waits: the library has no thread of its own.
    pub keepalive: Option<Duration>,
}

impl Default for Limits {
    /// Those of ipcprims: 16 MiB a message, 256 messages a channel and 16 MiB waiting, 256 control
    /// messages; no descriptors, no keepalive.
    fn default() -> Self {
        Self {
            payload_most: crate::frame::PAYLOAD_MOST,
            descriptors_most: 0,
            waiting_per_channel: 256,
            waiting_bytes: 16 << 20,
            controls_per_second: 256,
            allow_forced_end: false,
            ignore_unknown_controls: false,
            keepalive: None,
        }
    }
}
