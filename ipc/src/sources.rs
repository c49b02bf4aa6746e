//! Configuration files, found and read as the broker does.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use libipc::environment::Environment;
use libipc::rundir::RunDirectory;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use policy::accounts::Accounts;
use policy::config::Sources;
use settings::configuration::{Found, Places, Reader, Unread};
use sys::file::{UNTRUSTED, Unusable};

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
        [path] => read(&Places::named(path), &Reader::of_process()),
        files => in_order(files, &Reader::of_process()),
    }
}

/// Files as they would lie in ipcd.d, wherever they are now: who may write to them there is not
/// known yet.
pub(crate) fn listed(files: &[PathBuf]) -> Result<Sources, Report> {
    in_order(files, &Reader::trusting())
}

/// Files as if they lay in ipcd.d: in the order of their names.
fn in_order(files: &[PathBuf], reader: &Reader) -> Result<Sources, Report> {
    let mut files = files.to_vec();
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let drop_ins = files.iter().map(|path| reader.read(path).map_err(|error| unread(&error)));
    Ok(Sources { drop_ins: drop_ins.collect::<Result<_, _>>()?, ..Sources::default() })
}

/// What the broker reads without being told: the system's for root, else the user's own.
pub(crate) fn installed() -> Result<Sources, Report> {
    if !nix::unistd::geteuid().is_root() {
        return read(&Places::of_user(), &Reader::of_process());
    }
    // The system's account, where there is one.
    let broker = HostAccounts.uid("ipcd");
    let broker = broker.map(|uid| Reader::other(uid, HostAccounts.groups_of("ipcd")));
    read(&Places::of_system(), &broker.unwrap_or_else(Reader::of_process))
}

/// Reads files as the broker does, or refuses them as the broker would.
fn read(places: &Places, reader: &Reader) -> Result<Sources, Report> {
    let Found { main, drop_ins } = places.read(reader).map_err(|error| unread(&error))?;
    Ok(Sources { command_line: Vec::new(), drop_ins, main })
}

fn unread(Unread { path, why }: &Unread) -> Report {
    let path = path.display();
    let (said, cure) = match why {
        Unusable::Untrusted { is_foreign } => {
            let owner = if *is_foreign { format!("chown root {path} && ") } else { String::new() };
            (UNTRUSTED.to_owned(), format!("{owner}chmod go-w {path}"))
        }
        Unusable::Closed => {
            ("the broker cannot read it: it runs as ipcd".to_owned(), format!("chmod a+r {path}"))
        }
        Unusable::System(_) | Unusable::NotAFile | Unusable::TooLong(_) => {
            (why.to_string(), "name a file that can be read".to_owned())
        }
    };
    Report::new(78, &path.to_string(), "configuration", said).cure("to do", cure)
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
