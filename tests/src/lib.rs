//! What whole-system tests share: real daemons as child processes, in run directories of their
//! own, ended when they are dropped.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this crate is tests alone: a broken premise ends the test with its words"
)]

pub mod container;

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::setup::Surroundings;

pub mod black_hole;
pub mod dns;
#[cfg(target_arch = "x86_64")]
pub mod forbidden;
pub mod logins;
pub mod machine;
pub mod namespace;
pub mod packages;
pub mod plain_servers;
mod ports;
#[cfg(target_arch = "x86_64")]
pub mod puppet;
pub mod raw;
pub mod rogue;
mod setup;
pub mod tls;
pub mod tls_servers;
pub mod transport;
pub mod unmodified;
pub mod users;

pub use crate::ports::free_port;
pub use crate::setup::Setup;

/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The environment variable that names a feature which the binaries are to be built with.
pub const FEATURE: &str = "IPCD_TESTS_FEATURE";

/// The environment variable that names the directory of binaries which have been built already,
/// for example static ones.
pub const PROGRAMS: &str = "IPCD_TESTS_PROGRAMS";

/// The directory of the real binaries, which are built first.
pub fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(built) = std::env::var_os(PROGRAMS) {
            return std::path::absolute(built).expect("a directory");
        }
        let own = std::env::current_exe().expect("the test's own path");
        let directory = own.ancestors().nth(2).expect("target/debug/deps/test").to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args([
            "build",
            "--quiet",
            "-p",
            "ipcd",
            "-p",
            "ipcd-tcpd",
            "-p",
            "ipcd-tlsd",
            "-p",
            "ipcd-authd",
            "-p",
            "pongd",
            "-p",
            "ipc",
            "-p",
            "xtask",
        ]);
        if let Ok(feature) = std::env::var(FEATURE) {
            build.args(["-p", "ipcd-policy", "--features", &feature]);
        }
        if directory.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the binaries cannot be built");
        directory
    })
}

/// One of the binaries.
#[must_use]
pub fn program(name: &str) -> Command {
    Command::new(binaries().join(name))
}

/// Whether a test that needs `what` can run. In CI it has to.
#[must_use]
pub fn has(what: &str, is_there: bool) -> bool {
    assert!(is_there || std::env::var_os("CI").is_none(), "CI has to have {what}");
    if !is_there {
        eprintln!("skipped: there is no {what}");
    }
    is_there
}

/// Whether this is root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Daemons hide their memory, and with it their descriptors, from everybody but root.
#[must_use]
pub fn may_look() -> bool {
    has("root, to look into daemons", is_root())
}

/// Where a program of the system is, if it is there.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/sbin"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
}

/// Waits until something is so.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Waits until the broker of a run directory has answered somebody: it has begun to turn, and has
/// opened whatever it opens when it starts.
pub fn until_broker_answers(rundir: &Path) {
    until("the broker answers", || {
        raw::Raw::at(&rundir.join("ipc")).is_ok_and(|mut asked| {
            asked.ask("org.varlink.service.GetInfo", &serde_json::json!({})).is_ok()
                && asked.answer().is_some()
        })
    });
}

/// Waits for the next client of a service.
#[must_use]
pub fn accept(listener: &libipc::Listener) -> libipc::Stream {
    let client = RefCell::new(None);
    until("a client comes", || {
        *client.borrow_mut() = listener.try_accept().expect("a listener");
        client.borrow().is_some()
    });
    client.into_inner().expect("one has come")
}

/// A child process that ends with the test.
#[derive(Debug)]
pub struct Daemon(pub Child);

impl Daemon {
    /// Starts it.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the program starts"))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.0.id()).expect("a pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Ends it at once, as a crash would.
    pub fn crash(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Its open descriptors; zero, always, for whoever may not look into daemons.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        if !may_look() {
            return 0;
        }
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// Whether it holds the socket with that inode; false, always, for whoever may not look.
    #[must_use]
    pub fn holds(&self, inode: u64) -> bool {
        if !may_look() {
            return false;
        }
        let wanted = format!("socket:[{inode}]");
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("it runs")
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target.as_os_str() == wanted.as_str())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_err();
        let _status = self.0.wait().is_ok();
    }
}

