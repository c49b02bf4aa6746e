//! What the broker has to look up while it decides.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use libipc::name::ServiceName;
use libipc::rundir::RunDirectory;
use libipc::unit::Units;
use nix::libc;
use policy::accounts::Accounts;
use sys::door::{self, Door, DoorError};

use crate::accounts::HostAccounts;
use crate::action::ClientId;
use crate::files::Files;
use crate::reload::{Live, Refusal};

/// Facts that change by themselves. A simulator of this is what the broker's tests use.
pub(crate) trait World {
    /// The door of a service with a socket of its own: at `place` if the configuration says where,
    /// else among the services of the run directory.
    fn door(&self, service: &ServiceName, place: Option<&Path>) -> Result<Door, DoorError>;

    /// The user to whom that door's socket belongs, if there is one.
    fn owner(&self, service: &ServiceName, place: Option<&Path>) -> Option<u32> {
        self.door(service, place).ok().map(|door| door.owner)
    }

    /// Whether a transport daemon has its place.
    fn has_transport(&self, name: &str) -> bool;

    /// Reads the configuration again.
    fn load(&self) -> Result<Arc<Live>, Refusal>;

    /// Whether the process that had the number `pid` at `seen` lives at `now`.
    fn lives(&self, pid: u32, seen: Instant, now: Instant) -> bool;

    /// Names in the run directory's place of services, as far as the broker may see them.
    fn services(&self) -> Vec<ServiceName>;

    /// The users and groups of this host.
    fn accounts(&self) -> &dyn Accounts {
        &HostAccounts
    }
}

/// A world that looks once where one moment asks twice: for the owner of a service that policy
/// wants to know, and then for its door.
pub(crate) struct Remembering<'w> {
    world: &'w dyn World,
    looked: RefCell<Option<(ServiceName, Result<Door, DoorError>)>>,
}

impl<'w> Remembering<'w> {
    /// Nothing is remembered yet.
    pub(crate) fn new(world: &'w dyn World) -> Self {
        Self { world, looked: RefCell::new(None) }
    }
}

impl World for Remembering<'_> {
    fn door(&self, service: &ServiceName, place: Option<&Path>) -> Result<Door, DoorError> {
        match self.looked.take() {
            Some((name, door)) if name == *service => door,
            _ => self.world.door(service, place),
        }
    }

    fn owner(&self, service: &ServiceName, place: Option<&Path>) -> Option<u32> {
        let door = self.door(service, place);
        let owner = door.as_ref().ok().map(|door| door.owner);
        self.looked.replace(Some((service.clone(), door)));
        owner
    }

    fn has_transport(&self, name: &str) -> bool {
        self.world.has_transport(name)
    }

    fn load(&self) -> Result<Arc<Live>, Refusal> {
        self.world.load()
    }

    fn lives(&self, pid: u32, seen: Instant, now: Instant) -> bool {
        self.world.lives(pid, seen, now)
    }

    fn services(&self) -> Vec<ServiceName> {
        self.world.services()
    }
}

/// What the kernel knows of clients' connections. Looking costs system calls.
pub(crate) trait Sockets {
    /// The units of whoever made a client's connection, if it lives still.
    fn units(&self, client: ClientId) -> Units;

    /// Whether a service has collected all but fewer than so many of the messages it was sent.
    fn has_fewer_uncollected_than(&self, client: ClientId, most: usize) -> bool;
}

/// The run directory and the files of this host.
#[derive(Debug)]
pub(crate) struct Host {
    services: File,
    directory: RunDirectory,
    place: PathBuf,
    transports: PathBuf,
    files: Files,
}

impl Host {
    /// The host as seen from a run directory.
    pub(crate) fn new(directory: &RunDirectory, files: Files) -> std::io::Result<Self> {
        // The broker may pass through that directory, and not list it.
        let services = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(directory.services())?;
        Ok(Self {
            services,
            directory: directory.clone(),
            place: directory.services(),
            transports: directory.transports(),
            files,
        })
    }
}

impl World for Host {
    fn door(&self, service: &ServiceName, place: Option<&Path>) -> Result<Door, DoorError> {
        match place {
            Some(path) => door::open_path(path),
            None => door::open_beneath(self.services.as_fd(), service.as_str()),
        }
    }

    fn has_transport(&self, name: &str) -> bool {
        fs::symlink_metadata(self.transports.join(name)).is_ok()
    }

    fn load(&self) -> Result<Arc<Live>, Refusal> {
        crate::reload::load_again(&self.files, &self.directory)
    }

    fn lives(&self, pid: u32, seen: Instant, now: Instant) -> bool {
        crate::process::lives(pid, seen, now)
    }

    fn services(&self) -> Vec<ServiceName> {
        // The system's broker may pass through that directory, and not list it.
        let names = fs::read_dir(&self.place).into_iter().flatten().flatten();
        names.filter_map(|entry| ServiceName::new(entry.file_name().to_str()?).ok()).collect()
    }
}
