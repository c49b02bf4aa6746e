//! Ways in: listening sockets, and what it means to connect to each.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use libipc::listener::Listener;
use libipc::name::{NameError, ServiceName};

use crate::action::Entrance;

/// How the service manager names the broker's own socket.
pub(crate) const BROKER: &str = "ipc";

/// How it names one that systemd named after the unit.
const UNIT: &str = "ipcd.socket";

/// What the name of a front's descriptor begins with.
const FRONT: &str = "front.";

/// A listening socket, and what it means to connect there.
#[derive(Debug)]
pub(crate) struct Way {
    /// The socket.
    pub(crate) listener: Listener,
    /// What it means.
    pub(crate) entrance: Entrance,
    /// Where it is, if the configuration says so.
    pub(crate) place: Option<PathBuf>,
}

impl Way {
    /// Has what comes in that way known by more than its maker: each message carries its sender.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn new(listener: Listener, entrance: Entrance) -> io::Result<Self> {
        // Bytes that come in by a front are for the service, and belong to no message of ours.
        let are_messages = !matches!(entrance, Entrance::Front(_));
        sys::credentials::pass_credentials(listener.as_fd(), are_messages)?;
        Ok(Self { listener, entrance, place: None })
    }

    /// Whether its socket still has its name.
    pub(crate) fn is_in_place(&self) -> bool {
        self.listener.has_its_name()
    }

    /// A front of the configuration.
    pub(crate) fn front(listener: Listener, name: ServiceName, place: &Path) -> Self {
        Self { listener, entrance: Entrance::Front(name), place: Some(place.to_owned()) }
    }
}

/// What it means to connect to the inherited socket of that name.
///
/// # Errors
///
/// If a front's name is none.
pub(crate) fn of_inherited(name: &str) -> Result<Entrance, NameError> {
    if name == BROKER || name == UNIT {
        return Ok(Entrance::Broker);
    }
    match name.strip_prefix(FRONT) {
        Some(service) => ServiceName::new(service).map(Entrance::Front),
        None => Ok(Entrance::Named(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_inherited_socket_tells_what_it_is() {
        assert_eq!(of_inherited("ipc").unwrap(), Entrance::Broker);
        assert_eq!(of_inherited("ipcd.socket").unwrap(), Entrance::Broker);
        assert_eq!(of_inherited("agents").unwrap(), Entrance::Named("agents".to_owned()));
        let Entrance::Front(name) = of_inherited("front.db").unwrap() else { panic!("no front") };
        assert_eq!(name.as_str(), "db");
        assert!(of_inherited("front.").is_err());
        assert!(of_inherited("front.a b").is_err());
    }
}
