//! The broker's configuration files: where they are, which of them count, and what they say.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sys::file::{CONFIG_BYTES_MOST, Links, Unusable, may_read, open, trust};

use crate::source::File;

/// Where to look. It stays the same while files come and go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    /// The main file, and whether it has to be there.
    main: Option<(PathBuf, bool)>,
    /// Directories of drop-ins; a file in an earlier one hides those of its name in later ones.
    drop_ins: Vec<PathBuf>,
}

impl Places {
    /// The system's.
    #[must_use]
    pub fn of_system() -> Self {
        Self::below(&["/etc/ipcd", "/run/ipcd", "/usr/lib/ipcd"].map(PathBuf::from))
    }

    /// A user's own, if the environment says where that is.
    #[must_use]
    pub fn of_user() -> Self {
        Self::below(user_base().as_slice())
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::below(&[])
    }

    /// What somebody named: a directory like /etc/ipcd, or the main file alone.
    #[must_use]
    pub fn named(path: &Path) -> Self {
        if path.is_dir() {
            return Self::below(&[path.to_owned()]);
        }
        Self { main: Some((path.to_owned(), true)), drop_ins: Vec::new() }
    }

    /// Directories like /etc/ipcd. The main file is that of the first.
    fn below(bases: &[PathBuf]) -> Self {
        Self {
            main: bases.first().map(|base| (base.join("ipcd.toml"), false)),
            drop_ins: bases.iter().map(|base| base.join("ipcd.d")).collect(),
        }
    }

    /// The directories that the files are in, whether these exist or not.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let main = self.main.as_ref().and_then(|(path, _)| std::path::absolute(path).ok());
        // The directory, for a file that is written anew is another one.
        let main = main.as_deref().and_then(Path::parent).map(Path::to_owned);
        main.into_iter().chain(self.drop_ins.iter().cloned()).collect()
    }

    /// Reads all of them as `reader` does.
    ///
    /// # Errors
    ///
    /// [`Unread`] of the first that cannot be read, or that others could have written.
    pub fn read(&self, reader: &Reader) -> Result<Found, Unread> {
        let main = match &self.main {
            None => None,
            Some((path, required)) => match reader.read(path) {
                Err(unread) if !required && unread.is_missing() => None,
                read => Some(read?),
            },
        };
        let mut found = BTreeMap::new();
        for directory in &self.drop_ins {
            for path in toml_files(directory)? {
                found.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
            }
        }
        let drop_ins = found.values().map(|path| reader.read(path)).collect::<Result<_, _>>()?;
        Ok(Found { main, drop_ins })
    }
}

/// What there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The main file, if there is one.
    pub main: Option<File>,
    /// The others, in the order of their names.
    pub drop_ins: Vec<File>,
}

/// As whom files are read: whoever else could have written one is not believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reader {
    /// `None` believes everybody.
    uid: Option<u32>,
    /// Its groups, if it is somebody else than this process.
    groups: Option<Vec<u32>>,
}

impl Reader {
    /// This process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { uid: Some(nix::unistd::geteuid().as_raw()), groups: None }
    }

    /// Another user, of these groups, who has to be allowed to read them.
    #[must_use]
    pub fn other(uid: u32, groups: Vec<u32>) -> Self {
        Self { uid: Some(uid), groups: Some(groups) }
    }

    /// This process, of files that are not in their place yet: whoever may write to them.
    #[must_use]
    pub fn trusting() -> Self {
        Self { uid: None, groups: None }
    }

    /// Reads one file.
    ///
    /// # Errors
    ///
    /// [`Unread`].
    pub fn read(&self, path: &Path) -> Result<File, Unread> {
        let unread = |why| Unread { path: path.to_owned(), why };
        let (file, facts) = open(path, CONFIG_BYTES_MOST, Links::Followed).map_err(unread)?;
        if let Some(uid) = self.uid {
            trust(&facts, &[uid]).map_err(unread)?;
        }
        if let (Some(uid), Some(groups)) = (self.uid, &self.groups)
            && !may_read(&facts, uid, groups)
        {
            return Err(unread(Unusable::Closed));
        }
        let mut text = String::new();
        let read = file.take(CONFIG_BYTES_MOST).read_to_string(&mut text);
        read.map_err(|error| unread(error.into()))?;
        Ok(File { name: path.display().to_string(), text })
    }
}

