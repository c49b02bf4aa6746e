//! The files of listening sockets: where they are made, and what was left there.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ListenError;
use crate::rundir::{Instance, RunDirectory};

/// The file of a bound socket, known by more than its name.
#[derive(Debug)]
pub(super) struct BoundFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// A child that got this value by `fork(2)` does not remove its parent's socket.
    owner: u32,
}

impl BoundFile {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let facts = fs::symlink_metadata(path)?;
        let (device, inode, owner) = (facts.dev(), facts.ino(), std::process::id());
        Ok(Self { path: path.to_owned(), device, inode, owner })
    }

    /// Whether what has its name is still the socket that was bound.
    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|facts| (facts.dev(), facts.ino()) == (self.device, self.inode))
    }

    /// Removes the file if it is still the one that this process has bound.
    pub(super) fn remove(&self) {
        if self.owner == std::process::id() && self.is_there() {
            // Whoever removed it before us wanted the same.
            let _gone = fs::remove_file(&self.path).is_err();
        }
    }
}

/// Makes what a private instance needs, and checks the directory.
pub(super) fn prepare(directory: &RunDirectory) -> Result<(), ListenError> {
    if directory.instance() != Instance::System {
        make(directory.path())?;
    }
    // In a directory of somebody else's nothing is made.
    directory.check(nix::unistd::geteuid().as_raw()).map_err(ListenError::RunDirectory)?;
    if directory.instance() == Instance::System { Ok(()) } else { make(&directory.services()) }
}

fn make(path: &Path) -> Result<(), ListenError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(ListenError::System { path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

pub(super) fn lock_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Removes a socket that nobody answers on.
pub(super) fn remove_dead(path: &Path) -> Result<(), ListenError> {
    let system = |error| ListenError::System { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(facts) if !facts.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match sys::socket::connect_unix_now(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system)
        }
        Ok(socket) => {
            let who = sys::credentials::peer_credentials(socket.as_fd()).unwrap_or_default();
            Err(ListenError::AlreadyServed { path: path.to_owned(), pid: who.pid })
        }
        // A full queue is a living service, and so is a socket of another kind.
        Err(error)
            if error.kind() == io::ErrorKind::WouldBlock
                || error.raw_os_error() == Some(nix::libc::EPROTOTYPE) =>
        {
            Err(ListenError::AlreadyServed { path: path.to_owned(), pid: None })
        }
        Err(error) => Err(system(error)),
    }
}
