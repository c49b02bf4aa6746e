//! Run directories: where a broker and its services are found.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::name::ServiceName;

/// Run directory of the system's instance.
pub const SYSTEM_RUNDIR: &str = "/run/ipc";

/// Whose instance a run directory is.
///
/// ```
/// use libipc::rundir::{Instance, RunDirectory};
///
/// assert_eq!(RunDirectory::system().instance(), Instance::System);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instance {
    /// The system's: for every user.
    System,
    /// A user's own.
    User,
    /// Any other directory: of one user, like [`Instance::User`].
    Private,
}

impl Instance {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Private => "private",
        }
    }
}

/// A run directory, and the places in it.
///
/// ```
/// use std::path::Path;
///
/// use libipc::ServiceName;
/// use libipc::rundir::RunDirectory;
///
/// let directory = RunDirectory::system();
/// assert_eq!(directory.broker(), Path::new("/run/ipc/ipc"));
/// let name = ServiceName::new("pong").unwrap();
/// assert_eq!(directory.service(&name), Path::new("/run/ipc/services/pong"));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunDirectory {
    path: PathBuf,
    instance: Instance,
}

impl RunDirectory {
    /// The directory at `path`, of that kind. Nothing is looked at.
    #[must_use]
    pub fn new(path: PathBuf, instance: Instance) -> Self {
        Self { path, instance }
    }

    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self::new(SYSTEM_RUNDIR.into(), Instance::System)
    }

    /// The user's own, if the environment says where.
    #[must_use]
    pub fn user(environment: &Environment) -> Option<Self> {
        let base = environment.xdg_runtime_dir.as_ref()?;
        base.is_absolute().then(|| Self::new(base.join("ipc"), Instance::User))
    }

    /// One that somebody named: the system's or the user's own if it is that directory, else a
    /// private one.
    #[must_use]
    pub fn named(path: &Path, environment: &Environment) -> Self {
        if path == Path::new(SYSTEM_RUNDIR) {
            return Self::system();
        }
        match Self::user(environment) {
            Some(user) if user.path == path => user,
            _ => Self::new(path.to_owned(), Instance::Private),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// The broker's socket.
    #[must_use]
    pub fn broker(&self) -> PathBuf {
        self.path.join("ipc")
    }

    /// Where services that listen by themselves have their sockets.
    #[must_use]
    pub fn services(&self) -> PathBuf {
        self.path.join("services")
    }

    /// The socket of such a service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> PathBuf {
        self.services().join(name.as_str())
    }

    /// Where programs of the first libipc put a service; private instances only.
    #[must_use]
    pub fn old_service(&self, name: &ServiceName) -> Option<PathBuf> {
        (self.instance != Instance::System).then(|| self.path.join(name.as_str()))
    }

    /// Where transport daemons have their sockets.
    #[must_use]
    pub fn transports(&self) -> PathBuf {
        self.path.join("transport")
    }

    /// Where fronts are: paths that stand for names, for programs that know nothing of us.
    #[must_use]
    pub fn fronts(&self) -> PathBuf {
        self.path.join("front")
    }

    /// Start and take-over of sockets happen under a lock of this file.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join(".lock")
    }

    /// Checks that nobody but its owner, and only root or `uid`, can put things here.
    ///
    /// # Errors
    ///
    /// [`RunDirectoryError`]. Nothing in the directory can be believed then.
    pub fn check(&self, uid: u32) -> Result<(), RunDirectoryError> {
        let path = self.path.clone();
        let facts = match fs::symlink_metadata(&path) {
            Ok(facts) => facts,
            Err(error) => return Err(RunDirectoryError::System { path, error }),
        };
        if !facts.is_dir() {
            return Err(RunDirectoryError::NotADirectory { path });
        }
        if facts.uid() != 0 && facts.uid() != uid {
            return Err(RunDirectoryError::ForeignOwner { path, owner: facts.uid() });
        }
        if facts.mode() & 0o022 != 0 {
            return Err(RunDirectoryError::Writable { path, mode: facts.mode() & 0o7777 });
        }
        Ok(())
    }

    /// Whether a broker has its place here, answering or not.
    #[must_use]
    pub fn has_broker(&self) -> bool {
        fs::symlink_metadata(self.broker()).is_ok_and(|facts| facts.file_type().is_socket())
    }
}

/// Why a run directory is not used.
///
/// ```
/// use libipc::rundir::{Instance, RunDirectory};
///
/// let directory = RunDirectory::new("/nowhere/at/all".into(), Instance::Private);
/// let error = directory.check(1000).unwrap_err();
/// assert!(error.to_string().contains("/nowhere/at/all"));
/// ```
#[derive(Debug)]
pub enum RunDirectoryError {
    /// The kernel's answer.
    System {
        /// The directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is a file, or a symbolic link.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may write to it.
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl fmt::Display for RunDirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { path, error } => {
                write!(f, "the run directory {}: {error}", path.display())
            }
            Self::NotADirectory { path } => {
                write!(f, "the run directory {} is not a directory", path.display())
            }
            Self::ForeignOwner { path, owner } => write!(
                f,
                "the run directory {} belongs to uid {owner}, neither to root nor to you",
                path.display()
            ),
            Self::Writable { path, mode } => write!(
                f,
                "the run directory {} may be written by others (mode {mode:o}): chmod go-w it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RunDirectoryError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn a_directory_that_others_control_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ipc");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let directory = RunDirectory::new(path.clone(), Instance::Private);
        directory.check(me()).unwrap();

        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let said = directory.check(me()).unwrap_err().to_string();
        assert!(said.ends_with("may be written by others (mode 770): chmod go-w it"), "{said}");

        let link = place.path().join("link");
        symlink(&path, &link).unwrap();
        let linked = RunDirectory::new(link, Instance::Private);
        assert!(linked.check(me()).unwrap_err().to_string().ends_with("is not a directory"));

        if me() == 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
            directory.check(4711).unwrap();
            let said = directory.check(0).unwrap_err().to_string();
            assert!(said.ends_with("belongs to uid 4711, neither to root nor to you"), "{said}");
        }
    }

    #[test]
    fn a_named_directory_is_the_instance_that_it_is() {
        let environment =
            Environment { xdg_runtime_dir: Some("/run/user/1".into()), ..Environment::default() };
        let kind = |path: &str| RunDirectory::named(Path::new(path), &environment).instance();
        assert_eq!(kind("/run/ipc"), Instance::System);
        assert_eq!(kind("/run/user/1/ipc"), Instance::User);
        assert_eq!(kind("/run/user/1/other"), Instance::Private);
    }

    #[test]
    fn the_first_libipc_has_no_place_in_the_systems_directory() {
        let name = ServiceName::new("pong").unwrap();
        assert_eq!(RunDirectory::system().old_service(&name), None);
        let private = RunDirectory::new("/x".into(), Instance::Private);
        assert_eq!(private.old_service(&name), Some("/x/pong".into()));
    }
}
