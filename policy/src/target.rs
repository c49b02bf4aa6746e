//! Where a name finally leads: a service of this host, or a place on another.

use std::collections::BTreeMap;
use std::fmt;

use libipc::name::{NameError, ServiceName};
use libipc::secret::Secret;

use crate::host::{Host, HostError};
use crate::scheme::Schemes;

mod option;
mod parse;

pub(crate) use parse::parse_port;

pub use option::OptionError;

/// Where a name finally leads.
///
/// `Display` is the form that rules use, for example `tls:example.com:9000/authd` or `unix:authd`;
/// it shows neither user, secret nor options.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A service of this host.
    Local(ServiceName),
    /// A place on another host.
    Remote(RemoteTarget),
}

/// A place on another host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteTarget {
    /// The scheme, one of the known ones.
    pub scheme: String,
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
    /// The service that the far broker is asked for; `None` where the far end is a plain server.
    pub service: Option<ServiceName>,
    /// The user to log in as.
    pub user: Option<Secret>,
    /// The secret to log in with.
    pub secret: Option<Secret>,
    /// What else the transport daemons are to know, by the names of design section 4.1.
    pub options: BTreeMap<String, Secret>,
}

/// Who wrote a target: some options are for one of them alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Author {
    /// A program, in `IPC_NETWORK`.
    Client,
    /// An administrator, in a redirect.
    Administrator,
}

impl RemoteTarget {
    /// The options that the transport daemon `daemon` reads; `dials` if it does the connecting.
    #[must_use]
    pub fn options_for(&self, daemon: &str, dials: bool) -> BTreeMap<String, Secret> {
        let options = self.options.iter().filter(|(name, _)| option::is_for(name, daemon, dials));
        options.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl Target {
    /// Reads `text`: `scheme://[user[:secret]@]host[:port][/service][?option=value&…]`,
    /// `unix:///NAME`, `unix://NAME`, or a name alone.
    ///
    /// `tls://user@secret:host:port/service`, as the first ipcd's documentation wrote it, is read
    /// as `user:secret@host:port`.
    ///
    /// # Errors
    ///
    /// [`TargetError`] says what the author has to change. Its text repeats neither user, secret
    /// nor the value of an option.
    pub fn parse(text: &str, author: Author, schemes: &Schemes) -> Result<Self, TargetError> {
        parse::target(text, author, schemes)
    }

    /// The service name, if the target is a service of this host.
    #[must_use]
    pub fn local(&self) -> Option<&ServiceName> {
        match self {
            Self::Local(name) => Some(name),
            Self::Remote(_) => None,
        }
    }

    /// The place, if the target is on another host.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteTarget> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }
}

impl RemoteTarget {
    /// What a rule says to mean exactly this place: `tls:example.com:9000`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}:{}", self.scheme, self.host, self.port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) => write!(f, "unix:{name}"),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

impl fmt::Display for RemoteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scheme, self.host, self.port)?;
        match &self.service {
            Some(service) => write!(f, "/{service}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a target. Never shows a user, a secret or the value of an option.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TargetError {
    /// There is no text.
    Empty,
    /// White space, a control character, `\`, `#`, or a letter beyond ASCII outside the host.
    Character(char),
    /// A bare name, or that of `unix:`, or the service behind `/`, is no service name.
    Service(NameError),
    /// `scheme:host` without `//`.
    NoSlashes,
    /// No transport daemon carries this scheme.
    UnknownScheme {
        /// The scheme as written.
        scheme: Box<str>,
        /// Those that there are.
        known: Box<str>,
    },
    /// `unix:` with more than a name.
    NotOnThisHost,
    /// What stands where the host does is none.
    Host(HostError),
    /// More than one `@`.
    TwoAts,
    /// The port is no number from 1 to 65535.
    Port,
    /// No port, and no default one either.
    NoPort {
        /// Whether the scheme has a default port for targets with `/service`.
        default_with_service: bool,
    },
    /// A `:` or `@` with nothing before it.
    EmptyUser,
    /// `%` without two hexadecimal digits, or an escape for a control character or no UTF-8.
    Escape,
    /// A login for a plain server.
    LoginWithoutService,
    /// A login over a scheme that does not prove whom it would be told to.
    LoginUnprotected,
    /// More than one `{name}` in what leads to a name.
    TwoNames,
    /// An `@` behind the `?`.
    AtInOptions,
    /// An option that cannot be used.
    Option(OptionError),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the target is missing"),
            Self::Character(character) => write!(
                f,
                "a target has no '{}' (U+{:04X}); in a login it is written as % and two digits",
                character.escape_debug(),
                u32::from(*character)
            ),
            Self::Service(error) => error.fmt(f),
            Self::NoSlashes => {
                f.write_str("a target is SCHEME://HOST:PORT, unix:///NAME or a name alone")
            }
            Self::UnknownScheme { scheme, known } => {
                write!(f, "unknown scheme {}; there are {known} and unix", scheme.escape_debug())
            }
            Self::NotOnThisHost => f.write_str("a target on this host is unix:///NAME"),
            Self::Host(error) => error.fmt(f),
            Self::TwoAts => f.write_str("a target has at most one @; in a login it is written %40"),
            Self::Port => f.write_str("a port is a number from 1 to 65535"),
            Self::NoPort { default_with_service: true } => {
                f.write_str("a target without /SERVICE names its port")
            }
            Self::NoPort { default_with_service: false } => {
                f.write_str("a target of this scheme names its port")
            }
            Self::EmptyUser => f.write_str("no user stands before the : or @"),
            Self::Escape => f.write_str(
                "% begins no escape: it is followed by two hexadecimal digits, of UTF-8 and no \
                 control character",
            ),
            Self::LoginWithoutService => {
                f.write_str("a login is for a far service: the target has no /SERVICE")
            }
            Self::LoginUnprotected => f.write_str(
                "a login goes only to a far end that has proven who it is: use tls or wss",
            ),
            Self::TwoNames => f.write_str("{name} stands at most once in what leads to a name"),
            Self::AtInOptions => {
                f.write_str("an @ in an option is written %40, and a ? in a login %3F")
            }
            Self::Option(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TargetError {}

impl From<HostError> for TargetError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<NameError> for TargetError {
    fn from(error: NameError) -> Self {
        Self::Service(error)
    }
}

impl From<OptionError> for TargetError {
    fn from(error: OptionError) -> Self {
        Self::Option(error)
    }
}

#[cfg(test)]
mod tests;
