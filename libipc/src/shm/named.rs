//! Names for shared memory.
//!
//! A name is a symbolic link in the private place `.shm` of the run directory, to the descriptor
//! that its owner holds: `/proc/PID/fd/N`. So the memory itself is the sealed one, unlike a file
//! of `shm_open(3)`, which everybody who may open it can shorten; and it ends with its owner.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};

use super::{LENGTH_MOST, Shm, ShmError};
use crate::name::ServiceName;
use crate::private_place::PrivatePlace;

/// The private place of names.
const PLACE: &str = "shm";

impl Shm {
    /// Memory of `size` zero bytes that can be resized up to `most`, and that other processes of
    /// this user find by `name` as long as this value lives.
    ///
    /// # Errors
    ///
    /// [`ShmError::InUse`] if a living process has given the name; what a dead one left is removed.
    pub fn named(name: &str, size: NonZeroUsize, most: NonZeroUsize) -> Result<Self, ShmError> {
        let place = PrivatePlace::of_process(PLACE).map_err(ShmError::Place)?;
        Self::named_in(&place, name, size, most)
    }

    /// As [`Shm::named`], in a place of the caller's choice.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn named_in(
        place: &PrivatePlace,
        name: &str,
        size: NonZeroUsize,
        most: NonZeroUsize,
    ) -> Result<Self, ShmError> {
        let path = path(place, name)?;
        let mut shm = Self::growing(size, most)?;
        let _lock = place.lock().map_err(ShmError::Place)?;
        if let Some(owner) = owner(&path)? {
            if open_link(&path).is_ok() {
                return Err(ShmError::InUse { pid: owner });
            }
            fs::remove_file(&path)?;
        }
        shm.link = Some(Link::make(path, &shm.descriptor)?);
        Ok(shm)
    }

    /// The memory that a process of this user shares under `name`.
    ///
    /// # Errors
    ///
    /// [`ShmError::Unknown`] if there is none, and the errors of [`Shm::from_descriptor`].
    pub fn open(name: &str) -> Result<Self, ShmError> {
        let place = PrivatePlace::of_process(PLACE).map_err(ShmError::Place)?;
        Self::open_in(&place, name)
    }

    /// As [`Shm::open`], in a place of the caller's choice.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_in(place: &PrivatePlace, name: &str) -> Result<Self, ShmError> {
        let path = path(place, name)?;
        if owner(&path)?.is_none() {
            return Err(ShmError::Unknown);
        }
        Self::from_descriptor(open_link(&path)?, LENGTH_MOST)
    }
}

fn path(place: &PrivatePlace, name: &str) -> Result<PathBuf, ShmError> {
    let name = ServiceName::new(name).map_err(ShmError::Name)?;
    Ok(place.path().join(name.as_str()))
}

/// The process whose descriptor the link at `path` leads to; `None` if there is no link.
fn owner(path: &Path) -> Result<Option<u32>, ShmError> {
    let target = match fs::read_link(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(owner_in(&target).ok_or(ShmError::Damaged)?))
}

/// The process in `/proc/PID/fd/N`.
fn owner_in(target: &Path) -> Option<u32> {
    let (pid, number) = target.to_str()?.strip_prefix("/proc/")?.split_once("/fd/")?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// What the link leads to, if it is memory of this user's with a fixed length. A dead owner's
/// number may be another process's by now, and the descriptor anything: opening it neither waits
/// nor makes it a terminal of ours.
fn open_link(path: &Path) -> Result<OwnedFd, ShmError> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let descriptor = open(path, flags, Mode::empty()).map_err(|error| match error {
        nix::Error::ENOENT | nix::Error::ENXIO | nix::Error::EACCES => ShmError::Unknown,
        error => io::Error::from(error).into(),
    })?;
    let is_ours =
        fstat(&descriptor).map_err(io::Error::from)?.st_uid == nix::unistd::geteuid().as_raw();
    let is_fixed = sys::memfd::fixed_length(descriptor.as_fd())?.is_some();
    if is_ours && is_fixed { Ok(descriptor) } else { Err(ShmError::Unknown) }
}

/// The name of memory that this process shares. Dropping it ends the name, not the memory.
#[derive(Debug)]
pub(super) struct Link {
    path: PathBuf,
    inode: u64,
    /// A child that got this value by `fork(2)` does not end its parent's name.
    owner: u32,
}

impl Link {
    fn make(path: PathBuf, descriptor: &OwnedFd) -> io::Result<Self> {
        let owner = std::process::id();
        symlink(format!("/proc/{owner}/fd/{}", descriptor.as_raw_fd()), &path)?;
        let inode = fs::symlink_metadata(&path)?.ino();
        Ok(Self { path, inode, owner })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let is_ours = self.owner == std::process::id()
            && fs::symlink_metadata(&self.path).is_ok_and(|facts| facts.ino() == self.inode);
        if is_ours {
            // Whoever removed it before us wanted the same.
            let _gone = fs::remove_file(&self.path).is_err();
        }
    }
}
