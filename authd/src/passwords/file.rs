//! The file of users: read only if nobody else can read or change it, and replaced whole.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::libc;
use sys::file::{Links, Unusable};

use super::{LineError, Passwords};

/// Bytes of the longest file.
pub(crate) const FILE_BYTES_MOST: u64 = 16 * 1024 * 1024;

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unusable(Unusable),
    Open { mode: u32 },
    Owner { uid: u32 },
    Directory { mode: u32 },
    Lines(Vec<LineError>),
}

/// Reads all users.
///
/// # Errors
///
/// [`FileError`]: in particular if the file, or its directory, is open to others.
pub(crate) fn load(path: &Path) -> Result<Passwords, FileError> {
    let text = read(path)?;
    Passwords::parse(&text)
        .map_err(|errors| FileError { path: path.to_owned(), why: Why::Lines(errors) })
}

fn read(path: &Path) -> Result<String, FileError> {
    let fail = |why| FileError { path: path.to_owned(), why };
    check_directory(path)?;
    let system = |error| fail(Why::Unusable(Unusable::System(error)));
    let (file, facts) = sys::file::open(path, FILE_BYTES_MOST, Links::Refused)
        .map_err(|why| fail(Why::Unusable(why)))?;
    let directory = parent(path).metadata().map_err(system)?;
    let us = nix::unistd::geteuid().as_raw();
    match (facts.uid(), facts.mode() & 0o7777) {
        // Root, who edits it, believes whom it belongs to: the account of the directory.
        (uid, _) if uid != 0 && uid != us && !(us == 0 && uid == directory.uid()) => {
            return Err(fail(Why::Owner { uid }));
        }
        (_, mode) if mode & 0o077 != 0 => return Err(fail(Why::Open { mode })),
        _ => {}
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MOST).read_to_string(&mut text).map_err(system)?;
    Ok(text)
}

/// Whoever can write to the directory can put another file in the place of this one.
fn check_directory(path: &Path) -> Result<(), FileError> {
    let directory = parent(path);
    let fail = |why| FileError { path: directory.to_owned(), why };
    let facts = fs::metadata(directory).map_err(|error| fail(Why::Unusable(error.into())))?;
    let mode = facts.mode() & 0o7777;
    if mode & 0o022 != 0 { Err(fail(Why::Directory { mode })) } else { Ok(()) }
}

/// Changes the text of the file, or of one that is not there yet, and puts it in the place of the
/// old one as a whole. Others who do the same wait.
///
/// A new file belongs to whom the directory belongs to.
///
/// # Errors
///
/// [`FileError`]; the file is as it was then.
pub(crate) fn edit<R>(
    path: &Path,
    change: impl FnOnce(&str, &Passwords) -> (Option<String>, R),
) -> Result<R, FileError> {
    let fail =
        |error| FileError { path: path.to_owned(), why: Why::Unusable(Unusable::System(error)) };
    let directory = File::open(parent(path)).map_err(fail)?;
    directory.lock().map_err(fail)?;
    let text = match read(path) {
        Err(FileError { why: Why::Unusable(Unusable::System(error)), .. })
            if error.kind() == io::ErrorKind::NotFound =>
        {
            String::new()
        }
        other => other?,
    };
    let passwords = Passwords::parse(&text)
        .map_err(|errors| FileError { path: path.to_owned(), why: Why::Lines(errors) })?;
    let (new, result) = change(&text, &passwords);
    if let Some(new) = new {
        replace(path, &directory, &new).map_err(fail)?;
    }
    Ok(result)
}

fn replace(path: &Path, directory: &File, text: &str) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = parent(path).join(name);
    // What an edit left behind that was cut off; the directory is locked.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&new)?;
    let owner = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(_) => directory.metadata()?,
    };
    if nix::unistd::geteuid().is_root() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    directory.sync_all()
}

/// The directory of the file.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Unusable(Unusable::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "{path}: is not there: /usr/libexec/ipcd/authd add USER makes it")
            }
            Why::Unusable(why) => write!(f, "{path}: {why}"),
            Why::Open { mode } => {
                write!(f, "{path}: is open to others (mode {mode:04o}): chmod 0600 {path}")
            }
            Why::Owner { uid } => {
                write!(f, "{path}: belongs to user {uid}, who is neither root nor this daemon")
            }
            Why::Directory { mode } => {
                write!(f, "{path}: others may put files there (mode {mode:04o}): chmod go-w {path}")
            }
            Why::Lines(errors) => {
                let errors: Vec<_> =
                    errors.iter().map(|error| format!("{path}: {error}")).collect();
                f.write_str(&errors.join("\n"))
            }
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LINE: &str = "alice:$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA\n";

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_is_open_to_others_is_refused_with_the_cure() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("passwords");
        let said = || load(&path).map(|users| users.len()).map_err(|error| error.to_string());
        let shown = path.display();
        assert_eq!(
            said(),
            Err(format!("{shown}: is not there: /usr/libexec/ipcd/authd add USER makes it"))
        );
        fs::write(&path, LINE).unwrap();
        for (open, expected) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o602, false)]
        {
            mode(&path, open);
            assert_eq!(said().is_ok(), expected, "{open:o}: {:?}", said());
        }
        assert_eq!(
            said(),
            Err(format!("{shown}: is open to others (mode 0602): chmod 0600 {shown}"))
        );
        mode(&path, 0o600);
        mode(place.path(), 0o777);
        assert!(said().unwrap_err().contains("others may put files there (mode 0777)"));
        mode(place.path(), 0o700);
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(load(&link).is_err(), "a link is not followed");
        let directory = place.path().join("directory");
        fs::create_dir(&directory).unwrap();
        assert!(load(&directory).unwrap_err().to_string().contains("is no file"));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
            assert!(said().unwrap_err().contains("belongs to user 4711"));
        }
    }

    #[test]
    fn a_file_longer_than_the_most_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("passwords");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.set_len(FILE_BYTES_MOST + 1).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("is longer than"));
    }

    #[test]
    fn an_edit_replaces_the_file_as_a_whole_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("passwords");
        edit(&path, |text, users| {
            assert_eq!((text, users.len()), ("", 0));
            (Some(LINE.to_owned()), ())
        })
        .unwrap();
        assert_eq!(load(&path).unwrap().len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        // What was cut off, or planted there, is not written through.
        let target = place.path().join("elsewhere");
        std::os::unix::fs::symlink(&target, place.path().join(".passwords.new")).unwrap();
        edit(&path, |text, _| (Some(format!("# more\n{text}")), ())).unwrap();
        assert!(!target.exists());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("# more\n{LINE}"));
        edit(&path, |_, _| (None, ())).unwrap();
        fs::write(&path, "damaged\n").unwrap();
        assert!(edit(&path, |_, _| (Some(String::new()), ())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "damaged\n");
    }
}
