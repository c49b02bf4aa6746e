//! What is proven about a peer.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};
use sys::credentials::PeerCredentials;

pub(crate) use peer::Peer;

mod peer;

/// Who is at the other end: a process of this host, or a peer on another one.
///
/// ```
/// use libipc::identity::Identity;
///
/// fn is_let_in(peer: Option<&Identity>) -> bool {
///     match peer {
///         Some(Identity::Local(local)) => local.uid == Some(1000),
///         Some(Identity::Remote(far)) => far.names.iter().any(|name| name == "dns:web.example.com"),
///         None => false,
///     }
/// }
/// assert!(!is_let_in(None));
/// ```
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
///
/// ```
/// use libipc::identity::LocalIdentity;
///
/// let peer = LocalIdentity { uid: Some(0), gid: Some(4), ..LocalIdentity::default() };
/// assert!(peer.is_privileged() && peer.is_in_group(4) && !peer.is_in_group(5));
/// ```
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
    /// Whom it has logged in as, for this one request: the user, and each group as `@GROUP`. It is
    /// looked at only where rules ask about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<String>,
}

/// A peer on another host.
///
/// ```
/// use libipc::AcceptRules;
/// use libipc::identity::{Identity, RemoteIdentity};
///
/// let names = vec!["dns:web.example.com".to_owned()];
/// let peer = RemoteIdentity { scheme: "tls".to_owned(), address: [192, 0, 2, 1].into(), names };
/// let rules = AcceptRules::default().allow_name("dns:web.example.com");
/// assert!(rules.check(Some(&Identity::Remote(peer))).is_ok());
/// ```
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

    /// This process's own facts. Its units are not looked up.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn of_process() -> io::Result<Self> {
        let groups = nix::unistd::getgroups()?.into_iter().map(nix::unistd::Gid::as_raw);
        Ok(Self {
            pid: Some(std::process::id()),
            uid: Some(nix::unistd::geteuid().as_raw()),
            gid: Some(nix::unistd::getegid().as_raw()),
            groups: Some(groups.collect()),
            ..Self::default()
        })
    }

    /// Whether it is known to be in a group, as its own or as a supplementary one.
    #[must_use]
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.gid == Some(gid) || self.groups.as_ref().is_some_and(|all| all.contains(&gid))
    }

    /// Whether it is known to be root.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        self.uid == Some(0)
    }
}
