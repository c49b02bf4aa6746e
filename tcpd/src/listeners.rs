//! The sockets on which other hosts reach us.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use libipc::name::ServiceName;
use sys::inherited::Inherited;

use crate::config::{Listen, Then};

/// Peers that wait to be accepted at most; the kernel may have a lower limit.
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct ListenerSocket {
    /// Its name: that of its table, what the service manager calls it, or the address.
    pub(crate) name: String,
    /// What is offered to plain clients; without it peers say a hello.
    pub(crate) service: Option<ServiceName>,
    /// The scheme that connections go on by.
    pub(crate) then: Option<Then>,
    /// The socket, non-blocking.
    pub(crate) socket: OwnedFd,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Listeners(pub(crate) Vec<ListenerSocket>);

/// Why there is no listener.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// A table has no address, and no socket of its name was inherited.
    NotInherited(String),
    /// The kernel's answer.
    System {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInherited(name) => {
                write!(f, "[listen.{name}] has no address, and no socket {name:?} was inherited")
            }
            Self::System { address, error } => write!(f, "cannot listen at {address}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Listeners {
    /// Takes what the service manager passed for other hosts, and listens at `addresses` and as `tables` say.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; what was opened is closed.
    pub(crate) fn open(
        inherited: Vec<Inherited>,
        addresses: &[SocketAddr],
        tables: Vec<Listen>,
    ) -> Result<Self, OpenError> {
        let mut all = usable(inherited);
        for Listen { name, address, service, then } in tables {
            if let Some(address) = address {
                all.push(ListenerSocket { name, service, then, socket: listen(address)?.0 });
            } else if let Some(inherited) = all.iter_mut().find(|one| one.name == name) {
                inherited.service = service;
                inherited.then = then;
            } else {
                return Err(OpenError::NotInherited(name));
            }
        }
        for address in addresses {
            let (socket, address) = listen(*address)?;
            let name = address.to_string();
            all.push(ListenerSocket { name, service: None, then: None, socket });
        }
        Ok(Self(all))
    }
}

fn usable(inherited: Vec<Inherited>) -> Vec<ListenerSocket> {
    let mut all = Vec::new();
    for Inherited { name, descriptor: socket } in inherited {
        let is_ours = sys::socket::is_listening(socket.as_fd()).unwrap_or(false)
            && matches!(sys::socket::local_address(socket.as_fd()), Ok(Some(_)))
            && sys::socket::set_blocking(socket.as_fd(), false).is_ok();
        if is_ours {
            all.push(ListenerSocket { name, service: None, then: None, socket });
        } else {
            tracing::warn!(event = "not-a-listener", ?name);
        }
    }
    all
}

/// A listening socket, and where it listens: the kernel chooses the port where it is 0.
fn listen(address: SocketAddr) -> Result<(OwnedFd, SocketAddr), OpenError> {
    let socket =
        sys::tcp::listen(address, BACKLOG).map_err(|error| OpenError::System { address, error })?;
    let local = sys::socket::local_address(socket.as_fd()).ok().flatten();
    let address = local.unwrap_or(address);
    tracing::info!(event = "listening", %address);
    Ok((socket, address))
}
