//! Files that somebody named: opened so that what was checked is what is read, and that nothing in
//! their place keeps a daemon waiting.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

/// Bytes of the longest configuration file.
pub const CONFIG_BYTES_MOST: u64 = 4 * 1024 * 1024;

/// Why a file is not read, without its name.
#[derive(Debug)]
pub enum Unusable {
    /// The kernel's answer.
    System(io::Error),
    /// A directory, a pipe, a device.
    NotAFile,
    /// It has more bytes than this.
    TooLong(u64),
    /// Somebody else could have written it. `is_foreign`: the owner is wrong, not the mode alone.
    Untrusted {
        /// It belongs neither to root nor to that user.
        is_foreign: bool,
    },
    /// The user for whom it is meant may not read it.
    Closed,
}

/// Whether the last part of a path may be a link to somewhere else.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Links {
    /// It leads to the file.
    Followed,
    /// [`Unusable::System`] with `ELOOP`.
    Refused,
}

/// Opens a file of at most `most` bytes for reading, and tells what it is. Never blocks for a
/// writer, and never makes a terminal ours.
///
/// The file may grow while it is read: read it with [`Read::take`].
///
/// # Errors
///
/// [`Unusable`].
pub fn open(path: &Path, most: u64, links: Links) -> Result<(File, Metadata), Unusable> {
    let followed = if links == Links::Followed { 0 } else { libc::O_NOFOLLOW };
    let file = File::options()
        .read(true)
        .custom_flags(followed | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(Unusable::System)?;
    let facts = file.metadata().map_err(Unusable::System)?;
    match facts.len() {
        _ if !facts.is_file() => Err(Unusable::NotAFile),
        len if len > most => Err(Unusable::TooLong(most)),
        _ => Ok((file, facts)),
    }
}

/// The text of a configuration file, of at most [`CONFIG_BYTES_MOST`], which nobody but root and
/// the user of this process could have written.
///
/// # Errors
///
/// [`Unusable`].
pub fn read_text(path: &Path) -> Result<String, Unusable> {
    let (file, facts) = open(path, CONFIG_BYTES_MOST, Links::Followed)?;
    trust(&facts, &[nix::unistd::geteuid().as_raw()])?;
    let mut text = String::new();
    file.take(CONFIG_BYTES_MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// Looks whether nobody but root and these users could have written it.
///
/// # Errors
///
/// [`Unusable::Untrusted`].
pub fn trust(facts: &Metadata, users: &[u32]) -> Result<(), Unusable> {
    let is_foreign = facts.uid() != 0 && !users.contains(&facts.uid());
    if is_foreign || facts.mode() & 0o022 != 0 {
        return Err(Unusable::Untrusted { is_foreign });
    }
    Ok(())
}

/// What is wrong with a file that somebody else could have written.
pub const UNTRUSTED: &str = "others could have written it: it has to belong to root or to the \
                             daemon's user, and group and others may not write to it";

/// Whether a user of these groups, who is not root, may read it. Where it lies is looked at by
/// nobody here.
#[must_use]
pub fn may_read(facts: &Metadata, uid: u32, groups: &[u32]) -> bool {
    let needed = match facts {
        _ if facts.uid() == uid => 0o400,
        _ if groups.contains(&facts.gid()) => 0o040,
        _ => 0o004,
    };
    facts.mode() & needed != 0
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile => f.write_str("is no file"),
            Self::TooLong(most) => write!(f, "is longer than {most} bytes"),
            Self::Untrusted { is_foreign: true } => write!(f, "{UNTRUSTED} (chown root)"),
            Self::Untrusted { is_foreign: false } => write!(f, "{UNTRUSTED} (chmod go-w)"),
            Self::Closed => f.write_str("cannot be read by the daemon's user (chmod a+r)"),
        }
    }
}

impl std::error::Error for Unusable {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn said(path: &Path, links: Links) -> String {
        open(path, 4, links)
            .map_or_else(|error| error.to_string(), |(_, facts)| format!("{} bytes", facts.len()))
    }

    #[test]
    fn a_configuration_of_the_most_bytes_is_read_and_one_more_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("daemon.toml");
        let file = File::create(&path).unwrap();
        file.set_len(CONFIG_BYTES_MOST).unwrap();
        assert_eq!(read_text(&path).unwrap().len() as u64, CONFIG_BYTES_MOST);
        file.set_len(CONFIG_BYTES_MOST + 1).unwrap();
        assert_eq!(read_text(&path).unwrap_err().to_string(), "is longer than 4194304 bytes");
        fs::write(&path, [0xff]).unwrap();
        let said = read_text(&path).unwrap_err().to_string();
        assert_eq!(said, "cannot be read: stream did not contain valid UTF-8");
    }

    #[test]
    fn a_mode_tells_who_writes_and_who_reads() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "").unwrap();
        let facts = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(&path).unwrap()
        };
        let (uid, gid) = (facts(0o600).uid(), facts(0o600).gid());
        let trusted = [0o644, 0o664, 0o646].map(|mode| trust(&facts(mode), &[uid + 1, uid]));
        assert!(
            matches!(
                trusted,
                [
                    Ok(()),
                    Err(Unusable::Untrusted { is_foreign: false }),
                    Err(Unusable::Untrusted { is_foreign: false })
                ]
            ),
            "{trusted:?}"
        );
        // What is root's is trusted by all.
        for mode in [0o644, 0o664] {
            let foreign = trust(&facts(mode), &[uid + 1]);
            let is_wrong = matches!(foreign, Err(Unusable::Untrusted { is_foreign: true }));
            assert_eq!(is_wrong, uid != 0, "{foreign:?}");
        }
        // The owner, a member of the group, and somebody else.
        let readers = |mode| {
            let facts = facts(mode);
            [(uid, gid), (uid + 1, gid), (uid + 1, gid + 1)]
                .map(|(uid, gid)| may_read(&facts, uid, &[gid]))
        };
        assert_eq!(readers(0o600), [true, false, false]);
        assert_eq!(readers(0o040), [false, true, false]);
        assert_eq!(readers(0o604), [true, false, true]);
    }

    #[test]
    fn a_configuration_that_others_could_have_written_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("daemon.toml");
        fs::write(&path, "text").unwrap();
        let read_as = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_text(&path).map_err(|error| error.to_string())
        };
        for mode in [0o600, 0o644, 0o444] {
            assert_eq!(read_as(mode).unwrap(), "text", "{mode:o}");
        }
        for mode in [0o664, 0o646, 0o666] {
            let said = read_as(mode).unwrap_err();
            assert!(said.starts_with("others could have written it"), "{mode:o}: {said}");
        }
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let said = read_as(0o600).unwrap_err();
            assert!(said.starts_with("others could have written it"), "{said}");
            assert!(said.ends_with("(chown root)"), "{said}");
        }
    }

    #[test]
    fn only_a_file_of_that_length_is_opened() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::write(path("full"), "four").unwrap();
        fs::write(path("over"), "fives").unwrap();
        std::os::unix::fs::symlink(path("full"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let both =
            |name: &str| [Links::Followed, Links::Refused].map(|links| said(&path(name), links));
        assert_eq!(both("full"), ["4 bytes", "4 bytes"]);
        assert_eq!(both("over"), ["is longer than 4 bytes"; 2]);
        assert_eq!(both("pipe"), ["is no file"; 2]);
        assert_eq!(both("."), ["is no file"; 2]);
        let missing = "cannot be read: No such file or directory (os error 2)";
        assert_eq!(both("none"), [missing; 2]);
        let [followed, refused] = both("link");
        assert_eq!(followed, "4 bytes");
        assert!(refused.contains("Too many levels of symbolic links"), "{refused}");
    }
}
