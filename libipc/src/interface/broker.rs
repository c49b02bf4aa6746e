//! `org.ipcd.Broker`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/org.ipcd.Broker.varlink");

/// Name of the method that asks for a connection.
pub const CONNECT: &str = "org.ipcd.Broker.Connect";

/// Name of the method that asks where a name would lead.
pub const RESOLVE: &str = "org.ipcd.Broker.Resolve";

/// How a connection changes owner.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Handoff {
    /// The connection on which the client asked becomes the stream.
    Upgrade,
    /// The service's socket as an `O_PATH` descriptor; the client connects through it.
    Door,
    /// A connected socket.
    Descriptor,
    /// One that this version does not know. Ignored.
    #[serde(other)]
    Unknown,
}

/// How a connection carries bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Whole messages in order.
    Seqpacket,
    /// Single messages.
    Datagram,
}

/// Parameters of `Connect`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// The name asked for.
    pub service: String,
    /// The entries of `IPC_NETWORK` for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Secret>,
    /// How long all of it may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Wait for a service that is known and not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// What the client can use.
    #[serde(default)]
    pub take: Vec<Handoff>,
}

/// Answer to `Connect`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Connected {
    /// What the client gets.
    pub handoff: Handoff,
    /// How it carries bytes.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Where the name led.
    pub target: String,
    /// The rule that decided.
    pub rule: String,
}

/// Somebody to ask about.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Name or number of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Names or numbers of groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// A unit of the system's service manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A unit of the user's service manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_unit: Option<String>,
    /// A named broker socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Whom it has logged in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// Parameters of `Resolve`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Resolve {
    /// The name asked about.
    pub service: String,
    /// The entries of `IPC_NETWORK` for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Secret>,
    /// Somebody else to ask about.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// A remote peer to ask about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Answer to `Resolve`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Resolved {
    /// The name asked about.
    pub service: String,
    /// Who asks, for people.
    pub asker: String,
    /// Which configuration answered.
    pub revision: u64,
    /// The ways the name can lead, in order.
    pub candidates: Vec<Candidate>,
}

/// One way that a name can lead.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Candidate {
    /// The steps.
    pub hops: Vec<Hop>,
    /// Where they end.
    pub target: String,
    /// What policy says of it.
    pub verdict: Verdict,
    /// Who will carry the bytes, for people.
    pub carrier: String,
    /// Why nobody answers there now, whatever the verdict, and what to do; `None` if somebody does,
    /// for other hosts, and where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unserved: Option<String>,
}

/// One step of a route.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hop {
    /// From this name,
    pub name: String,
    /// to this target,
    pub target: String,
    /// as written here.
    pub source: String,
}

/// What policy answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verdict {
    /// The answer.
    pub allowed: bool,
    /// Let pass, though it would be denied.
    pub permissive: bool,
    /// `out`, `in` or `local`.
    pub direction: String,
    /// The service that policy was asked about.
    pub service: String,
    /// The rule that decided, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where that rule is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// The rule that would allow exactly this, for a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// The rules that were looked at.
    pub considered: Vec<Considered>,
    /// How many more were, where there is no room for all: none that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<u64>,
}

/// One rule that was looked at.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Considered {
    /// The rule.
    pub rule: String,
    /// Where it is written.
    pub source: String,
    /// Whether it decided.
    pub matched: bool,
    /// Why it did or did not match.
    pub note: String,
}

