//! A run directory, the commands in it, and waiting for what they do.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::{ServiceName, Stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A run directory of its own.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn rundir(&self) -> PathBuf {
        self.0.path().join("ipc")
    }

    pub(crate) fn socket(&self, service: &str) -> PathBuf {
        self.rundir().join("services").join(service)
    }

    /// A file beside the run directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A command that is yet to be run.
    pub(crate) fn ipc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipc"));
        command.args(arguments).env("IPC_RUNDIR", self.rundir()).stdin(Stdio::null());
        command.env_remove("IPC_NETWORK").env_remove("IPC_NETWORK_FILE");
        command
    }

    /// `ipc serve` with these arguments, once it serves `service`.
    pub(crate) fn serve(&self, service: &str, arguments: &[&str]) -> Running {
        let running =
            Running(self.ipc(&[&["serve", service], arguments].concat()).spawn().unwrap());
        until("it serves", || sys::socket::connect_unix_now(&self.socket(service)).is_ok());
        running
    }

    /// A command that offers `service`, once it does.
    pub(crate) fn offer(&self, command: &str, service: &str, arguments: &[&str]) -> Running {
        let mut command = self.ipc(&[&[command, service], arguments].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = Running(command.spawn().unwrap());
        let path = if service.contains('/') { service.into() } else { self.socket(service) };
        until("it serves", || sys::socket::connect_unix_now(&path).is_ok());
        running
    }

    /// A place for a socket that no broker knows.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A connection to a service.
    pub(crate) fn connect(&self, service: &str) -> Stream {
        let environment = Environment { rundir: Some(self.rundir()), ..Environment::default() };
        let name = ServiceName::new(service).unwrap();
        let stream = Connector::new(&environment, PATIENCE).unwrap().connect(&name).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// A command that ends with its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// How many programs it runs.
    pub(crate) fn programs(&self) -> usize {
        let pid = self.0.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        std::fs::read_to_string(children).unwrap().split_whitespace().count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_err();
        let _status = self.0.wait().is_ok();
    }
}

/// Runs a command with that input: its exit code, what it printed, and its errors.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> (i32, String, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that does not read it is no concern of the writer.
    let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