/// A host: a run directory with its daemons.
#[derive(Debug)]
pub struct Host {
    place: tempfile::TempDir,
    surroundings: Surroundings,
    /// Its broker.
    pub broker: Daemon,
    /// Its other daemons.
    pub others: Vec<Daemon>,
}

impl Host {
    /// A host whose broker has these arguments.
    #[must_use]
    pub fn new(arguments: &[&str]) -> Self {
        Self::with_config("", arguments)
    }

    /// A host whose broker has a configuration file too.
    #[must_use]
    pub fn with_config(config: &str, arguments: &[&str]) -> Self {
        Self::of(&Setup { config, arguments, ..Setup::default() })
    }

    /// A host as it is described.
    #[must_use]
    pub fn of(setup: &Setup<'_>) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        // Other users' programs are to get to the run directory.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        write_config(place.path(), setup.config);
        let surroundings = Surroundings::of(setup);
        let broker = start_broker(place.path(), &surroundings, setup.arguments);
        Self { place, surroundings, broker, others: Vec::new() }
    }

    /// Starts the broker again, in the same place.
    pub fn restart(&mut self, arguments: &[&str]) {
        self.broker = start_broker(self.place.path(), &self.surroundings, arguments);
    }

    /// Descriptors of the broker, if it serves nobody but the one who asks; zero, always, for
    /// whoever may not look into daemons.
    #[must_use]
    pub fn alone(&self) -> Option<usize> {
        let mut asking = raw::Raw::to(self);
        asking.ask("org.ipcd.Control.Status", &serde_json::json!({})).ok()?;
        let answer = asking.answer()?;
        (answer["parameters"]["clients"] == 1).then(|| self.broker.descriptors())
    }

    /// Waits until the broker serves nobody but the one who asks; its descriptors then.
    #[must_use]
    pub fn at_rest(&self) -> usize {
        let seen = Cell::new(None);
        until("the broker has let go of its clients", || {
            seen.set(self.alone());
            seen.get().is_some()
        });
        seen.get().expect("it was so")
    }

    /// Waits until the broker holds no more than that while it serves nobody else.
    pub fn until_back(&self, what: &str, at_rest: usize) {
        until(&format!("the broker holds what it held before: {what}"), || {
            self.alone().is_some_and(|now| now <= at_rest)
        });
    }

