//! `org.ipcd.Broker`.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

mod error;

pub use error::BrokerError;

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/org.ipcd.Broker.varlink");

/// Name of the method that asks for a connection.
pub const CONNECT: &str = "org.ipcd.Broker.Connect";

/// Name of the method that asks where a name would lead.
pub const RESOLVE: &str = "org.ipcd.Broker.Resolve";

/// How a connection changes owner.
///
/// ```
/// use libipc::interface::broker::Handoff;
///
/// assert_eq!(serde_json::to_string(&Handoff::Door)?, r#""door""#);
/// // A later broker may know ways that this library does not.
/// assert_eq!(serde_json::from_str::<Handoff>(r#""teleport""#)?, Handoff::Unknown);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Kind;
///
/// assert_eq!(serde_json::from_str::<Kind>(r#""seqpacket""#)?, Kind::Seqpacket);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::{Connect, Handoff};
///
/// let take = vec![Handoff::Door, Handoff::Descriptor];
/// let ask = Connect { service: "pongd".to_owned(), timeout_ms: Some(500), take, ..Connect::default() };
/// assert_eq!(
///     serde_json::to_string(&ask)?,
///     r#"{"service":"pongd","timeoutMs":500,"take":["door","descriptor"]}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::{Connected, Handoff, Kind};
///
/// let text = r#"{"handoff":"descriptor","type":"stream","target":"tcp:db1.example.com:5432",
///     "rule":"allow out db tcp:db1.example.com:5432"}"#;
/// let answer: Connected = serde_json::from_str(text)?;
/// assert_eq!((answer.handoff, answer.kind), (Handoff::Descriptor, Kind::Stream));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Subject;
///
/// let shop = Subject { unit: Some("shop.service".to_owned()), ..Subject::default() };
/// assert_eq!(serde_json::to_string(&shop)?, r#"{"unit":"shop.service"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Resolve;
///
/// let question: Resolve = serde_json::from_str(r#"{"service":"db","as":{"user":"shop"}}"#)?;
/// assert_eq!(question.subject.and_then(|subject| subject.user).as_deref(), Some("shop"));
/// assert!(question.from.is_none(), "a process of this host asks");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Resolved;
///
/// let text = r#"{"service":"db","asker":"user shop (998)","revision":3,"candidates":[]}"#;
/// let answer: Resolved = serde_json::from_str(text)?;
/// assert!(answer.candidates.is_empty(), "it leads nowhere");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Candidate;
///
/// let text = r#"{"hops":[],"target":"unix:pongd","carrier":"direct","unserved":"nothing listens there",
///     "verdict":{"allowed":true,"permissive":false,"direction":"local","service":"pongd",
///                "rule":"allow local *","reason":"it matches","considered":[]}}"#;
/// let way: Candidate = serde_json::from_str(text)?;
/// assert!(way.verdict.allowed && way.unserved.is_some(), "allowed, and nobody is there");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Hop;
///
/// let text = r#"{"name":"db","target":"tls://db1.example.com:5432","source":"ipcd.d/50-shop.toml:6"}"#;
/// let hop: Hop = serde_json::from_str(text)?;
/// assert_eq!(format!("{} -> {} ({})", hop.name, hop.target, hop.source),
///     "db -> tls://db1.example.com:5432 (ipcd.d/50-shop.toml:6)");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Verdict;
///
/// let text = r#"{"allowed":false,"permissive":false,"direction":"out","service":"db",
///     "reason":"no rule allows it","cure":"allow out db tls:db1.example.com:5432","considered":[]}"#;
/// let verdict: Verdict = serde_json::from_str(text)?;
/// assert!(verdict.rule.is_none() && verdict.cure.is_some(), "no rule decided; this one would");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::broker::Considered;
///
/// let text = r#"{"rule":"deny out db *","source":"ipcd.d/90-site.toml:2","matched":true,"note":""}"#;
/// assert!(serde_json::from_str::<Considered>(text)?.matched);
/// # Ok::<(), serde_json::Error>(())
/// ```
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

#[cfg(test)]
mod tests;
