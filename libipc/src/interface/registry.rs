//! The methods of `org.ipcd.Broker` for those who offer services, and for those who hand their
//! connection on.

use serde::{Deserialize, Serialize};

use super::Identity;

/// Name of the method that offers a service.
pub const REGISTER: &str = "org.ipcd.Broker.Register";

/// Name of the method that makes a socket pair's end a connection of its maker.
pub const ADOPT: &str = "org.ipcd.Broker.Adopt";

/// Name of the method that narrows a connection.
pub const RESTRICT: &str = "org.ipcd.Broker.Restrict";

/// Name of the method that tells which services are there.
pub const WATCH: &str = "org.ipcd.Broker.Watch";

/// Parameters of `Register`.
///
/// ```
/// use libipc::interface::registry::Register;
///
/// let offer = Register { service: "pongd".to_owned() };
/// assert_eq!(serde_json::to_string(&offer)?, r#"{"service":"pongd"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Register {
    /// The name to serve.
    pub service: String,
}

/// Reply to `Register`: empty at first, then one per client.
///
/// ```
/// use libipc::interface::registry::Registered;
///
/// let first: Registered = serde_json::from_str("{}")?;
/// assert!(first.id.is_none(), "the name is served; nobody has come yet");
/// let client: Registered = serde_json::from_str(r#"{"id":7,"client":{"pid":4711,"uid":998}}"#)?;
/// assert!(client.id == Some(7) && client.client.is_some());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Registered {
    /// The number of a new client, whose connection is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Identity>,
    /// The number of a client whose connection is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
}

/// The error that ends a registration which was good so far.
///
/// ```
/// use libipc::interface::registry::Ended;
///
/// let text = r#"{"error":"org.ipcd.Broker.Replaced","parameters":{"service":"pongd"}}"#;
/// let Ended::Replaced { service } = serde_json::from_str(text)?;
/// assert_eq!(service, "pongd");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Ended {
    /// Another process of the same owner has registered the name.
    #[serde(rename = "org.ipcd.Broker.Replaced")]
    Replaced {
        /// The name.
        service: String,
    },
}

/// Parameters of `Restrict` and of `Watch`.
///
/// ```
/// use libipc::interface::registry::Services;
///
/// let services = vec!["pongd".to_owned(), "db tls://db1.example.com:5432".to_owned()];
/// assert_eq!(
///     serde_json::to_string(&Services { services })?,
///     r#"{"services":["pongd","db tls://db1.example.com:5432"]}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Services {
    /// The names. In `Restrict` an entry may be `NAME TARGET`, as in `IPC_NETWORK`: the name then
    /// leads there, whatever a request says.
    pub services: Vec<String>,
}

/// Reply to `Watch`.
///
/// ```
/// use libipc::interface::registry::Watched;
///
/// let news: Watched = serde_json::from_str(r#"{"service":"pongd","available":true}"#)?;
/// assert_eq!(news, Watched { service: "pongd".to_owned(), available: true });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Watched {
    /// Which service.
    pub service: String,
    /// Whether it is there now.
    pub available: bool,
}
