//! The sockets on which other hosts reach us.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Peers that wait to be accepted at most; the kernel may have a lower limit.
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct ListenerSocket {
    /// Its name: the address, or what the service manager calls it.
    pub(crate) name: String,
    /// The socket, non-blocking.
    pub(crate) socket: OwnedFd,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Listeners(pub(crate) Vec<ListenerSocket>);

impl Listeners {
    /// Takes what the service manager passed, and listens at `addresses`.
    ///
    /// # Errors
    ///
    /// The address that cannot be listened at, and the kernel's answer.
    pub(crate) fn open(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let mut all = Vec::new();
        for inherited in sys::inherited::take() {
            let socket = inherited.descriptor;
            let is_ours = sys::socket::is_listening(socket.as_fd()).unwrap_or(false)
                && matches!(sys::socket::local_address(socket.as_fd()), Ok(Some(_)))
                && sys::socket::set_blocking(socket.as_fd(), false).is_ok();
            if is_ours {
                all.push(ListenerSocket { name: inherited.name, socket });
            } else {
                tracing::warn!(event = "not-a-listener", name = ?inherited.name);
            }
        }
        for address in addresses {
            let socket =
                sys::socket::tcp_listen(*address, BACKLOG).map_err(|error| (*address, error))?;
            let local = sys::socket::local_address(socket.as_fd()).ok().flatten();
            let address = local.unwrap_or(*address);
            tracing::info!(event = "listening", address = %address);
            all.push(ListenerSocket { name: address.to_string(), socket });
        }
        Ok(Self(all))
    }
}
