//! What is proven about a peer.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};
use sys::credentials::PeerCredentials;

/// Who is at the other end: a process of this host, or a peer on another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// A process of this host, known by its kernel credentials.
    Local(LocalIdentity),
    /// A peer on another host, known by its address and by what it has proven.
    Remote(RemoteIdentity),
}

/// A process of this host, as the kernel knew it when it connected.
///
/// Every fact may be unknown (`None`): an id that this user namespace does not map, a process of a
/// foreign pid namespace. What is not known is not there; nothing stands in for it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalIdentity {
    /// Process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Effective user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Effective group id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<u32>>,
    /// Unit of the system's service manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Unit of the user's service manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_unit: Option<String>,
    /// Name of the broker socket it came in through, where that is not the ordinary one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
}

/// A peer on another host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteIdentity {
    /// How it came: a scheme of targets, for example `tcp`.
    pub scheme: String,
    /// Its network address.
    pub address: IpAddr,
    /// What it has proven, each as `dns:NAME`, `uri:…`, `pin:sha256-…`, `key:ID` or `login:NAME`.
    #[serde(default)]
    pub names: Vec<String>,
}

/// Whether this host can tell in which unit a process is: only then can a fact about units be
/// known, and only there do rules about them make sense.
#[must_use]
pub fn tells_units() -> bool {
    sys::credentials::has_peer_pidfd()
}

impl LocalIdentity {
    /// What the kernel recorded about whoever made this connection. The unit is not looked up.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOTCONN` for what is not a connected Unix socket.
    pub fn of_peer(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let PeerCredentials { pid, uid, gid } = sys::credentials::peer_credentials(socket)?;
        let groups = sys::credentials::peer_groups(socket).ok();
        Ok(Self { pid, uid, gid, groups, ..Self::default() })
    }
}
