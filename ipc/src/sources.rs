//! Configuration files, found and read as the broker does.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use libipc::environment::Environment;
use libipc::rundir::RunDirectory;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use policy::accounts::Accounts;
use policy::config::Sources;
use settings::File;
use sys::file::{CONFIG_BYTES_MOST, Links};

use crate::report::Report;

/// The accounts of this host.
pub(crate) struct HostAccounts;

impl Accounts for HostAccounts {
    fn uid(&self, name: &str) -> Option<u32> {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid(&self, name: &str) -> Option<u32> {
        nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }

    fn groups_of(&self, name: &str) -> Vec<u32> {
        let user = match name.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(name),
        };
        let Some(user) = user.ok().flatten() else { return Vec::new() };
        let groups = CString::new(user.name).map(|name| getgrouplist(&name, user.gid));
        let groups = groups.ok().and_then(Result::ok).unwrap_or_default();
        groups.into_iter().map(Gid::as_raw).collect()
    }

    fn tells_units(&self) -> bool {
        libipc::identity::tells_units()
    }
}

/// What `--config` names: a directory like /etc/ipcd, one main file alone, as `ipcd --config` reads
/// it, or several files as if they lay in ipcd.d.
pub(crate) fn named(paths: &[PathBuf]) -> Result<Sources, Report> {
    match paths {
        [directory] if directory.is_dir() => below(std::slice::from_ref(directory), read),
        [main] => Ok(Sources { main: Some(read(main)?), ..Sources::default() }),
        files => listed(files),
    }
}

/// Files as if they lay in ipcd.d: in the order of their names.
pub(crate) fn listed(files: &[PathBuf]) -> Result<Sources, Report> {
    let mut files = files.to_vec();
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let drop_ins = files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    Ok(Sources { drop_ins, ..Sources::default() })
}

/// What the broker reads without being told: the system's for root, else the user's own.
pub(crate) fn installed() -> Result<Sources, Report> {
    let bases: Vec<PathBuf> = if nix::unistd::geteuid().is_root() {
        ["/etc/ipcd", "/run/ipcd", "/usr/lib/ipcd"].map(Into::into).into()
    } else {
        user_base().into_iter().collect()
    };
    let broker = Reader::of_process();
    below(&bases, |path| broker.read(path))
}

/// As whom the broker reads its files.
struct Reader {
    uid: u32,
    /// Its groups, if it is somebody else than this process.
    groups: Option<Vec<u32>>,
}

impl Reader {
    /// The system's account for root, where there is one; else oneself.
    fn of_process() -> Self {
        let uid = nix::unistd::geteuid().as_raw();
        match HostAccounts.uid("ipcd").filter(|_| uid == 0) {
            Some(uid) => Self { uid, groups: Some(HostAccounts.groups_of("ipcd")) },
            None => Self { uid, groups: None },
        }
    }

    /// Reads a file as the broker does, or refuses it as the broker would.
    fn read(&self, path: &Path) -> Result<File, Report> {
        let refused = |why: &str, cure: String| {
            let report = Report::new(78, &path.display().to_string(), "configuration", why);
            report.cure("to do", &cure)
        };
        let (file, facts) = sys::file::open(path, CONFIG_BYTES_MOST, Links::Followed)
            .map_err(|why| refused(&why.to_string(), "put a file there that can be read".into()))?;
        if !sys::file::is_trusted(&facts, self.uid) {
            let why = "others could have written it: the broker refuses it";
            return Err(refused(why, format!("chown root {0}; chmod go-w {0}", path.display())));
        }
        let readers = self.groups.as_ref();
        if readers.is_some_and(|groups| !sys::file::may_read(&facts, self.uid, groups)) {
            let why = "the broker cannot read it: it runs as ipcd";
            return Err(refused(why, format!("chmod a+r {}", path.display())));
        }
        let mut text = String::new();
        let read = file.take(CONFIG_BYTES_MOST).read_to_string(&mut text);
        read.map_err(|error| unread(path, &error))?;
        Ok(File { name: path.display().to_string(), text })
    }
}

/// The places of fronts of the brokers that a configuration may be meant for: of the one in
/// `rundir`, else of the one that the environment names, else of the usual ones.
pub(crate) fn fronts(rundir: Option<&Path>) -> Vec<PathBuf> {
    let mut environment = Environment::of_process();
    if let Some(rundir) = rundir {
        environment.rundir =
            Some(std::path::absolute(rundir).unwrap_or_else(|_| rundir.to_owned()));
    }
    environment.run_directories().iter().map(RunDirectory::fronts).collect()
}

/// The files of directories like /etc/ipcd, the most important first.
fn below(
    bases: &[PathBuf],
    read: impl Fn(&Path) -> Result<File, Report>,
) -> Result<Sources, Report> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for base in bases {
        for path in toml_files(&base.join("ipcd.d"))? {
            let name = path.file_name().unwrap_or_default().to_owned();
            found.entry(name).or_insert(path);
        }
    }
    let drop_ins = found.values().map(|path| read(path)).collect::<Result<_, _>>()?;
    let main = bases.first().map(|base| base.join("ipcd.toml")).filter(|path| path.exists());
    let main = main.map(|path| read(&path)).transpose()?;
    Ok(Sources { command_line: Vec::new(), drop_ins, main })
}

/// Where a user's own configuration is.
pub(crate) fn user_base() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("ipcd"))
}

fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, Report> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(directory, &error)),
    };
    let paths: io::Result<Vec<PathBuf>> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| unread(directory, &error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    Ok(paths)
}

fn read(path: &Path) -> Result<File, Report> {
    let text = fs::read_to_string(path).map_err(|error| unread(path, &error))?;
    Ok(File { name: path.display().to_string(), text })
}

fn unread(path: &Path, error: &io::Error) -> Report {
    Report::new(78, &path.display().to_string(), "configuration", error)
        .cure("to do", "name a file that can be read")
}