/// A file or a directory that is not read.
#[derive(Debug)]
pub struct Unread {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub why: Unusable,
}

impl Unread {
    fn is_missing(&self) -> bool {
        matches!(&self.why, Unusable::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for Unread {}

/// Where a user's own configuration is, if the environment says so.
#[must_use]
pub fn user_base() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("ipcd"))
}

fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, Unread> {
    let unread = |error: io::Error| Unread { path: directory.to_owned(), why: error.into() };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(places: &Places) -> Result<Found, Unread> {
        places.read(&Reader::of_process())
    }

    #[test]
    fn an_earlier_directory_hides_files_of_the_same_name_and_names_are_the_order() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        write(&path("etc/ipcd.d/b.toml"), "etc b", 0o644);
        write(&path("usr/ipcd.d/b.toml"), "usr b", 0o644);
        write(&path("usr/ipcd.d/a.toml"), "usr a", 0o644);
        write(&path("usr/ipcd.d/readme"), "no", 0o644);
        write(&path("usr/ipcd.toml"), "only the first directory has a main file", 0o644);
        let texts = read(&Places::below(&["etc", "run", "usr"].map(path))).unwrap();
        let said: Vec<_> = texts.drop_ins.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(said, ["usr a", "etc b"]);
        assert_eq!(texts.main, None);
    }

    #[test]
    fn a_directory_that_is_named_is_read_as_the_usual_ones_are() {
        let place = tempfile::tempdir().unwrap();
        let places = Places::named(place.path());
        let found = read(&places).unwrap();
        assert!(found.main.is_none() && found.drop_ins.is_empty(), "nothing has to be there");
        write(&place.path().join("ipcd.toml"), "# main", 0o644);
        write(&place.path().join("ipcd.d/10-web.toml"), "# web", 0o644);
        let found = read(&places).unwrap();
        assert_eq!((&*found.main.unwrap().text, &*found.drop_ins[0].text), ("# main", "# web"));
        assert_eq!(places.directories(), [place.path().to_owned(), place.path().join("ipcd.d")]);
    }

    #[test]
    fn a_file_that_is_named_has_to_be_there_and_to_be_believed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ipcd.toml");
        write(&path, "", 0o666);
        let said = read(&Places::named(&path)).unwrap_err().to_string();
        assert!(said.contains("others could have written it"), "{said}");
        assert!(Reader::trusting().read(&path).is_ok(), "it is not in its place yet");
        write(&path, "", 0o644);
        assert!(read(&Places::named(&path)).is_ok());
        assert_eq!(Places::named(&path).directories(), [place.path()]);
        fs::remove_file(&path).unwrap();
        assert!(read(&Places::named(&path)).unwrap_err().to_string().contains("No such file"));
        write(&path, &"#".repeat(4 * 1024 * 1024 + 1), 0o644);
        let said = read(&Places::named(&path)).unwrap_err().to_string();
        assert!(said.ends_with("longer than 4194304 bytes"), "{said}");
    }

    #[test]
    fn a_reader_who_is_somebody_else_has_to_be_allowed_to_read() {
        use std::os::unix::fs::MetadataExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ipcd.toml");
        write(&path, "text", 0o600);
        let owner = fs::metadata(&path).unwrap().uid();
        assert_eq!(Reader::other(owner, Vec::new()).read(&path).unwrap().text, "text");
        if owner == 0 {
            let other = Reader::other(4711, Vec::new());
            assert!(matches!(other.read(&path).unwrap_err().why, Unusable::Closed));
            write(&path, "text", 0o644);
            assert_eq!(other.read(&path).unwrap().text, "text");
        }
    }
}
