//! What a transport daemon answers instead.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a transport daemon answers instead.
///
/// ```
/// use libipc::interface::transport::TransportError;
///
/// let text = r#"{"error":"org.ipcd.Transport.AddressDenied","parameters":
///     {"address":"10.1.2.3","rule":"deny out * tcp:10.0.0.0/8"}}"#;
/// let error: TransportError = serde_json::from_str(text)?;
/// assert_eq!(error.to_string(), "denied: 10.1.2.3, by deny out * tcp:10.0.0.0/8");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
