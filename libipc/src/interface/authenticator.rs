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
///
/// ```
/// use libipc::interface::authenticator::Verify;
///
/// let text = r#"{"user":"alice","secret":"s3cret","peer":"192.0.2.1"}"#;
/// let login: Verify = serde_json::from_str(text)?;
/// assert!(login.secret.is("s3cret") && !format!("{login:?}").contains("s3cret"));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use libipc::interface::authenticator::Verified;
///
/// let alice: Verified = serde_json::from_str(r#"{"user":"alice","groups":["shop"]}"#)?;
/// // Rules know her as `login:alice` and `login:@shop`.
/// assert_eq!((alice.user.as_str(), &alice.groups[..]), ("alice", &["shop".to_owned()][..]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verified {
    /// The user, as rules name it.
    pub user: String,
    /// Groups of that user.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What an authentication service answers instead.
///
/// ```
/// use libipc::interface::authenticator::AuthenticatorError;
///
/// let text = r#"{"error":"org.ipcd.Authenticator.Rejected","parameters":{}}"#;
/// let error: AuthenticatorError = serde_json::from_str(text)?;
/// assert_eq!(error.to_string(), "the login is not accepted");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
