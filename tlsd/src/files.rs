//! Files that the configuration names: certificates for everybody, secrets for us alone.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::User;
use sys::file::{Links, Unusable};
use zeroize::Zeroizing;

use crate::ACCOUNT;
use crate::config::SecretPlace;

/// Bytes of the longest file: the roots of a system are a tenth of that.
const FILE_BYTES_MOST: u64 = 8 * 1024 * 1024;

/// Where the service manager has what it passes to the system's tlsd, as long as that runs.
const UNIT_CREDENTIALS: &str = "/run/credentials/ipcd-tlsd.service";

/// Why a file cannot be used.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unusable(Unusable),
    Readable { mode: u32 },
    Owner { uid: u32 },
    NoCredentials,
}

/// Reads a file that everybody may read, and nobody else write: it says whom we believe.
///
/// # Errors
///
/// [`FileError`].
pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, facts) = open(path)?;
    let us = nix::unistd::geteuid().as_raw();
    // Root believes whom it will be.
    let will_be = account().map_or(us, |(user, _)| user);
    sys::file::trust(&facts, &[us, will_be])
        .map_err(|why| FileError { path: path.to_owned(), why: Why::Unusable(why) })?;
    read(path, file).map(|bytes| bytes.to_vec())
}

/// Reads a secret, which nobody else may be able to read. It is wiped when it is dropped.
///
/// # Errors
///
/// [`FileError`]: in particular if it belongs to somebody else, or others may read it.
pub(crate) fn read_secret(place: &SecretPlace) -> Result<Zeroizing<Vec<u8>>, FileError> {
    match place {
        SecretPlace::File(path) => {
            let (file, metadata) = open(path)?;
            let us = nix::unistd::geteuid().as_raw();
            let fail = |why| Err(FileError { path: path.clone(), why });
            match (metadata.uid(), metadata.mode() & 0o7777) {
                (uid, _) if uid != 0 && uid != us && !is_accounts(uid) => fail(Why::Owner { uid }),
                (_, mode) if mode & 0o077 != 0 => fail(Why::Readable { mode }),
                _ => read(path, file),
            }
        }
        SecretPlace::Credential(name) => {
            // The service manager made the directory for us alone.
            let Some(directory) = credentials() else {
                let path = PathBuf::from(format!("credential:{name}"));
                return Err(FileError { path, why: Why::NoCredentials });
            };
            let path = directory.join(name);
            let (file, _) = open(&path)?;
            read(&path, file)
        }
    }
}

/// Where the service manager has put what it passes: it tells the daemon; root, who looks whether
/// all is well, finds it where the unit that runs has it.
fn credentials() -> Option<PathBuf> {
    let told = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let of_unit = || {
        let path = PathBuf::from(UNIT_CREDENTIALS);
        (nix::unistd::geteuid().is_root() && path.is_dir()).then_some(path)
    };
    told.filter(|path| path.is_absolute()).or_else(of_unit)
}

/// The user and group that root gives itself up for, if this is root and there is such an account.
pub(crate) fn account() -> Option<(u32, u32)> {
    let user = nix::unistd::geteuid().is_root().then(|| User::from_name(ACCOUNT));
    user?.ok()?.map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

/// Whether root may read this user's secrets, for it will be that user.
fn is_accounts(uid: u32) -> bool {
    account().is_some_and(|(user, _)| user == uid)
}

fn open(path: &Path) -> Result<(File, Metadata), FileError> {
    sys::file::open(path, FILE_BYTES_MOST, Links::Followed)
        .map_err(|why| FileError { path: path.to_owned(), why: Why::Unusable(why) })
}

fn read(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let room = usize::try_from(FILE_BYTES_MOST.min(file.metadata().map_or(0, |one| one.len()) + 1));
    let mut bytes = Zeroizing::new(Vec::with_capacity(room.unwrap_or(0)));
    file.take(FILE_BYTES_MOST)
        .read_to_end(&mut bytes)
        .map_err(|error| FileError { path: path.to_owned(), why: Why::Unusable(error.into()) })?;
    Ok(bytes)
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Unusable(why) => write!(f, "{path}: {why}"),
            Why::Readable { mode } => {
                write!(f, "{path}: others may read it (mode {mode:04o}): chmod 0600 {path}")
            }
            Why::Owner { uid } => {
                write!(f, "{path}: belongs to user {uid}, who is neither root nor this daemon")
            }
            Why::NoCredentials => write!(
                f,
                "{path}: the service manager passes no credentials: write LoadCredential= in the \
                 unit, and start it"
            ),
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn said(place: &SecretPlace) -> String {
        read_secret(place).unwrap_err().to_string()
    }

    #[test]
    fn a_secret_that_others_may_read_is_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        let place = SecretPlace::File(path.clone());
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secret(&place).unwrap().as_slice(), b"secret", "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o601] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let expected = format!("others may read it (mode {mode:04o}): chmod 0600");
            assert!(said(&place).contains(&expected), "{}", said(&place));
        }
    }

    #[test]
    fn what_says_whom_we_believe_may_be_written_by_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        std::fs::write(&path, "roots").unwrap();
        let read_as = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_public(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read_as(0o644).unwrap(), b"roots");
        for mode in [0o664, 0o646] {
            let said = read_as(mode).unwrap_err();
            assert!(said.contains("ca.crt: others could have written it"), "{mode:o}: {said}");
        }
    }

    #[test]
    fn a_secret_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let said = said(&SecretPlace::File(path));
        assert!(
            said.contains("belongs to user 65534, who is neither root nor this daemon"),
            "{said}"
        );
    }

    #[test]
    fn a_certificate_file_of_the_most_bytes_is_read_and_one_more_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roots.pem");
        let file = File::create(&path).unwrap();
        file.set_len(FILE_BYTES_MOST).unwrap();
        assert_eq!(read_public(&path).unwrap().len() as u64, FILE_BYTES_MOST);
        file.set_len(FILE_BYTES_MOST + 1).unwrap();
        let error = read_public(&path).unwrap_err().to_string();
        assert!(error.ends_with("is longer than 8388608 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_file_or_is_not_there_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(said(&SecretPlace::File(pipe)).ends_with("is no file"));
        assert!(said(&SecretPlace::File(directory.path().join("none"))).contains("cannot be read"));
        assert_eq!(
            said(&SecretPlace::Credential("host.key".to_owned())),
            "credential:host.key: the service manager passes no credentials: write LoadCredential= \
             in the unit, and start it"
        );
    }
}
