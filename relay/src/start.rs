//! The steps of start-up that transport daemons share.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use daemon::exit::Failure;
use daemon::log::Log;
use daemon::sandbox::{Sandbox, Sockets};
use libipc::environment::Environment;
use libipc::listener::ListenError;
use libipc::rundir::{Instance, RunDirectory};
use settings::Problem;
use sys::inherited::Inherited;

use crate::server::Server;

/// What the service manager passed.
#[derive(Debug)]
pub struct Inheritance {
    /// A Unix socket at our place in the run directory, for the broker.
    pub place: Option<OwnedFd>,
    /// Sockets for other hosts.
    pub others: Vec<Inherited>,
}

impl Inheritance {
    /// Takes it over. Call it before anything else opens descriptors.
    #[must_use]
    pub fn take() -> Self {
        let is_place =
            |one: &Inherited| sys::socket::is_unix(one.descriptor.as_fd()).unwrap_or(false);
        let (mut places, others): (Vec<_>, Vec<_>) =
            sys::inherited::take().into_iter().partition(is_place);
        Self { place: places.pop().map(|place| place.descriptor), others }
    }
}

/// The socket on which the broker calls us: `inherited`, or one of our own as `name`.
///
/// # Errors
///
/// [`ListenError`]; in particular if a living daemon has the place.
pub fn serve(
    inherited: Option<OwnedFd>,
    directory: &RunDirectory,
    name: &str,
) -> Result<Server, ListenError> {
    match inherited {
        Some(place) => Server::from_socket(place),
        None => Server::bind(directory, name),
    }
}

/// Which broker a daemon works for, as its command line says.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The run directory that was named.
    pub rundir: Option<&'a Path>,
    /// The user's own broker.
    pub user: bool,
}

/// The configuration that `parse` makes of the file; the default one without a file.
///
/// # Errors
///
/// [`Failure::Config`] with all problems of the file.
pub fn read_config<C: Default>(
    path: Option<&Path>,
    parse: impl FnOnce(&str, &str) -> Result<C, Vec<Problem>>,
) -> Result<C, Failure> {
    let Some(path) = path else { return Ok(C::default()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Config(format!("{name}: cannot be read: {error}")))?;
    parse(&name, &text).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::Config(problems.join("\n"))
    })
}

/// The run directory: the one that was named, by the command line or `IPC_RUNDIR`; else the
/// system's for root, and the user's own for everybody else.
///
/// # Errors
///
/// [`Failure::Usage`] if there is none; [`Failure::System`] if the current directory is unknown.
pub fn run_directory(place: Place<'_>) -> Result<RunDirectory, Failure> {
    let environment = Environment::of_process();
    let named = environment.rundir.as_deref().filter(|_| !place.user);
    if let Some(path) = place.rundir.or(named) {
        let path = std::path::absolute(path)
            .map_err(|error| Failure::system("the run directory", &error))?;
        return Ok(RunDirectory::named(&path, &environment));
    }
    if nix::unistd::geteuid().is_root() && !place.user {
        return Ok(RunDirectory::system());
    }
    RunDirectory::user(&environment).ok_or_else(|| {
        Failure::Usage(
            "XDG_RUNTIME_DIR is not set: name the run directory with --rundir DIR".to_owned(),
        )
    })
}

/// A daemon of the system, started as root, goes on as `account` where there is one. False if
/// there is none, and it goes on as root.
///
/// # Errors
///
/// [`Failure::System`]; nothing may go on then.
pub fn give_up_root(directory: &RunDirectory, account: &str) -> Result<bool, Failure> {
    if directory.instance() != Instance::System || !nix::unistd::geteuid().is_root() {
        return Ok(true);
    }
    daemon::account::switch_to(account)
        .map_err(|error| Failure::system("cannot give up root", &error))
}

/// Shuts the daemon in, with the sockets that it may make and the files that it reads; see
/// [`Sandbox::enter`].
///
/// # Errors
///
/// [`Failure::System`]; nothing may go on then.
pub fn shut_in(
    directory: &RunDirectory,
    sockets: Sockets,
    reads: &[PathBuf],
    log: Log,
) -> Result<(), Failure> {
    let binds: &[_] = match directory.instance() {
        // There our place was made by root, and is not to be changed.
        Instance::System => &[],
        _ => &[directory.path().to_owned()],
    };
    Sandbox { sockets, reads, binds, has_children: false }.enter(log)
}
