//! A host on which one daemon at a time meets a fault: what is asked of it, and what it owes.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ipcd_tests::tls::Authority;
use ipcd_tests::tls_servers::{Server, echo};
use ipcd_tests::{Daemon, PATIENCE, binaries, free_port};
use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::secret::Secret;
use libipc::{ServiceName, Stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::matrix::{FATAL, Fault};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(2);

/// How much later than that its answer may come, on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// How long a daemon may take to start, to answer again, and to end.
///
/// A little more than what a daemon gives the broker to decide about a peer.
const RECOVERY: Duration = Duration::from_secs(13);

/// The programs that are made to fail.
pub(crate) const PROGRAMS: [&str; 3] = ["ipcd", "tcpd", "tlsd"];

/// What a fault has led to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Outcome {
    /// The daemon went on, and was well afterwards.
    WentOn,
    /// It did not start, and said why.
    NotStarted,
    /// It ended, and said why.
    Ended,
}

/// A run directory with all daemons but the one that is to fail.
pub(crate) struct Stage {
    place: tempfile::TempDir,
    _authority: Authority,
    _tls: Server,
    others: Vec<(&'static str, Daemon)>,
    requests: Vec<(String, String, bool)>,
    port: u16,
}

impl Stage {
    /// One where everything runs but `program`.
    pub(crate) fn new(program: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let tls = echo(&authority.issue("server", &["localhost"]));
        let (port, secure) = (free_port(), tls.port);
        let ca = authority.certificate();
        let tlsd = format!("[trust.own]\nca = '{}'\n[dial]\ntrust = 'own'\n", ca.display());
        fs::write(place.path().join("tlsd.toml"), tlsd).unwrap();
        let config = format!(
            "rules = '''\ndeny local closed\nallow out pongd,closed,far tcp:localhost:{port}\n\
             allow out secure tls:localhost:{secure}\nallow in pongd tcp:127.0.0.1\n'''\n\
             [redirects]\nsecure = 'tls://localhost:{secure}'\n\
             far = 'tcp://localhost:{port}/pongd'\n"
        );
        fs::write(place.path().join("ipcd.toml"), config).unwrap();
        let far = |name: &str| format!("{name} tcp://localhost:{port}/{name}");
        let requests = [
            ("pongd", String::new(), true),
            ("pongd", far("pongd"), true),
            ("secure", String::new(), true),
            ("closed", String::new(), false),
            // The far side refuses, and this side does.
            ("closed", far("closed"), false),
            ("payroll", far("payroll"), false),
        ];
        let requests = requests.map(|(name, network, may)| (name.to_owned(), network, may));
        let mut this = Self {
            place,
            _authority: authority,
            _tls: tls,
            others: Vec::new(),
            requests: requests.into(),
            port,
        };
        // The broker makes the directory that pongd's socket is in.
        for name in PROGRAMS {
            let daemon = Daemon(this.start(name, &[]));
            this.others.push((name, daemon));
            this.until(name, || this.answers(name));
        }
        let pongd = this.pongd();
        this.others.push(("pongd", pongd));
        this.until("all answer", || this.round().is_ok_and(|well| well));
        this.others.retain(|(name, _)| *name != program);
        this
    }