/// What the broker answers instead of a connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum BrokerError {
    /// Policy said no. Asking again gets the same answer until the rules change.
    #[serde(rename = "org.ipcd.Broker.Denied")]
    Denied {
        /// Where the name led.
        target: String,
        /// The rule that decided; none if no rule matched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// Why, for people.
        reason: String,
        /// The rule that would allow exactly this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cure: Option<String>,
        /// Whether trying again can help.
        retry: bool,
    },
    /// No such service.
    #[serde(rename = "org.ipcd.Broker.UnknownService")]
    UnknownService {
        /// The name asked for.
        service: String,
        /// Names that the asker may reach.
        known: Vec<String>,
    },
    /// No way to the target.
    #[serde(rename = "org.ipcd.Broker.Unreachable")]
    Unreachable {
        /// Where the name led.
        target: String,
        /// Why.
        reason: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// The target, or the broker on its host, said no.
    #[serde(rename = "org.ipcd.Broker.Refused")]
    Refused {
        /// Where the name led.
        target: String,
        /// Why.
        reason: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// Nobody answered within the caller's time.
    #[serde(rename = "org.ipcd.Broker.TimedOut")]
    TimedOut {
        /// Where the name led.
        target: String,
        /// How long it was tried.
        #[serde(rename = "waitedMs")]
        waited_ms: u64,
    },
    /// A part that the target needs does not run.
    #[serde(rename = "org.ipcd.Broker.TransportMissing")]
    TransportMissing {
        /// Where the name led.
        target: String,
        /// Which part.
        transport: String,
        /// How to start it.
        cure: String,
    },
    /// The target could not prove who it is.
    #[serde(rename = "org.ipcd.Broker.Untrusted")]
    Untrusted {
        /// Where the name led.
        target: String,
        /// What was wrong.
        reason: String,
    },
    /// The asker is not who made the connection.
    #[serde(rename = "org.ipcd.Broker.Unauthenticated")]
    Unauthenticated {
        /// What was wrong.
        reason: String,
    },
    /// A limit is reached.
    #[serde(rename = "org.ipcd.Broker.Busy")]
    Busy {
        /// The limit, as the configuration names it.
        limit: String,
        /// Its value.
        most: u64,
        /// Whether trying again can help.
        retry: bool,
    },
    /// The far end does not speak as agreed.
    #[serde(rename = "org.ipcd.Broker.Protocol")]
    Protocol {
        /// Where the name led.
        target: String,
        /// What was wrong.
        reason: String,
    },
    /// The client can take nothing of what the target allows.
    #[serde(rename = "org.ipcd.Broker.NoHandoff")]
    NoHandoff {
        /// Where the name led.
        target: String,
        /// What would do.
        possible: Vec<Handoff>,
    },
    /// The request cannot be understood.
    #[serde(rename = "org.ipcd.Broker.InvalidRequest")]
    InvalidRequest {
        /// Which part of it.
        field: String,
        /// What is wrong with that.
        reason: String,
    },
    /// The broker itself failed.
    #[serde(rename = "org.ipcd.Broker.Internal")]
    Internal {
        /// What failed.
        reason: String,
    },
}

impl BrokerError {
    /// Whether asking again later can help.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Denied { retry, .. }
            | Self::Unreachable { retry, .. }
            | Self::Refused { retry, .. }
            | Self::Busy { retry, .. } => *retry,
            Self::TimedOut { .. } | Self::TransportMissing { .. } => true,
            _ => false,
        }
    }

    /// Where the name led, as far as it is known.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Denied { target, .. }
            | Self::Unreachable { target, .. }
            | Self::Refused { target, .. }
            | Self::TimedOut { target, .. }
            | Self::TransportMissing { target, .. }
            | Self::Untrusted { target, .. }
            | Self::Protocol { target, .. }
            | Self::NoHandoff { target, .. } => Some(target),
            _ => None,
        }
    }
}

impl BrokerError {
    /// What an administrator would write to allow what was denied.
    #[must_use]
    pub fn cure(&self) -> Option<&str> {
        match self {
            Self::Denied { cure, .. } => cure.as_deref(),
            _ => None,
        }
    }

    /// Whether the service could be had by a connection that becomes the stream.
    pub(crate) fn would_upgrade(&self) -> bool {
        matches!(self, Self::NoHandoff { possible, .. } if possible.contains(&Handoff::Upgrade))
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { reason, .. } => write!(f, "denied: {reason}"),
            Self::UnknownService { .. } => f.write_str("unknown service: nothing answers here"),
            Self::Unreachable { target, reason, .. } => {
                write!(f, "unreachable: {target}: {reason}")
            }
            Self::Refused { target, reason, .. } => write!(f, "refused: {target}: {reason}"),
            Self::TimedOut { target, waited_ms } => {
                write!(f, "timed out: {target} did not answer within {waited_ms} ms")
            }
            Self::TransportMissing { transport, .. } => {
                write!(f, "cannot connect: {transport} does not run")
            }
            Self::Untrusted { target, reason } => write!(f, "untrusted: {target}: {reason}"),
            Self::Unauthenticated { reason } => write!(f, "not authenticated: {reason}"),
            Self::Busy { limit, most, .. } => {
                write!(f, "busy: the limit {limit} ({most}) is reached")
            }
            Self::Protocol { target, reason } => write!(f, "protocol error: {target}: {reason}"),
            Self::NoHandoff { possible, .. } => {
                write!(f, "no common way: {}", ways(possible))
            }
            Self::InvalidRequest { field, reason } => {
                write!(f, "invalid request: {field}: {reason}")
            }
            Self::Internal { reason } => write!(f, "the broker failed: {reason}"),
        }
    }
}

/// In words for people who know nothing of how a connection changes owner.
fn ways(possible: &[Handoff]) -> String {
    let way = |handoff: &Handoff| match handoff {
        Handoff::Upgrade => Some("the connection that it asked on"),
        Handoff::Door => Some("the service's own socket"),
        Handoff::Descriptor => Some("a connected socket"),
        Handoff::Unknown => None,
    };
    match possible.iter().filter_map(way).collect::<Vec<_>>().as_slice() {
        [] => "the service cannot be handed over".to_owned(),
        ways => format!("the program would have to take {}", ways.join(" or ")),
    }
}

impl std::error::Error for BrokerError {}

#[cfg(test)]
mod tests;
