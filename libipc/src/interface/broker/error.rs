//! What the broker answers instead of a connection.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Handoff;

/// What the broker answers instead of a connection.
///
/// ```
/// use libipc::interface::broker::BrokerError;
///
/// let text = r#"{"error":"org.ipcd.Broker.Denied","parameters":{"target":"tcp:db1.example.com:5432",
///     "reason":"no rule allows it","cure":"allow out db tcp:db1.example.com:5432","retry":false}}"#;
/// let error: BrokerError = serde_json::from_str(text)?;
/// assert_eq!(error.to_string(), "denied: no rule allows it");
/// assert_eq!(error.cure(), Some("allow out db tcp:db1.example.com:5432"));
/// assert!(!error.retry(), "until the rules change");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