    fn pongd(&self) -> Daemon {
        let path = self.rundir().join("services/pongd");
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" pongd"]);
        command.arg(binaries().join("pongd")).env("IPC_RUNDIR", self.rundir());
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "pongd");
        Daemon(command.stdin(std::os::fd::OwnedFd::from(listener)).spawn().unwrap())
    }

    fn rundir(&self) -> PathBuf {
        self.place.path().join("ipc")
    }

    /// The words that start a daemon, behind those of a tracer.
    fn start(&self, program: &str, tracer: &[String]) -> Child {
        let mut words: Vec<String> = tracer.to_vec();
        words.push(binaries().join(program).display().to_string());
        words.extend(["--rundir".into(), self.rundir().display().to_string()]);
        let file = |name: &str| self.place.path().join(name).display().to_string();
        match program {
            "ipcd" => words.extend(["--config".into(), file("ipcd.toml")]),
            "tlsd" => words.extend(["--config".into(), file("tlsd.toml")]),
            _ => words.extend(["--listen".into(), format!("127.0.0.1:{}", self.port)]),
        }
        words.extend(["--log-level".into(), "warn".into()]);
        let log = fs::File::create(file(&format!("{program}.log"))).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }

    fn answers(&self, program: &str) -> bool {
        let path = match program {
            "ipcd" => self.rundir().join("ipc"),
            "tcpd" => self.rundir().join("transport/tcp"),
            _ => self.rundir().join("transport/tls"),
        };
        sys::socket::connect_unix_now(&path).is_ok()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "{what} does not come: {}", self.said(what));
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn said(&self, program: &str) -> String {
        fs::read_to_string(self.place.path().join(format!("{program}.log"))).unwrap_or_default()
    }

    /// The calls that `program` makes where nothing fails.
    pub(crate) fn calls(&self, program: &'static str) -> Vec<String> {
        let trace = self.place.path().join("trace");
        let tracer = ["strace", "-D", "-f", "-qq", "-o", &trace.display().to_string()];
        let (outcome, _) = self.play(program, &tracer.map(str::to_owned), None).unwrap();
        assert_eq!(outcome, Outcome::WentOn);
        let text = fs::read_to_string(trace).unwrap();
        let name = |line: &str| {
            let (_, rest) = line.split_once(' ')?;
            let call = rest.trim_start().split_once('(')?.0;
            (!call.contains(' ')).then(|| call.to_owned())
        };
        text.lines().filter_map(name).collect()
    }

    /// How many descriptors `program` has when all is over, where nothing fails.
    pub(crate) fn descriptors(&self, program: &'static str) -> usize {
        self.play(program, &[], None).unwrap().1
    }

    /// Has a call fail; what is wrong with what follows.
    pub(crate) fn meet(&self, fault: &Fault, descriptors: usize) -> Result<Outcome, String> {
        let Fault { program, call, error, turn } = fault;
        let inject = format!("inject={call}:error={error}:when={turn}");
        let trace = format!("trace={call}");
        let tracer = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"];
        let injected = ["-e", &trace, "-e", &inject];
        let tracer = tracer.iter().chain(&injected);
        let tracer: Vec<_> = tracer.map(|word| (*word).to_owned()).collect();
        // What was to be closed and was not is open, and a peer that was not told of the end waits
        // for it: that is the fault itself.
        let most = (!["close", "shutdown"].contains(call)).then_some(descriptors);
        let met = self.play(program, &tracer, most);
        let said = self.said(program);
        // Even the language's own beginning needs memory.
        if said.contains("panicked") && !FATAL.contains(call) {
            return Err(format!("it panics: {said}"));
        }
        met.map(|(outcome, _)| outcome).or_else(|why| match why {
            Wrong::Killed(Signal::SIGABRT | Signal::SIGSEGV) | Wrong::Code(Some(101))
                if FATAL.contains(call) =>
            {
                Ok(Outcome::Ended)
            }
            why => Err(format!("{why}: {said}")),
        })
    }

    /// From the start of the daemon to its end.
    fn play(
        &self,
        program: &'static str,
        tracer: &[String],
        descriptors: Option<usize>,
    ) -> Result<(Outcome, usize), Wrong> {
        let mut daemon = Ending(self.start(program, tracer));
        let start = Instant::now();
        while !self.answers(program) {
            if let Some(status) = daemon.status() {
                return self.ended(program, status).map(|()| (Outcome::NotStarted, 0));
            }
            Wrong::Stuck("start").after(start)?;
        }
        let again = |daemon: &mut Ending| -> Result<Option<Outcome>, Wrong> {
            let status = daemon.status();
            status.map(|status| self.ended(program, status).map(|()| Outcome::Ended)).transpose()
        };
        self.round()?;
        if let Some(outcome) = again(&mut daemon)? {
            return Ok((outcome, 0));
        }
        daemon.signal(Signal::SIGHUP);
        let start = Instant::now();
        while !self.round()? {
            if let Some(outcome) = again(&mut daemon)? {
                return Ok((outcome, 0));
            }
            Wrong::Stuck("answering again").after(start)?;
        }
        let start = Instant::now();
        let mut open = daemon.descriptors();
        while descriptors.is_some_and(|most| open > most) {
            Wrong::Leaks(daemon.listed()).after(start)?;
            open = daemon.descriptors();
        }
        daemon.signal(Signal::SIGTERM);
        let start = Instant::now();
        loop {
            if let Some(status) = daemon.status() {
                return self.ended(program, status).map(|()| (Outcome::WentOn, open));
            }
            Wrong::Stuck("end").after(start)?;
            if descriptors.is_none() {
                // Who is connected to what could not be closed is not waited for.
                daemon.signal(Signal::SIGTERM);
            }
        }
    }

    /// Asks for everything once. True if all that is allowed was had.
    fn round(&self) -> Result<bool, Wrong> {
        let mut is_well = true;
        for (name, network, may) in &self.requests {
            let began = Instant::now();
            let connected = self.connect(name, network);
            if began.elapsed() > REQUEST + LATE {
                return Err(Wrong::Stuck("a request"));
            }
            match connected {
                Some(_) if !may => return Err(Wrong::Allowed(name.clone())),
                Some(stream) => is_well &= echoes(stream)?,
                None => is_well &= !may,
            }
        }
        Ok(is_well)
    }

    fn connect(&self, name: &str, network: &str) -> Option<Stream> {
        let environment = Environment {
            rundir: Some(self.rundir()),
            network: Some(Secret::new(network.to_owned())),
            ..Environment::default()
        };
        let name = ServiceName::new(name).unwrap();
        Connector::new(&environment, REQUEST).unwrap().connect(&name).ok()
    }

    /// A daemon that ends says why, by its code and in words.
    fn ended(&self, program: &str, status: ExitStatus) -> Result<(), Wrong> {
        if let Some(signal) = status.signal() {
            return Err(Wrong::Killed(Signal::try_from(signal).unwrap()));
        }
        let says_why = !self.said(program).is_empty();
        match status.code() {
            Some(0) => Ok(()),
            // 127: the loader has no memory or no libraries.
            Some(64 | 71 | 78 | 127) if says_why => Ok(()),
            code => Err(Wrong::Code(code)),
        }
    }
}

