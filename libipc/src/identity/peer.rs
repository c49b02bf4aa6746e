//! Who is at the other end of a socket, looked up when somebody asks.

use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use super::{Identity, LocalIdentity};

/// What is proven about the other end of a socket. Of a local one the kernel has kept it since the
/// connection was made, so that asking later gets the same answer, and not asking costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct Peer(OnceLock<Option<Identity>>);

impl Peer {
    /// What somebody has found out, or that nobody has.
    pub(crate) fn known(identity: Option<Identity>) -> Self {
        Self(OnceLock::from(identity))
    }

    /// A process of this host.
    pub(crate) fn local() -> Self {
        Self(OnceLock::new())
    }

    /// What is proven, of the peer of that very socket.
    pub(crate) fn identity(&self, socket: BorrowedFd<'_>) -> Option<&Identity> {
        let look = || LocalIdentity::of_peer(socket).ok().map(Identity::Local);
        self.0.get_or_init(look).as_ref()
    }

    /// Whether it is on another host.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.0.get(), Some(Some(Identity::Remote(_))))
    }
}
