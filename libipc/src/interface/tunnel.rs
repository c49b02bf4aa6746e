//! `org.ipcd.Tunnel`: the hello between transport daemons of two hosts.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/org.ipcd.Tunnel.varlink");

/// Name of its method.
pub const OPEN: &str = "org.ipcd.Tunnel.Open";

/// Parameters of `Open`.
///
/// ```
/// use libipc::interface::tunnel::Open;
///
/// let text = r#"{"service":"authd","hops":1,"user":"alice","secret":"s3cret"}"#;
/// let hello: Open = serde_json::from_str(text)?;
/// assert!(hello.hops == Some(1) && !format!("{hello:?}").contains("s3cret"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Open {
    /// The service wanted.
    pub service: String,
    /// Hops between hosts so far, this one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
    /// A login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Secret>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Name of a key that both hosts have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Proof of having it, for this connection alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// The answer yes.
///
/// ```
/// use libipc::interface::tunnel::Opened;
///
/// assert_eq!(serde_json::to_string(&Opened::default())?, "{}", "yes, and nothing else");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Opened {
    /// Proof of having the key, if the hello was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// The answer no.
///
/// ```
/// use libipc::interface::tunnel::TunnelError;
///
/// assert_eq!(
///     serde_json::to_string(&TunnelError::no(false))?,
///     r#"{"error":"org.ipcd.Tunnel.Refused","parameters":{"retry":false}}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
pub enum TunnelError {
    /// One answer for "unknown" and "denied" alike.
    #[serde(rename = "org.ipcd.Tunnel.Refused")]
    Refused {
        /// Whether trying again later can help.
        retry: bool,
        /// It is the login that was not accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<bool>,
    },
}

impl TunnelError {
    /// A plain no, of which nothing is said but whether trying again later can help.
    #[must_use]
    pub fn no(retry: bool) -> Self {
        Self::Refused { retry, login: None }
    }
}