    /// What the broker has written down so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).expect("the host was set up to log")
    }

    /// Writes the configuration file anew.
    pub fn configure(&self, config: &str) {
        write_config(self.place.path(), config);
    }

    /// With a tcpd that listens at that port of loopback, or does not listen.
    #[must_use]
    pub fn with_tcpd(self, port: Option<u16>) -> Self {
        let addresses = port.map(|port| [format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
        let addresses = addresses.iter().flatten().map(String::as_str).collect::<Vec<_>>();
        self.with_tcpd_at(&addresses)
    }

    /// With a tcpd that listens at those addresses.
    #[must_use]
    pub fn with_tcpd_at(mut self, addresses: &[&str]) -> Self {
        let mut command = self.surroundings.daemon("tcpd", self.place.path());
        command.arg("--rundir").arg(self.rundir());
        for address in addresses {
            command.args(["--listen", address]);
        }
        self.others.push(Daemon::start(&mut command));
        until("the broker knows tcpd", || {
            let status = self.ipc(&["--json", "status"]).output().expect("ipc runs");
            let status: serde_json::Value =
                serde_json::from_slice(&status.stdout).unwrap_or_default();
            status["transports"].as_array().is_some_and(|all| {
                all.iter().any(|one| one["name"] == "tcp" && one["available"] == true)
            })
        });
        self
    }

    /// With pongd under that name, on a socket that was made for it as a socket unit does.
    #[must_use]
    pub fn with_pongd(mut self, name: &str) -> Self {
        self.others.push(self.pongd_on_a_socket(name));
        self
    }

    fn pongd_on_a_socket(&self, name: &str) -> Daemon {
        self.pongd_serving(name, self.socket_of(name))
    }

    /// A listening socket for a service, as a service manager opens it.
    #[must_use]
    pub fn socket_of(&self, name: &str) -> UnixListener {
        let path = self.rundir().join("services").join(name);
        // What a crash left there.
        let _nothing = fs::remove_file(&path).is_err();
        let listener = UnixListener::bind(&path).expect("a socket");
        let mode = if is_root() { 0o666 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        listener
    }

    /// Starts pongd on a socket that a service manager has opened.
    #[must_use]
    pub fn pongd_serving(&self, name: &str, listener: UnixListener) -> Daemon {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(binaries().join("pongd"))
            .arg(name)
            .env("IPC_RUNDIR", self.rundir())
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", name)
            .stdin(std::os::fd::OwnedFd::from(listener));
        Daemon(command.spawn().expect("the program starts"))
    }

    /// With pongd under that name, registered with the broker.
    #[must_use]
    pub fn with_registered_pongd(mut self, name: &str) -> Self {
        self.others
            .push(Daemon::start(program("pongd").arg(name).env("IPC_RUNDIR", self.rundir())));
        let asked = libipc::connector::Connector::new(&self.environment(""), PATIENCE);
        let asked = asked.expect("an environment").wait_for_service();
        let name = libipc::ServiceName::new(name).expect("a name");
        let _first = asked.connect(&name).expect("pongd registers");
        self
    }

    /// A place of the host's own, outside of the run directory.
    #[must_use]
    pub fn place(&self, file: &str) -> PathBuf {
        self.place.path().join(file)
    }

    /// The run directory as libraries have it, of the kind that its broker was told.
    #[must_use]
    pub fn directory(&self, instance: libipc::rundir::Instance) -> libipc::rundir::RunDirectory {
        libipc::rundir::RunDirectory::new(self.rundir(), instance)
    }

    /// The run directory.
    #[must_use]
    pub fn rundir(&self) -> PathBuf {
        self.place.path().join("ipc")
    }

    /// A call of the command line on this host.
    #[must_use]
    pub fn ipc(&self, arguments: &[&str]) -> Command {
        let mut command = program("ipc");
        command.args(arguments).env("IPC_RUNDIR", self.rundir());
        command.env_remove("IPC_NETWORK").stdin(Stdio::null());
        command
    }

    /// The environment of a client on this host.
    #[must_use]
    pub fn environment(&self, network: &str) -> libipc::environment::Environment {
        libipc::environment::Environment {
            rundir: Some(self.rundir()),
            network: Some(libipc::secret::Secret::new(network.to_owned())),
            ..Default::default()
        }
    }

    /// Connects as a client on this host.
    ///
    /// # Errors
    ///
    /// The library's.
    pub fn connect(
        &self,
        service: &str,
        network: &str,
    ) -> Result<libipc::Stream, libipc::ConnectError> {
        self.connect_within(PATIENCE, service, network)
    }

    /// Connects as a client on this host that waits no longer than that.
    ///
    /// # Errors
    ///
    /// The library's.
    pub fn connect_within(
        &self,
        patience: Duration,
        service: &str,
        network: &str,
    ) -> Result<libipc::Stream, libipc::ConnectError> {
        let name = libipc::ServiceName::new(service).map_err(libipc::ConnectError::Name)?;
        let environment = self.environment(network);
        libipc::connector::Connector::new(&environment, patience)?.connect(&name)
    }

    /// Connects and has `ping` echoed; an error's words if there is no connection.
    #[must_use]
    pub fn ping(&self, service: &str, network: &str) -> String {
        use std::io::Write;
        match self.connect(service, network) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                stream.write_all(b"ping").expect("the service reads");
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).expect("the service answers");
                String::from_utf8_lossy(&answer).into_owned()
            }
            Err(error) => error.to_string(),
        }
    }
}

/// Runs a command to its end: its exit code, standard output and standard error.
#[must_use]
pub fn outcome(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn write_config(place: &Path, config: &str) {
    fs::write(place.join("ipcd.toml"), config).expect("the configuration");
}

fn start_broker(place: &Path, surroundings: &Surroundings, arguments: &[&str]) -> Daemon {
    let rundir = place.join("ipc");
    let mut command = surroundings.broker(place);
    command.arg("--rundir").arg(&rundir).arg("--config").arg(place.join("ipcd.toml"));
    command.args(arguments);
    let daemon = Daemon::start(&mut command);
    until_broker_answers(&rundir);
    daemon
}
