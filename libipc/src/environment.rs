//! What a program's environment says to us.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::libc;

use crate::network::NETWORK_BYTES_MOST;
use crate::rundir::RunDirectory;
use crate::secret::Secret;

/// The variables that matter here. A program with raised rights has none of them: its environment
/// is its caller's word.
///
/// ```
/// use libipc::environment::Environment;
///
/// let environment = Environment { rundir: Some("/run/mine".into()), ..Environment::default() };
/// assert_eq!(environment.run_directories().len(), 1, "a named one is the only one that is asked");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `IPC_NETWORK`: which names are to lead where.
    pub network: Option<Secret>,
    /// `IPC_NETWORK_FILE`: a file with the same text.
    pub network_file: Option<PathBuf>,
    /// `IPC_RUNDIR`: the one instance to use.
    pub rundir: Option<PathBuf>,
    /// `IPC_BROKER_FD`: the number of a broker's socket that was inherited.
    pub broker_fd: Option<i32>,
    /// `XDG_RUNTIME_DIR`: where the user's own instance lies.
    pub xdg_runtime_dir: Option<PathBuf>,
}

impl Environment {
    /// This process's.
    #[must_use]
    pub fn of_process() -> Self {
        if sys::secure::raised_rights() {
            return Self::default();
        }
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            network: env::var("IPC_NETWORK").ok().map(Secret::new),
            network_file: path("IPC_NETWORK_FILE"),
            rundir: path("IPC_RUNDIR"),
            broker_fd: env::var("IPC_BROKER_FD").ok().and_then(|number| number.parse().ok()),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
        }
    }

    /// The run directories to ask, in order: the named one alone, or the user's own, then the
    /// system's.
    #[must_use]
    pub fn run_directories(&self) -> Vec<RunDirectory> {
        if let Some(named) = &self.rundir {
            return vec![RunDirectory::named(named, self)];
        }
        RunDirectory::user(self).into_iter().chain([RunDirectory::system()]).collect()
    }

    /// The text of `IPC_NETWORK`, or of the file that `IPC_NETWORK_FILE` names.
    ///
    /// # Errors
    ///
    /// [`NetworkFileError`]: the file cannot be read, or others may read the secrets in it.
    pub fn network_text(&self) -> Result<Option<Secret>, NetworkFileError> {
        if self.network.is_some() {
            return Ok(self.network.clone());
        }
        let Some(path) = self.network_file.clone() else { return Ok(None) };
        match read_private(&path) {
            Ok(Ok(text)) => Ok(Some(text)),
            Ok(Err(mode)) => Err(NetworkFileError::Readable { path, mode }),
            Err(error) => Err(NetworkFileError::System { path, error }),
        }
    }
}

/// The text of a file, or its mode if others may read it.
fn read_private(path: &PathBuf) -> io::Result<Result<Secret, u32>> {
    // What is no file must not keep us waiting.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mode = facts.mode() & 0o7777;
    if mode & 0o044 != 0 {
        return Ok(Err(mode));
    }
    let mut text = String::new();
    let most = u64::try_from(NETWORK_BYTES_MOST).unwrap_or(u64::MAX);
    file.take(most + 1).read_to_string(&mut text)?;
    Ok(Ok(Secret::new(text)))
}

/// Why `IPC_NETWORK_FILE` is not used.
///
/// ```
/// use libipc::environment::{Environment, NetworkFileError};
///
/// let network_file = Some("/nowhere/at/all".into());
/// let environment = Environment { network_file, ..Environment::default() };
/// let error: NetworkFileError = environment.network_text().unwrap_err();
/// assert!(error.to_string().contains("/nowhere/at/all"));
/// ```
#[derive(Debug)]
pub enum NetworkFileError {
    /// It cannot be read.
    System {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Group or others may read it.
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl fmt::Display for NetworkFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { path, error } => {
                write!(f, "IPC_NETWORK_FILE {}: {error}", path.display())
            }
            Self::Readable { path, mode } => write!(
                f,
                "IPC_NETWORK_FILE {} may be read by others (mode {mode:o}): chmod 600 it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for NetworkFileError {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_named_instance_is_the_only_one_asked() {
        let mut environment =
            Environment { xdg_runtime_dir: Some("/run/user/1".into()), ..Environment::default() };
        let paths = |environment: &Environment| -> Vec<PathBuf> {
            let directories = environment.run_directories();
            directories.iter().map(|directory| directory.path().to_owned()).collect()
        };
        assert_eq!(paths(&environment), [PathBuf::from("/run/user/1/ipc"), "/run/ipc".into()]);
        environment.rundir = Some("/elsewhere".into());
        assert_eq!(paths(&environment), [PathBuf::from("/elsewhere")]);
        assert_eq!(paths(&Environment::default()), [PathBuf::from("/run/ipc")]);
    }

    #[test]
    fn a_network_file_that_is_a_pipe_is_an_error_at_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("network");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let environment = Environment { network_file: Some(path), ..Environment::default() };
        let said = environment.network_text().unwrap_err().to_string();
        assert!(said.ends_with("it is no file"), "{said}");
    }

    #[test]
    fn a_network_file_is_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("network");
        fs::write(&path, "a tcp://h:1").unwrap();
        let environment =
            Environment { network_file: Some(path.clone()), ..Environment::default() };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = environment.network_text().unwrap_err().to_string();
        assert!(said.ends_with("may be read by others (mode 640): chmod 600 it"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(environment.network_text().unwrap().unwrap().expose(), "a tcp://h:1");
        fs::remove_file(&path).unwrap();
        let said = environment.network_text().unwrap_err().to_string();
        assert!(said.ends_with("No such file or directory (os error 2)"), "{said}");
    }
}
