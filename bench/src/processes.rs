//! The broker and the service, each a process of its own, and the place where they meet.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use libipc::ServiceName;
use libipc::rundir::{Instance, RunDirectory};

use crate::handoff::busy;
use crate::service::{REGISTERED, WITH_SOCKET};

/// What nothing here may reach: the crowd has one user.
const LIMITS: &str = "[limits]\nclients-per-user = 8192\n";

/// A process that ends with this program's handle of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_err();
        let _status = self.0.wait().is_ok();
    }
}

pub(crate) struct Processes {
    pub(crate) directory: RunDirectory,
    /// A path that leads to the registered service.
    pub(crate) front: PathBuf,
    pids: [u32; 3],
    _running: [Running; 2],
    _place: tempfile::TempDir,
}

impl Processes {
    /// Starts both; the service registers a crowd of names besides its own.
    pub(crate) fn start(crowd: usize) -> Result<Self, Box<dyn Error>> {
        let place = tempfile::tempdir()?;
        let (run, front) = (place.path().join("ipc"), place.path().join("front"));
        let config = place.path().join("ipcd.toml");
        fs::write(&config, LIMITS)?;
        let own = env::current_exe()?;
        let program = own.with_file_name("ipcd");
        if !program.exists() {
            return Err("build ipcd first: cargo build --release -p ipcd".into());
        }
        let directory = RunDirectory::new(run.clone(), Instance::Private);
        let mut broker = Command::new(&own);
        broker.args(["activate"]).arg(&front).arg(program).arg("--rundir").arg(&run);
        broker.arg("--config").arg(config).args(["--log-level", "warn"]);
        let broker = start(&mut broker)?;
        until("the broker", || UnixStream::connect(directory.broker()).is_ok())?;
        let mut service = Command::new(&own);
        let service = start(service.arg("serve").arg(&run).arg(crowd.to_string()))?;
        let own_socket = directory.service(&ServiceName::new(WITH_SOCKET)?);
        // It is made last.
        until("the service", || UnixStream::connect(&own_socket).is_ok())?;
        let pids = [process::id(), broker.0.id(), service.0.id()];
        Ok(Self { directory, front, pids, _running: [broker, service], _place: place })
    }

    /// The time that all of them have run.
    pub(crate) fn busy(&self) -> Result<Duration, Box<dyn Error>> {
        self.pids.iter().map(|pid| busy(*pid)).sum()
    }
}

fn start(command: &mut Command) -> std::io::Result<Running> {
    command.stdin(Stdio::null()).spawn().map(Running)
}

fn until(what: &str, is_there: impl Fn() -> bool) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        if Instant::now() > end {
            return Err(format!("{what} does not start").into());
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// Makes a listening socket and becomes a program that inherits it, as from a service manager.
pub(crate) fn activate(front: &Path, program: &[String]) -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(front)?;
    if listener.as_raw_fd() != 3 {
        return Err("descriptor 3 is in use".into());
    }
    sys::socket::set_close_on_exec(listener.as_fd(), false)?;
    let [program, arguments @ ..] = program else { return Err("no program".into()) };
    let mut command = Command::new(program);
    command.args(arguments).env("LISTEN_PID", process::id().to_string());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", format!("front.{REGISTERED}"));
    Err(command.exec().into())
}
