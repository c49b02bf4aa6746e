//! The interfaces `org.ipcd.*` as types, and their files as text.
//!
//! The files in `interfaces/` are the contract; a type here is what this version reads or writes.

use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::identity::{self, LocalIdentity, RemoteIdentity};
use crate::secret::Secret;

pub mod authenticator;
pub mod broker;
pub mod control;
pub mod introspection;
pub mod registry;
pub mod transport;
pub mod tunnel;

/// An [`crate::identity::Identity`] as it travels.
///
/// ```
/// use libipc::identity;
/// use libipc::interface::Identity;
///
/// let local: Identity = serde_json::from_str(r#"{"pid":4711,"uid":998,"gid":998}"#)?;
/// let identity::Identity::Local(peer) = local.into() else { panic!("a process of this host") };
/// assert_eq!((peer.pid, peer.uid, peer.unit), (Some(4711), Some(998), None));
/// let remote = r#"{"scheme":"tls","address":"192.0.2.1","names":["dns:web1.example.com"]}"#;
/// assert!(matches!(serde_json::from_str(remote)?, Identity::Remote(peer) if peer.scheme == "tls"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Identity {
    /// A peer on another host.
    Remote(RemoteIdentity),
    /// A process of this host.
    Local(LocalIdentity),
}

impl<'de> Deserialize<'de> for Identity {
    /// Only a peer on another host came by a scheme.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Either {
            scheme: Option<String>,
            address: Option<IpAddr>,
            #[serde(default)]
            names: Vec<String>,
            pid: Option<u32>,
            uid: Option<u32>,
            gid: Option<u32>,
            groups: Option<Vec<u32>>,
            unit: Option<String>,
            user_unit: Option<String>,
            socket: Option<String>,
            #[serde(default)]
            logins: Vec<String>,
        }
        let either = Either::deserialize(deserializer)?;
        let Either { pid, uid, gid, groups, unit, user_unit, socket, logins, names, .. } = either;
        let Some(scheme) = either.scheme else {
            let local = LocalIdentity { pid, uid, gid, groups, unit, user_unit, socket, logins };
            return Ok(Self::Local(local));
        };
        let address = either.address.ok_or_else(|| D::Error::missing_field("address"))?;
        Ok(Self::Remote(RemoteIdentity { scheme, address, names }))
    }
}

impl From<identity::Identity> for Identity {
    fn from(identity: identity::Identity) -> Self {
        match identity {
            identity::Identity::Local(local) => Self::Local(local),
            identity::Identity::Remote(remote) => Self::Remote(remote),
        }
    }
}

impl From<Identity> for identity::Identity {
    fn from(identity: Identity) -> Self {
        match identity {
            Identity::Local(local) => Self::Local(local),
            Identity::Remote(remote) => Self::Remote(remote),
        }
    }
}

impl Serialize for Secret {
    /// Writes the text itself: for messages to the one who needs it, and nothing else.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Errors that every varlink service may answer with.
///
/// ```
/// use libipc::interface::ServiceError;
///
/// let error = ServiceError::MethodNotFound { method: "org.ipcd.Broker.Conect".to_owned() };
/// assert_eq!(
///     serde_json::to_string(&error)?,
///     r#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"org.ipcd.Broker.Conect"}}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
pub enum ServiceError {
    /// No such interface here.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Its name.
        interface: String,
    },
    /// The interface has no such method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Its name.
        method: String,
    },
    /// The method is not in this version.
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    MethodNotImplemented {
        /// Its name.
        method: String,
    },
    /// A parameter does not fit.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// Which, as far as it is known.
        parameter: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<identity::Identity, serde_json::Error> {
        serde_json::from_str::<Identity>(text).map(Into::into)
    }

    #[test]
    fn only_a_peer_on_another_host_came_by_a_scheme() {
        let local = LocalIdentity {
            pid: Some(1),
            uid: Some(2),
            gid: Some(3),
            groups: Some(vec![4]),
            unit: Some("a.service".to_owned()),
            user_unit: Some("b.service".to_owned()),
            socket: Some("c".to_owned()),
            logins: vec!["d".to_owned()],
        };
        let remote = RemoteIdentity {
            scheme: "tls".to_owned(),
            address: [192, 0, 2, 1].into(),
            names: vec!["dns:web.example.com".to_owned()],
        };
        for identity in [identity::Identity::Local(local), identity::Identity::Remote(remote)] {
            let text = serde_json::to_string(&Identity::from(identity.clone())).unwrap();
            assert_eq!(read(&text).unwrap(), identity, "{text}");
        }
        assert_eq!(read("{}").unwrap(), identity::Identity::Local(LocalIdentity::default()));
    }

    #[test]
    fn a_peer_without_an_address_is_nobody() {
        let error = read(r#"{"scheme":"tls"}"#).unwrap_err();
        assert!(error.to_string().starts_with("missing field `address`"), "{error}");
    }
}
