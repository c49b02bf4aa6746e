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

/// Connections that wait in the kernel's line while the broker accepts. It is one line for all users,
/// and whoever floods it keeps the others waiting behind as many.
const QUEUE_MOST: i32 = 512;

/// Those that wait while nobody accepts, until the next broker does: as many as the kernel allows.
const QUEUE_BETWEEN: i32 = i32::MAX;

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
        sys::socket::set_queue(listener.as_fd(), QUEUE_MOST)?;
        Ok(Self { listener, entrance, place: None })
    }

    /// Nobody accepts here any more: who comes waits for the next broker.
    pub(crate) fn leave(&self) {
        // A line that cannot be made longer is as long as it was.
        let _same = sys::socket::set_queue(self.listener.as_fd(), QUEUE_BETWEEN).is_err();
    }

    /// Whether its socket still has its name.
    pub(crate) fn is_in_place(&self) -> bool {
        self.listener.has_its_name()
    }

    /// A front of the configuration.
    ///
    /// # Errors
    ///
    /// As [`Way::new`].
    pub(crate) fn front(listener: Listener, name: ServiceName, place: &Path) -> io::Result<Self> {
        let way = Self::new(listener, Entrance::Front(name))?;
        Ok(Self { place: Some(place.to_owned()), ..way })
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
    fn the_line_is_short_while_somebody_accepts_and_as_long_as_may_be_while_nobody_does() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ipc");
        let listener = libipc::Address::Path(path.clone()).listen().unwrap();
        let way = Way::new(listener, Entrance::Broker).unwrap();
        // Who has left stays in the line.
        let come = || sys::socket::connect_unix_now(&path).is_ok();
        let until_full = || (0..1_000_000).take_while(|_| come()).count();
        let short = usize::try_from(QUEUE_MOST).unwrap() + 1;
        assert_eq!(until_full(), short);
        way.leave();
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most: usize = most.trim().parse().unwrap();
        assert_eq!(until_full(), most + 1 - short);
    }

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
