//! `org.ipcd.Control`.

use serde::{Deserialize, Serialize};

mod connection;
mod decision;

pub use connection::{
    Connection, ConnectionKind, Connections, Kill, ListConnections, ListServices, Metrics, Service,
    ServiceKind, Services,
};
pub use decision::{Decision, Monitor, Verdict};

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/org.ipcd.Control.varlink");

/// Name of the method that tells how the broker does.
pub const STATUS: &str = "org.ipcd.Control.Status";

/// Name of the method that reads the configuration again.
pub const RELOAD: &str = "org.ipcd.Control.Reload";

/// Name of the method that lists the services of this host.
pub const SERVICES: &str = "org.ipcd.Control.Services";

/// Name of the method that lists what was handed over.
pub const CONNECTIONS: &str = "org.ipcd.Control.Connections";

/// Name of the method that ends a connection.
pub const KILL: &str = "org.ipcd.Control.Kill";

/// Name of the method that gives all numbers to a monitoring system.
pub const METRICS: &str = "org.ipcd.Control.Metrics";

/// Name of the method that tells of every decision.
pub const MONITOR: &str = "org.ipcd.Control.Monitor";

/// Answer to `Status`.
///
/// ```
/// use libipc::interface::control::Status;
///
/// let text = r#"{"version":"0.1.0","pid":812,"instance":"system","rundir":"/run/ipc","uptimeMs":60000,
///     "revision":2,"loadedMs":1000,"origins":["/etc/ipcd/ipcd.toml"],"rules":7,"dormant":[],
///     "refused":[],"clients":3,"transports":[],"counters":[]}"#;
/// let status: Status = serde_json::from_str(text)?;
/// assert!(status.refused.is_empty(), "the newest configuration is the live one");
/// assert!(status.taken.is_empty(), "an older broker does not tell what is taken");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the broker.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// `system`, `user` or `private`.
    pub instance: String,
    /// Its run directory.
    pub rundir: String,
    /// Time since it started, in milliseconds.
    pub uptime_ms: u64,
    /// How many configurations it has loaded.
    pub revision: u64,
    /// Age of the live one, in milliseconds.
    pub loaded_ms: u64,
    /// Where the live one comes from.
    pub origins: Vec<String>,
    /// Number of rules.
    pub rules: u64,
    /// Rules that match nobody because their user or group does not exist.
    pub dormant: Vec<String>,
    /// Why a newer configuration was not taken.
    pub refused: Vec<Problem>,
    /// How long ago that was, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_ms: Option<u64>,
    /// Connected clients.
    pub clients: u64,
    /// Connections that are listed.
    #[serde(default)]
    pub connections: u64,
    /// What is taken of each limit.
    #[serde(default)]
    pub taken: Vec<Taken>,
    /// The daemons that carry connections to and from other hosts.
    pub transports: Vec<Transport>,
    /// What was counted since the start.
    pub counters: Vec<Counter>,
}

/// A daemon that carries connections to and from other hosts.
///
/// ```
/// use libipc::interface::control::Transport;
///
/// let tls: Transport = serde_json::from_str(r#"{"name":"tls","available":false,"relays":0}"#)?;
/// assert!(!tls.available, "targets that begin with tls: cannot be reached now");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Transport {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub available: bool,
    /// Connections that it relays now.
    pub relays: u64,
}

/// One problem of a configuration.
///
/// ```
/// use libipc::interface::control::Problem;
///
/// let text = r#"{"file":"ipcd.toml","line":3,"column":1,"message":"unknown key `rulse`",
///     "help":"did you mean `rules`?"}"#;
/// let Problem { file, line, column, message, .. } = serde_json::from_str(text)?;
/// assert_eq!(format!("{file}:{line}:{column}: {message}"), "ipcd.toml:3:1: unknown key `rulse`");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The file, or `command line`.
    pub file: String,
    /// The line; the first is 1.
    pub line: u64,
    /// The column; the first is 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// One thing that is counted.
///
/// ```
/// use libipc::interface::control::Counter;
///
/// let counter: Counter = serde_json::from_str(r#"{"name":"denied out","value":41}"#)?;
/// assert_eq!((counter.name.as_str(), counter.value), ("denied out", 41));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Counter {
    /// What.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// How much of a limit is taken now.
///
/// ```
/// use libipc::interface::control::Taken;
///
/// let text = r#"{"limit":"clients-per-user","used":900,"most":1024,"user":998}"#;
/// let taken: Taken = serde_json::from_str(text)?;
/// assert!(taken.is_nearly_all());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// The limit, as the configuration names it.
    pub limit: String,
    /// How much is taken: of a limit per user, by the one who has taken most.
    pub used: u64,
    /// How much there may be.
    pub most: u64,
    /// That user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

impl Taken {
    /// Whether four fifths of it are taken.
    #[must_use]
    pub fn is_nearly_all(&self) -> bool {
        self.used.saturating_mul(5) >= self.most.saturating_mul(4) && self.used > 0
    }
}

/// Answer to `Reload`.
///
/// ```
/// use libipc::interface::control::Reloaded;
///
/// let now: Reloaded = serde_json::from_str(r#"{"revision":3,"wouldBeDenied":2,"ended":0}"#)?;
/// assert!(now.would_be_denied > now.ended, "what was handed over goes on unless somebody ends it");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The revision that is live now.
    pub revision: u64,
    /// Connections handed over that would be denied now.
    pub would_be_denied: u64,
    /// Connections that were ended for that.
    #[serde(default)]
    pub ended: u64,
}

/// What `org.ipcd.Control` answers instead.
///
/// ```
/// use libipc::interface::control::ControlError;
///
/// let error = ControlError::UnknownConnection { id: 7 };
/// assert_eq!(
///     serde_json::to_string(&error)?,
///     r#"{"error":"org.ipcd.Control.UnknownConnection","parameters":{"id":7}}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
pub enum ControlError {
    /// The new configuration has problems; the old one stays.
    #[serde(rename = "org.ipcd.Control.ConfigurationInvalid")]
    ConfigurationInvalid {
        /// All of them.
        problems: Vec<Problem>,
    },
    /// The caller is not an administrator of this broker.
    #[serde(rename = "org.ipcd.Control.NotPermitted")]
    NotPermitted {
        /// Who is.
        reason: String,
    },
    /// No connection has this id.
    #[serde(rename = "org.ipcd.Control.UnknownConnection")]
    UnknownConnection {
        /// The id.
        id: u64,
    },
    /// The connection was handed over whole: the broker has no part of it.
    #[serde(rename = "org.ipcd.Control.HandedOver")]
    HandedOver {
        /// The id.
        id: u64,
        /// What to do.
        reason: String,
    },
}
