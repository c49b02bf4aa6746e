//! Directories below the run directory that are one user's alone.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::rundir::{Instance, RunDirectory, RunDirectoryError};

/// A directory that only this process's user can look into: of mode 0700, and his.
///
/// Its name begins with a dot, which no service's does.
///
/// ```
/// use libipc::private_place::PrivatePlace;
/// use libipc::rundir::{Instance, RunDirectory};
///
/// # let path = std::env::temp_dir().join(format!("libipc-place-{}", std::process::id()));
/// let directory = RunDirectory::new(path.clone(), Instance::Private);
/// let place = PrivatePlace::in_directory(&directory, "notes")?;
/// assert_eq!(place.path(), path.join(".notes"));
/// # std::fs::remove_dir_all(path).unwrap();
/// # Ok::<(), libipc::private_place::PlaceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PrivatePlace {
    path: PathBuf,
}

impl PrivatePlace {
    /// The place `name` in the run directory that the environment says: `IPC_RUNDIR`, the user's
    /// own, or for root the system's. What is missing is made.
    ///
    /// # Errors
    ///
    /// [`PlaceError`].
    pub fn of_process(name: &str) -> Result<Self, PlaceError> {
        Self::of(&Environment::of_process(), name)
    }

    /// As [`PrivatePlace::of_process`], for another environment.
    ///
    /// # Errors
    ///
    /// [`PlaceError`].
    pub fn of(environment: &Environment, name: &str) -> Result<Self, PlaceError> {
        let is_root = nix::unistd::geteuid().is_root();
        let directory = choose(environment.run_directories(), is_root);
        Self::in_directory(&directory.ok_or(PlaceError::NoRunDirectory)?, name)
    }

    /// The place `name` in `directory`. What is missing is made.
    ///
    /// # Errors
    ///
    /// [`PlaceError`].
    pub fn in_directory(directory: &RunDirectory, name: &str) -> Result<Self, PlaceError> {
        let uid = nix::unistd::geteuid().as_raw();
        if directory.instance() != Instance::System {
            make(directory.path())?;
        }
        directory.check(uid).map_err(PlaceError::RunDirectory)?;
        let path = directory.path().join(format!(".{name}"));
        make(&path)?;
        let facts = fs::symlink_metadata(&path)
            .map_err(|error| PlaceError::System { path: path.clone(), error })?;
        if !facts.is_dir() || facts.uid() != uid || facts.mode() & 0o077 != 0 {
            return Err(PlaceError::NotPrivate { path });
        }
        Ok(Self { path })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other process changes what is here. The lock ends with the value.
    ///
    /// # Errors
    ///
    /// [`PlaceError::System`].
    pub fn lock(&self) -> Result<File, PlaceError> {
        let path = self.path.join(".lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).and_then(|file| file.lock().map(|()| file));
        file.map_err(|error| PlaceError::System { path, error })
    }
}

/// The system's directory is root's: nobody else could make a place in it. Root uses it rather
/// than one of the user whose environment he may have kept.
fn choose(directories: Vec<RunDirectory>, is_root: bool) -> Option<RunDirectory> {
    let mut usable = directories
        .into_iter()
        .filter(|directory| is_root || directory.instance() != Instance::System);
    if is_root { usable.next_back() } else { usable.next() }
}

fn make(path: &Path) -> Result<(), PlaceError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(PlaceError::System { path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

/// Why there is no private place.
///
/// ```
/// use libipc::environment::Environment;
/// use libipc::private_place::{PlaceError, PrivatePlace};
///
/// let environment = Environment { rundir: Some("/nowhere/at/all".into()), ..Environment::default() };
/// let error: PlaceError = PrivatePlace::of(&environment, "notes").unwrap_err();
/// assert!(error.to_string().contains("/nowhere/at/all"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum PlaceError {
    /// The environment names no run directory of this user's.
    NoRunDirectory,
    /// The run directory cannot be believed.
    RunDirectory(RunDirectoryError),
    /// Others may look into it, or it is somebody else's, or no directory.
    NotPrivate {
        /// Where.
        path: PathBuf,
    },
    /// The kernel's answer.
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRunDirectory => f.write_str(
                "there is no run directory of this user: set XDG_RUNTIME_DIR, or IPC_RUNDIR",
            ),
            Self::RunDirectory(error) => write!(f, "{error}"),
            Self::NotPrivate { path } => write!(
                f,
                "{} is not a directory that only you can look into: remove it",
                path.display()
            ),
            Self::System { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PlaceError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn instance() -> (tempfile::TempDir, RunDirectory) {
        let place = tempfile::tempdir().unwrap();
        let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
        (place, directory)
    }

    #[test]
    fn a_place_is_made_for_one_user_alone() {
        let (_place, directory) = instance();
        let place = PrivatePlace::in_directory(&directory, "x").unwrap();
        assert_eq!(place.path(), directory.path().join(".x"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(place.path()), mode(directory.path())), (0o700, 0o700));
        drop(place.lock().unwrap());
        assert_eq!(mode(&place.path().join(".lock")), 0o600);
        PrivatePlace::in_directory(&directory, "x").unwrap();
    }

    #[test]
    fn a_user_takes_his_own_directory_and_root_the_systems() {
        let xdg_runtime_dir = Some("/run/user/1000".into());
        let environment = Environment { xdg_runtime_dir, ..Environment::default() };
        let instance = |environment: &Environment, is_root| {
            choose(environment.run_directories(), is_root).map(|directory| directory.instance())
        };
        assert_eq!(instance(&environment, false), Some(Instance::User));
        assert_eq!(instance(&environment, true), Some(Instance::System));
        assert_eq!(instance(&Environment::default(), false), None);
        assert_eq!(
            PlaceError::NoRunDirectory.to_string(),
            "there is no run directory of this user: set XDG_RUNTIME_DIR, or IPC_RUNDIR"
        );
        let (_place, directory) = self::instance();
        let rundir = Some(directory.path().to_owned());
        let place = PrivatePlace::of(&Environment { rundir, ..Environment::default() }, "x");
        assert_eq!(place.unwrap().path(), directory.path().join(".x"));
    }

    #[test]
    fn a_place_that_others_see_or_that_is_a_link_is_refused() {
        let (place, directory) = instance();
        let said = |name| PrivatePlace::in_directory(&directory, name).unwrap_err().to_string();
        let open = PrivatePlace::in_directory(&directory, "open").unwrap();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o710)).unwrap();
        assert!(said("open").ends_with("only you can look into: remove it"));
        symlink(place.path(), directory.path().join(".link")).unwrap();
        assert!(said("link").ends_with("only you can look into: remove it"));
    }
}
