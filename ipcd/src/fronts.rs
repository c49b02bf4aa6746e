//! Fronts, opened where `policy::fronts` says.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use libipc::listener::{ListenError, Listener};
use libipc::rundir::{Instance, RunDirectory};

/// Listens at a front, whose directories are made below that of all fronts.
pub(crate) fn bind(path: &Path, directory: &RunDirectory) -> Result<Listener, ListenError> {
    let (directories, mode) = match directory.instance() {
        Instance::System => (0o755, 0o666),
        _ => (0o700, 0o600),
    };
    let parent = path.parent().unwrap_or(path);
    make(parent, &directory.fronts(), directories)
        .map_err(|error| ListenError::System { path: parent.to_owned(), error })?;
    Listener::bind_at(path, mode, &policy::fronts::lock(&directory.fronts()))
}

fn make(path: &Path, root: &Path, mode: u32) -> io::Result<()> {
    if path != root
        && path.starts_with(root)
        && let Some(parent) = path.parent()
    {
        make(parent, root, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Whatever the umask took away: others are to find the front.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
