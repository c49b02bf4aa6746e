//! `org.ipcd.Transport`: what the broker asks of a transport daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::tunnel::TunnelError;
use crate::secret::Secret;

mod error;

pub use error::TransportError;

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
///
/// ```
/// use libipc::interface::transport::AddressRule;
///
/// let text = r#"{"network":"10.0.0.0/8","allow":false,"rule":"deny out * tcp:10.0.0.0/8"}"#;
/// assert!(!serde_json::from_str::<AddressRule>(text)?.allow);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Hello;
///
/// let hello: Hello = serde_json::from_str(r#"{"service":"authd","hops":1}"#)?;
/// assert!(hello.hops == 1 && hello.user.is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Dial;
///
/// let text = r#"{"host":"db1.example.com","port":5432,"deadlineMs":9000,"options":{"nodelay":""},
///     "addresses":[{"network":"0.0.0.0/0","allow":true,"rule":"allow out db *"}]}"#;
/// let dial: Dial = serde_json::from_str(text)?;
/// assert!(dial.hello.is_none(), "a plain server, to which nobody says hello");
/// assert!(dial.options.contains_key("nodelay") && dial.addresses.len() == 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Dialed;
///
/// let answer: Dialed = serde_json::from_str(r#"{"address":"192.0.2.1:5432"}"#)?;
/// assert!(answer.address.port() == 5432 && answer.id.is_none(), "the socket is attached");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Dialed {
    /// The address that answered.
    pub address: SocketAddr,
    /// The id, if the socket was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// Parameters of `Wrap`.
///
/// ```
/// use libipc::interface::transport::Wrap;
///
/// let text = r#"{"host":"db1.example.com","deadlineMs":9000,"options":{"starttls":"postgres"}}"#;
/// let wrap: Wrap = serde_json::from_str(text)?;
/// assert!(wrap.options["starttls"].is("postgres"));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Serve;
///
/// let text = r#"{"listener":"fleet","address":"192.0.2.1:40000","deadlineMs":5000}"#;
/// assert!(serde_json::from_str::<Serve>(text)?.service.is_none(), "the peer will say hello");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Proven;
///
/// let proven: Proven = serde_json::from_str(r#"{"names":["dns:web1.example.com"]}"#)?;
/// assert_eq!(proven.names, ["dns:web1.example.com"]);
/// assert!(serde_json::from_str::<Proven>("{}")?.names.is_empty(), "nothing, if nothing is said");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Proven {
    /// Each as `KIND:VALUE`.
    #[serde(default)]
    pub names: Vec<String>,
}

/// Answer to `Wrap`.
///
/// ```
/// use libipc::interface::transport::Wrapped;
///
/// let text = r#"{"id":7,"identity":{"names":["dns:db1.example.com"]}}"#;
/// let wrapped: Wrapped = serde_json::from_str(text)?;
/// assert_eq!(wrapped.identity.names, ["dns:db1.example.com"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wrapped {
    /// What was agreed.
    pub id: u64,
    /// What the far end has proven.
    #[serde(default)]
    pub identity: Proven,
}

/// A remote peer's connection.
///
/// ```
/// use libipc::interface::transport::Arrival;
///
/// let text = r#"{"id":7,"scheme":"tcp","listener":"lan","address":"192.0.2.1:40000",
///     "service":"authd","hops":1}"#;
/// let peer: Arrival = serde_json::from_str(text)?;
/// assert_eq!(peer.service.as_deref(), Some("authd"));
/// assert!(peer.identity.names.is_empty(), "TCP proves nothing");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Arrived;
///
/// let text = r#"{"arrival":{"id":7,"scheme":"tls","listener":"fleet","address":"192.0.2.1:40000",
///     "service":"authd","hops":1,"identity":{"names":["dns:web1.example.com"]}}}"#;
/// assert_eq!(serde_json::from_str::<Arrived>(text)?.arrival.scheme, "tls");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Arrived {
    /// The peer.
    pub arrival: Arrival,
}

/// One reply to `Listen`.
///
/// ```
/// use libipc::interface::transport::Told;
///
/// assert!(matches!(serde_json::from_str(r#"{"ended":7}"#)?, Told::Ended { ended: 7 }));
/// assert!(matches!(serde_json::from_str(r#"{"finishing":1}"#)?, Told::Finishing { finishing: 1 }));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Agreed;
///
/// assert_eq!(serde_json::to_string(&Agreed { id: 7 })?, r#"{"id":7}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Agreed {
    /// What was agreed.
    pub id: u64,
}

/// Parameters of `Refuse`.
///
/// ```
/// use libipc::interface::transport::Refuse;
/// use libipc::interface::tunnel::TunnelError;
///
/// let no: Refuse = serde_json::from_str(r#"{"id":7,"retry":false}"#)?;
/// assert_eq!(no.refusal(), TunnelError::no(false), "the peer is not told why");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::transport::Empty;
///
/// assert_eq!(serde_json::to_string(&Empty {})?, "{}");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Empty {}
