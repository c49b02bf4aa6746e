//! The interfaces `org.ipcd.*` as types, and their files as text.
//!
//! The files in `interfaces/` are the contract; a type here is what this version reads or writes.

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
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Identity {
    /// A peer on another host.
    Remote(RemoteIdentity),
    /// A process of this host.
    Local(LocalIdentity),
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
