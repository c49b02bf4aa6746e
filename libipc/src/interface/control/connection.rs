//! What is there: services of this host, and connections that were handed over.

use serde::{Deserialize, Serialize};

use crate::interface::Identity;

/// Parameters of `Services`.
///
/// ```
/// use libipc::interface::control::ListServices;
///
/// // From the beginning; then behind what `next` said.
/// assert_eq!(serde_json::to_string(&ListServices::default())?, "{}");
/// let next = ListServices { after: Some("pongd".to_owned()) };
/// assert_eq!(serde_json::to_string(&next)?, r#"{"after":"pongd"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ListServices {
    /// Go on behind this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Answer to `Services`.
///
/// ```
/// use libipc::interface::control::Services;
///
/// let page: Services = serde_json::from_str(r#"{"services":[],"next":"pongd"}"#)?;
/// assert_eq!(page.next.as_deref(), Some("pongd"), "there are more, behind this name");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Services {
    /// By their names.
    pub services: Vec<Service>,
    /// Where to go on; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A service of this host.
///
/// ```
/// use libipc::interface::control::{Service, ServiceKind};
///
/// let text = r#"{"name":"pongd","kind":"registered","owner":998,"available":true,"clients":2}"#;
/// let service: Service = serde_json::from_str(text)?;
/// assert_eq!((service.kind, service.owner), (ServiceKind::Registered, Some(998)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How it is offered.
    pub kind: ServiceKind,
    /// The user that it belongs to, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Whether it is there.
    pub available: bool,
    /// Connections to it that are listed.
    pub clients: u64,
}

/// How a service is offered.
///
/// ```
/// use libipc::interface::control::ServiceKind;
///
/// assert_eq!(serde_json::to_string(&ServiceKind::Socket)?, r#""socket""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Its program told the broker.
    Registered,
    /// It listens in the run directory.
    Socket,
    /// It listens where the configuration says.
    Path,
}

/// Parameters of `Connections`.
///
/// ```
/// use libipc::interface::control::ListConnections;
///
/// let stale = ListConnections { stale: Some(true), after: None };
/// assert_eq!(serde_json::to_string(&stale)?, r#"{"stale":true}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct ListConnections {
    /// Only those that the rules of today would deny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<bool>,
    /// Go on behind this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Answer to `Connections`.
///
/// ```
/// use libipc::interface::control::Connections;
///
/// let page: Connections = serde_json::from_str(r#"{"connections":[]}"#)?;
/// assert!(page.connections.is_empty() && page.next.is_none(), "that is all");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Connections {
    /// In the order of their ids.
    pub connections: Vec<Connection>,
    /// Where to go on; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A connection that a client was given, or a peer of another host was let through with.
///
/// ```
/// use libipc::interface::Identity;
/// use libipc::interface::control::{Connection, ConnectionKind};
///
/// let text = r#"{"id":7,"kind":"relayed","service":"authd","target":"unix:authd","direction":"in",
///     "rule":"allow in authd tls:web1.example.com","client":"tls:192.0.2.1","openedMs":1000,
///     "carrier":"through ipcd-tlsd","stale":false,"revision":3,"times":1,
///     "scheme":"tls","address":"192.0.2.1","names":["dns:web1.example.com"]}"#;
/// let connection: Connection = serde_json::from_str(text)?;
/// assert_eq!(connection.kind, ConnectionKind::Relayed);
/// assert!(matches!(connection.who, Identity::Remote(peer) if peer.names == ["dns:web1.example.com"]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Its number, for `Kill`. Never used again for another one.
    pub id: u64,
    /// What is listed.
    pub kind: ConnectionKind,
    /// The name that was asked for.
    pub service: String,
    /// Where it led.
    pub target: String,
    /// `out`, `in` or `local`.
    pub direction: String,
    /// The rule that allowed it, and where it is written.
    pub rule: String,
    /// Who has it, for people.
    pub client: String,
    /// Its age, in milliseconds.
    pub opened_ms: u64,
    /// Who carries the bytes: `direct`, or for example `through ipcd-tlsd`.
    pub carrier: String,
    /// The rules of today would deny it.
    pub stale: bool,
    /// The configuration that allowed it.
    pub revision: u64,
    /// How often it was asked for.
    pub times: u64,
    /// The kernel's number for the socket that was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// The kernel's number for the network namespace that the socket belongs to, if it is one of TCP:
    /// only there can it be found by its cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<u64>,
    /// Who has it.
    #[serde(flatten)]
    pub who: Identity,
}

/// What a listed connection is, and so until when it is listed.
///
/// ```
/// use libipc::interface::control::ConnectionKind;
///
/// assert_eq!(serde_json::from_str::<ConnectionKind>(r#""name""#)?, ConnectionKind::Name);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionKind {
    /// The right to connect to a service of this host, until the client's process ends.
    Name,
    /// A connected socket that the client holds alone, until its process ends.
    Socket,
    /// A connection that the service took over from the broker.
    Registered,
    /// Bytes that are moved by a daemon of ours, until it reports the end.
    Relayed,
}

/// Parameters of `Kill`.
///
/// ```
/// use libipc::interface::control::Kill;
///
/// assert_eq!(serde_json::to_string(&Kill { id: 7, over: None })?, r#"{"id":7}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Kill {
    /// The connection.
    pub id: u64,
    /// It is over already, as the caller knows who has ended it: it is no longer listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<bool>,
}

/// Answer to `Metrics`.
///
/// ```
/// use libipc::interface::control::Metrics;
///
/// let metrics: Metrics = serde_json::from_str(r##"{"text":"# EOF\n"}"##)?;
/// assert!(metrics.text.ends_with("# EOF\n"), "as OpenMetrics ends");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Metrics {
    /// `OpenMetrics` text.
    pub text: String,
}
