//! Fronts: paths that stand for names, for programs that can only open a path.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libipc::listener::{ListenError, Listener};
use libipc::name::ServiceName;
use libipc::rundir::{Instance, RunDirectory};
use policy::config::{Config, Front};
use settings::Problem;

/// Bytes of the longest path that a socket can have.
const PATH_MOST: usize = 107;

/// Where the configuration wants fronts, and for which names.
pub(crate) fn places(
    config: &Config,
    directory: &RunDirectory,
) -> Result<BTreeMap<PathBuf, ServiceName>, Vec<Problem>> {
    let fronts = directory.fronts();
    let mut places: BTreeMap<PathBuf, ServiceName> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, service) in &config.services {
        let path = match &service.front {
            None => continue,
            Some(Front::ByName) => fronts.join(name.as_str()),
            Some(Front::At(path)) => path.clone(),
        };
        let mut report = |what: String| problems.push(Problem::new(&service.position, what));
        let shown = path.display().to_string();
        if !path.starts_with(&fronts) || path == fronts {
            report(format!("the front {shown} is not below {}", fronts.display()));
        } else if path.as_os_str().len() > PATH_MOST {
            report(format!("the front {shown} is longer than {PATH_MOST} bytes"));
        } else if let Some(other) = places.insert(path, name.clone()) {
            report(format!("the front {shown} is also that of {other}"));
        }
    }
    if problems.is_empty() { Ok(places) } else { Err(problems) }
}

/// Listens at a front, whose directories are made below that of all fronts.
pub(crate) fn bind(path: &Path, directory: &RunDirectory) -> Result<Listener, ListenError> {
    let (directories, mode) = match directory.instance() {
        Instance::System => (0o755, 0o666),
        _ => (0o700, 0o600),
    };
    let parent = path.parent().unwrap_or(path);
    make(parent, &directory.fronts(), directories)
        .map_err(|error| ListenError::System { path: parent.to_owned(), error })?;
    Listener::bind_at(path, mode, &directory.fronts().join(".lock"))
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
