//! The configuration's files: where they are, in which order, and whether they can be believed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use libipc::rundir::Instance;
use policy::config::{CommandLine, Sources};
use settings::File;
use sys::file::{CONFIG_BYTES_MOST, Links, Unusable};

/// Where to look: what stays the same from reload to reload.
#[derive(Debug)]
pub(crate) struct Files {
    /// The main file, and whether it has to be there.
    main: Option<(PathBuf, bool)>,
    /// Directories of drop-ins; a file in an earlier one hides those of its name in later ones.
    drop_ins: Vec<PathBuf>,
    command_line: Vec<CommandLine>,
}

impl Files {
    /// The files of an instance, or the one that was named, or those of a directory like /etc/ipcd.
    pub(crate) fn of(
        instance: Instance,
        named: Option<&Path>,
        command_line: Vec<CommandLine>,
    ) -> Self {
        if let Some(directory) = named.filter(|path| path.is_dir()) {
            return Self {
                main: Some((directory.join("ipcd.toml"), false)),
                drop_ins: vec![directory.join("ipcd.d")],
                command_line,
            };
        }
        if let Some(main) = named {
            let main = Some((main.to_owned(), true));
            return Self { main, drop_ins: Vec::new(), command_line };
        }
        let bases: Vec<PathBuf> = match instance {
            Instance::System => ["/etc/ipcd", "/run/ipcd", "/usr/lib/ipcd"].map(Into::into).into(),
            Instance::User => user_base().into_iter().collect(),
            Instance::Private => Vec::new(),
        };
        Self {
            main: bases.first().map(|base| (base.join("ipcd.toml"), false)),
            drop_ins: bases.iter().map(|base| base.join("ipcd.d")).collect(),
            command_line,
        }
    }

    /// The directories that they are in, whether these exist or not.
    pub(crate) fn places(&self) -> Vec<PathBuf> {
        let main = self.main.as_ref().and_then(|(path, _)| std::path::absolute(path).ok());
        // The directory, for a file that is written anew is another one.
        let main = main.as_deref().and_then(Path::parent).map(Path::to_owned);
        main.into_iter().chain(self.drop_ins.iter().cloned()).collect()
    }

    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// [`FileError`] at the first that cannot be read, or that others could have written.
    pub(crate) fn read(&self) -> Result<Sources, FileError> {
        let main = match &self.main {
            Some((path, required)) => read_one(path, *required)?,
            None => None,
        };
        let mut found = BTreeMap::new();
        for directory in &self.drop_ins {
            for path in toml_files(directory)? {
                found.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
            }
        }
        let mut drop_ins = Vec::new();
        for path in found.values() {
            drop_ins.extend(read_one(path, true)?);
        }
        Ok(Sources { command_line: self.command_line.clone(), drop_ins, main })
    }
}

fn user_base() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let base = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty());
    base.map(PathBuf::from).or_else(home).map(|base| base.join("ipcd"))
}

fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let system = |error: io::Error| FileError { path: directory.to_owned(), why: error.into() };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(system(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(system)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(files)
}

fn read_one(path: &Path, required: bool) -> Result<Option<File>, FileError> {
    let unusable = |why| FileError { path: path.to_owned(), why };
    let (file, facts) = match sys::file::open(path, CONFIG_BYTES_MOST, Links::Followed) {
        Ok(opened) => opened,
        Err(Unusable::System(error)) if error.kind() == io::ErrorKind::NotFound && !required => {
            return Ok(None);
        }
        Err(why) => return Err(unusable(why)),
    };
    if !sys::file::is_trusted(&facts, nix::unistd::geteuid().as_raw()) {
        return Err(unusable(Unusable::Untrusted));
    }
    let mut text = String::new();
    file.take(CONFIG_BYTES_MOST)
        .read_to_string(&mut text)
        .map_err(|error| unusable(error.into()))?;
    Ok(Some(File { name: path.display().to_string(), text }))
}

/// Why a file is not read.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    why: Unusable,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_earlier_directory_hides_files_of_the_same_name_and_names_are_the_order() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        write(&path("etc/b.toml"), "etc b", 0o644);
        write(&path("usr/b.toml"), "usr b", 0o644);
        write(&path("usr/a.toml"), "usr a", 0o644);
        write(&path("usr/readme"), "no", 0o644);
        let files = Files {
            main: Some((path("ipcd.toml"), false)),
            drop_ins: vec![path("etc"), path("run"), path("usr")],
            command_line: Vec::new(),
        };
        let sources = files.read().unwrap();
        let texts: Vec<_> = sources.drop_ins.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["usr a", "etc b"]);
        assert!(sources.main.is_none());
    }

    #[test]
    fn a_directory_is_read_as_the_usual_ones_are() {
        let place = tempfile::tempdir().unwrap();
        let files = || Files::of(Instance::Private, Some(place.path()), Vec::new());
        let found = files().read().unwrap();
        assert!(found.main.is_none() && found.drop_ins.is_empty(), "nothing has to be there");
        write(&place.path().join("ipcd.toml"), "# main", 0o644);
        fs::create_dir(place.path().join("ipcd.d")).unwrap();
        write(&place.path().join("ipcd.d/10-web.toml"), "# web", 0o644);
        let found = files().read().unwrap();
        assert_eq!(found.main.unwrap().text, "# main");
        assert_eq!(found.drop_ins[0].text, "# web");
        assert_eq!(files().places(), [place.path().to_owned(), place.path().join("ipcd.d")]);
    }

    #[test]
    fn a_file_that_others_could_have_written_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ipcd.toml");
        write(&path, "", 0o666);
        let files = Files::of(Instance::Private, Some(&path), Vec::new());
        let said = files.read().unwrap_err().to_string();
        assert!(said.contains("others could have written it"), "{said}");
        write(&path, "", 0o644);
        assert!(files.read().is_ok());
        fs::remove_file(&path).unwrap();
        assert!(files.read().unwrap_err().to_string().contains("No such file"));
        write(&path, &"#".repeat(4 * 1024 * 1024 + 1), 0o644);
        let said = files.read().unwrap_err().to_string();
        assert!(said.ends_with("longer than 4194304 bytes"), "{said}");
    }
}