/// True if what is sent comes back; what comes back is never anything else.
fn echoes(mut stream: Stream) -> Result<bool, Wrong> {
    stream.set_read_timeout(Some(REQUEST)).unwrap();
    let mut answer = [0; 4];
    let told = stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut answer));
    match told {
        Ok(()) if &answer == b"ping" => Ok(true),
        Ok(()) => Err(Wrong::Bytes(answer)),
        Err(_) => Ok(false),
    }
}

/// What a fault must not lead to.
#[derive(Debug)]
pub(crate) enum Wrong {
    Stuck(&'static str),
    Allowed(String),
    Bytes([u8; 4]),
    Killed(Signal),
    Code(Option<i32>),
    Leaks(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(what) => write!(f, "it takes too long: {what}"),
            Self::Allowed(name) => write!(f, "it allows what is denied: {name}"),
            Self::Bytes(bytes) => write!(f, "what comes back is {bytes:?}"),
            Self::Killed(signal) => write!(f, "it crashes: {signal}"),
            Self::Code(code) => write!(f, "it ends with {code:?}, or says nothing"),
            Self::Leaks(all) => write!(f, "something is left open of {all}"),
        }
    }
}

impl Wrong {
    /// This, if it has taken too long.
    fn after(self, start: Instant) -> Result<(), Self> {
        if start.elapsed() > RECOVERY {
            return Err(self);
        }
        std::thread::park_timeout(Duration::from_millis(2));
        Ok(())
    }
}

/// A daemon that ends with its scene.
struct Ending(Child);

impl Ending {
    fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    fn signal(&self, signal: Signal) {
        // It may have ended just now.
        let _gone = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).is_err();
    }

    fn listed(&self) -> String {
        let all = fs::read_dir(format!("/proc/{}/fd", self.0.id())).into_iter().flatten();
        let all = all.flatten().filter_map(|one| fs::read_link(one.path()).ok());
        all.map(|one| one.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Its descriptors but for pipes, of which a few are kept for the next relay, and for what
    /// stands in for a call that the kernel does not have.
    fn descriptors(&self) -> usize {
        let is_kept = |one: &&str| one.starts_with("pipe:") || *one == "/dev/urandom";
        self.listed().split(' ').filter(|one| !is_kept(one)).count()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_err();
        let _status = self.0.wait().is_ok();
    }
}
