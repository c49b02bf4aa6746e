//! `org.ipcd.Authenticator`: who verifies logins for the broker.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/org.ipcd.Authenticator.varlink");

/// Its name.
pub const INTERFACE: &str = "org.ipcd.Authenticator";

/// Name of its method.
pub const VERIFY: &str = "org.ipcd.Authenticator.Verify";

/// Parameters of `Verify`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verify {
    /// The user.
    pub user: Secret,
    /// The secret.
    pub secret: Secret,
    /// Who brought the login: the address of another host, or `uid:NUMBER`.
    pub peer: String,
}

/// Answer to `Verify`: the login is right.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verified {
    /// The user, as rules name it.
    pub user: String,
    /// Groups of that user.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What an authentication service answers instead.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "error", content = "parameters")]
pub enum AuthenticatorError {
    /// The login is not accepted.
    #[serde(rename = "org.ipcd.Authenticator.Rejected")]
    Rejected {},
    /// More logins are being verified than there may be.
    #[serde(rename = "org.ipcd.Authenticator.Busy")]
    Busy {},
}

impl fmt::Display for AuthenticatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected {} => "the login is not accepted",
            Self::Busy {} => "too many logins are being verified; try again",
        })
    }
}

impl std::error::Error for AuthenticatorError {}
