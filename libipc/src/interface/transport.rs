//! `org.ipcd.Transport`: what the broker asks of a transport daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::tunnel::TunnelError;
use crate::secret::Secret;

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/org.ipcd.Transport.varlink");

/// Name of the method that connects outward.
pub const DIAL: &str = "org.ipcd.Transport.Dial";
/// Name of the method that adds an encapsulation as the client end.
pub const WRAP: &str = "org.ipcd.Transport.Wrap";
/// Name of the method that adds an encapsulation as the server end.
pub const SERVE: &str = "org.ipcd.Transport.Serve";
/// Name of the method that tells of remote peers.
pub const LISTEN: &str = "org.ipcd.Transport.Listen";
/// Name of the method that goes on with what was agreed.
pub const ATTACH: &str = "org.ipcd.Transport.Attach";
/// Name of the method that tells a remote peer no.
pub const REFUSE: &str = "org.ipcd.Transport.Refuse";
/// Name of the method that gives up what was agreed.
pub const CLOSE: &str = "org.ipcd.Transport.Close";

/// How the reason of [`TransportError::Refused`] begins: what the far end refuses, by which people
/// are told what to do.
pub mod refusal {
    /// Its rules, or there is no such service.
    pub const RULES: &str = "the far host says no";
    /// The user, or the secret.
    pub const LOGIN: &str = "the far host does not accept this login";
    /// Nothing yet: what verifies logins there does not answer.
    pub const LOGIN_LATER: &str = "the far host cannot verify logins now";
    /// The certificate that it is shown, or that it is shown none.
    pub const CERTIFICATE: &str = "the far end does not accept us";
}

/// What policy says of the addresses in a network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AddressRule {
    /// The network, as `ADDRESS/BITS`.
    pub network: String,
    /// Whether its addresses may be tried.
    pub allow: bool,
    /// The rule that says so, for people.
    pub rule: String,
}

/// What the far daemon is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hello {
    /// The service wanted there.
    pub service: String,
    /// Hops between hosts so far, this one included.
    pub hops: u32,
    /// A login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Secret>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// Parameters of `Dial`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dial {
    /// Name or address of the host, in its canonical form.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The first that contains an address decides about it; none: refused.
    pub addresses: Vec<AddressRule>,
    /// Options of the target.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
    /// For the far daemon, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// Keep the socket under an id instead of attaching it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<bool>,
    /// How long it may take.
    pub deadline_ms: u64,
}

/// Answer to `Dial`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Dialed {
    /// The address that answered.
    pub address: SocketAddr,
    /// The id, if the socket was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// Parameters of `Wrap`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wrap {
    /// Name or address of the host, in its canonical form.
    pub host: String,
    /// Options of the target.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
    /// For the far daemon, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// How long it may take.
    pub deadline_ms: u64,
}

/// Parameters of `Serve`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Serve {
    /// The listener that the peer came to.
    pub listener: String,
    /// Where it came from.
    pub address: SocketAddr,
    /// What is offered to plain clients; without it peers say a hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long it may take.
    pub deadline_ms: u64,
}

/// What is proven about a remote peer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Proven {
    /// Each as `KIND:VALUE`.
    #[serde(default)]
    pub names: Vec<String>,
}

/// Answer to `Wrap`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wrapped {
    /// What was agreed.
    pub id: u64,
    /// What the far end has proven.
    #[serde(default)]
    pub identity: Proven,
}

/// A remote peer's connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Arrival {
    /// What was agreed.
    pub id: u64,
    /// How it came.
    pub scheme: String,
    /// The listener it came to.
    pub listener: String,
    /// Where it came from.
    pub address: SocketAddr,
    /// The service it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Hops between hosts so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
    /// What it has proven.
    #[serde(default)]
    pub identity: Proven,
    /// The user of a login that came with it. Nothing is proven by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Secret>,
    /// The secret of that login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// Answer to `Serve`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Arrived {
    /// The peer.
    pub arrival: Arrival,
}

/// One reply to `Listen`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Told {
    /// A remote peer asks for a service.
    Arrived {
        /// The peer.
        arrival: Arrival,
    },
    /// The bytes of what was agreed under this number are no longer moved: it is over.
    Ended {
        /// The number.
        ended: u64,
    },
    /// The daemon begins nothing new, and leaves its place to another generation of itself.
    Finishing {
        /// Which generation it is: its numbers are this one's times [`GENERATION`] and more.
        finishing: u64,
    },
}

/// What numbers of one generation of a daemon are apart from those of the next.
pub const GENERATION: u64 = 1 << 40;

/// Parameters of `Attach` and `Close`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Agreed {
    /// What was agreed.
    pub id: u64,
}

/// Parameters of `Refuse`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Refuse {
    /// The arrival.
    pub id: u64,
    /// Whether trying again later can help.
    pub retry: bool,
    /// It is the login that was not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<bool>,
}

impl Refuse {
    /// What the peer is told.
    #[must_use]
    pub fn refusal(&self) -> TunnelError {
        TunnelError::Refused { retry: self.retry, login: self.login }
    }
}

/// An answer without content.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Empty {}

/// What a transport daemon answers instead.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum TransportError {
    /// No way there.
    #[serde(rename = "org.ipcd.Transport.Unreachable")]
    Unreachable {
        /// Why.
        reason: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// The far end said no.
    #[serde(rename = "org.ipcd.Transport.Refused")]
    Refused {
        /// Why.
        reason: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// The far end could not prove who it is.
    #[serde(rename = "org.ipcd.Transport.Untrusted")]
    Untrusted {
        /// What was wrong.
        reason: String,
    },
    /// The far end does not speak as agreed.
    #[serde(rename = "org.ipcd.Transport.Protocol")]
    Protocol {
        /// What was wrong.
        reason: String,
    },
    /// Nobody answered in time.
    #[serde(rename = "org.ipcd.Transport.TimedOut")]
    TimedOut {},
    /// Every address is forbidden.
    #[serde(rename = "org.ipcd.Transport.AddressDenied")]
    AddressDenied {
        /// The last one.
        address: String,
        /// What forbade it.
        rule: String,
    },
    /// No arrangement has this id.
    #[serde(rename = "org.ipcd.Transport.UnknownId")]
    UnknownId {
        /// The id.
        id: u64,
    },
    /// A limit of the daemon is reached.
    #[serde(rename = "org.ipcd.Transport.Busy")]
    Busy {
        /// Its name.
        limit: String,
        /// Its value.
        most: u64,
    },
    /// The call cannot be understood.
    #[serde(rename = "org.ipcd.Transport.InvalidRequest")]
    InvalidRequest {
        /// Which part of it.
        field: String,
        /// What is wrong with that.
        reason: String,
    },
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { reason, .. } => write!(f, "unreachable: {reason}"),
            Self::Refused { reason, .. } => write!(f, "refused: {reason}"),
            Self::Untrusted { reason } => write!(f, "untrusted: {reason}"),
            Self::Protocol { reason } => write!(f, "protocol error: {reason}"),
            Self::TimedOut {} => f.write_str("timed out"),
            Self::AddressDenied { address, rule } => write!(f, "denied: {address}, by {rule}"),
            Self::UnknownId { id } => write!(f, "there is no arrangement {id}"),
            Self::Busy { limit, most } => write!(f, "busy: the limit {limit} ({most}) is reached"),
            Self::InvalidRequest { field, reason } => {
                write!(f, "invalid request: {field}: {reason}")
            }
        }
    }
}
