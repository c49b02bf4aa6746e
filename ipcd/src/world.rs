//! What the broker has to look up while it decides.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libipc::name::ServiceName;
use libipc::rundir::RunDirectory;
use nix::libc;
use sys::door::{self, Door, DoorError};

use crate::files::Files;
use crate::reload::{Live, Refusal};

/// Facts that change by themselves. A simulator of this is what the broker's tests use.
pub(crate) trait World {
    /// The door of a service with a socket of its own: at `place` if the configuration says where,
    /// else among the services of the run directory.
    fn door(&self, service: &ServiceName, place: Option<&Path>) -> Result<Door, DoorError>;

    /// Whether a transport daemon has its place.
    fn has_transport(&self, name: &str) -> bool;

    /// Reads the configuration again.
    fn load(&self) -> Result<Arc<Live>, Refusal>;
}

/// The run directory and the files of this host.
#[derive(Debug)]
pub(crate) struct Host {
    services: File,
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
        Ok(Self { services, transports: directory.transports(), files })
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
        crate::reload::load(&self.files)
    }
}
