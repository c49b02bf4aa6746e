//! The steps of start-up that transport daemons share.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use daemon::exit::Failure;
use daemon::log::Log;
use daemon::sandbox::{Sandbox, Sockets};
use libipc::listener::ListenError;
use libipc::rundir::{Instance, RunDirectory};
use sys::inherited::Inherited;

use crate::server::Server;

/// What the service manager passed.
#[derive(Debug)]
pub struct Inheritance {
    /// A Unix socket at our place in the run directory, for the broker.
    pub place: Option<OwnedFd>,
    /// Sockets for other hosts.
    pub others: Vec<Inherited>,
}

impl Inheritance {
    /// Takes it over. Call it before anything else opens descriptors.
    #[must_use]
    pub fn take() -> Self {
        Self::of(sys::inherited::take())
    }

    /// Takes over what the parent has left to this generation of its program.
    #[must_use]
    pub fn take_of_parent() -> Self {
        Self::of(sys::inherited::take_of_parent())
    }

    fn of(inherited: Vec<Inherited>) -> Self {
        let is_place =
            |one: &Inherited| sys::socket::is_unix(one.descriptor.as_fd()).unwrap_or(false);
        let (mut places, others): (Vec<_>, Vec<_>) = inherited.into_iter().partition(is_place);
        Self { place: places.pop().map(|place| place.descriptor), others }
    }
}

/// The socket on which the broker calls us: `inherited`, or one of our own as `name`.
///
/// # Errors
///
/// [`ListenError`]; in particular if a living daemon has the place.
pub fn serve(
    inherited: Option<OwnedFd>,
    directory: &RunDirectory,
    name: &str,
) -> Result<Server, ListenError> {
    match inherited {
        Some(place) => Server::from_socket(place),
        None => Server::bind(directory, name),
    }
}

/// Shuts the daemon in, with the sockets that it may make and the files that it reads; see
/// [`Sandbox::enter`].
///
/// # Errors
///
/// [`Failure::System`]; nothing may go on then.
pub fn shut_in(
    directory: &RunDirectory,
    sockets: Sockets,
    reads: &[PathBuf],
    log: Log,
) -> Result<(), Failure> {
    let binds: &[_] = match directory.instance() {
        // There our place was made by root, and is not to be changed.
        Instance::System => &[],
        _ => &[directory.path().to_owned()],
    };
    Sandbox { sockets, reads, binds, has_children: false }.enter(log)
}
