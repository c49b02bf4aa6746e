//! A host on which one daemon at a time meets a fault: what runs there, and what is asked of it.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipcd_tests::tls::Authority;
use ipcd_tests::tls_servers::{Server, echo};
use ipcd_tests::{Daemon, PATIENCE, binaries, free_port};
use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::secret::Secret;
use libipc::{ServiceName, Stream};
use serde_json::{Value, json};

use crate::cut::Cutter;
use crate::scene::Wrong;

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(2);

/// How much later than that its answer may come, on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// The programs that are made to fail, in the order in which they are started.
pub(crate) const PROGRAMS: [&str; 5] = ["ipcd", "tcpd", "tlsd", "authd", "pongd"];

/// Bytes that are sent, to come back.
const BYTES: usize = 10_000;

/// A run directory with all daemons but the one that is to fail.
pub(crate) struct Stage {
    pub(crate) place: tempfile::TempDir,
    pub(crate) cutter: Cutter,
    _authority: Authority,
    _tls: Server,
    others: Vec<(&'static str, Daemon)>,
    requests: Vec<Request>,
    port: u16,
}

/// What is asked for, and whether it is to be had.
struct Request {
    name: &'static str,
    network: String,
    /// To log in with, where that is asked for.
    secret: Option<&'static str>,
    may: bool,
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
        fs::write(place.path().join("authd.toml"), "").unwrap();
        let config = format!(
            "rules = '''\ndeny local closed\nallow out pongd,closed,far tcp:localhost:{port}\n\
             allow out secure tls:localhost:{secure}\nallow in pongd tcp:127.0.0.1\n'''\n\
             [redirects]\nsecure = 'tls://localhost:{secure}'\n\
             far = 'tcp://localhost:{port}/pongd'\n"
        );
        fs::write(place.path().join("ipcd.toml"), config).unwrap();
        let mut this = Self {
            cutter: Cutter::new(place.path()),
            place,
            _authority: authority,
            _tls: tls,
            others: Vec::new(),
            requests: requests(port),
            port,
        };
        this.add_user();
        // The broker makes the directory that pongd's socket is in.
        for name in PROGRAMS {
            let daemon = Daemon(this.start(name, &[]));
            this.others.push((name, daemon));
            this.until(name, || this.answers(name));
        }
        let listening = this.pongd_that_listens();
        this.others.push(("pongd that listens", listening));
        this.until("all answer", || this.round().is_ok_and(|well| well));
        this.others.retain(|(name, _)| *name != program);
        this
    }

    /// Another pongd, whose socket is the service manager's.
    fn pongd_that_listens(&self) -> Daemon {
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

    pub(crate) fn file(&self, name: &str) -> String {
        self.place.path().join(name).display().to_string()
    }

    /// The words for authd alone: where its files are.
    fn users(&self) -> [String; 4] {
        let (passwords, config) = (self.file("passwords"), self.file("authd.toml"));
        ["--passwords".into(), passwords, "--config".into(), config]
    }

    fn add_user(&self) {
        let secret = self.place.path().join("secret");
        fs::write(&secret, "right\n").unwrap();
        let mut add = Command::new(binaries().join("authd"));
        add.args(self.users()).args(["add", "alice"]).stdin(fs::File::open(secret).unwrap());
        assert!(add.status().unwrap().success());
    }

    /// Starts a daemon by its words behind those of another program.
    pub(crate) fn start(&self, program: &str, before: &[String]) -> Child {
        let mut words: Vec<String> = before.to_vec();
        words.push(binaries().join(program).display().to_string());
        match program {
            "ipcd" => words.extend(["--config".into(), self.file("ipcd.toml")]),
            "tlsd" => words.extend(["--config".into(), self.file("tlsd.toml")]),
            "authd" => words.extend(self.users()),
            "pongd" => words.push("echo".into()),
            _ => words.extend(["--listen".into(), format!("127.0.0.1:{}", self.port)]),
        }
        if program != "pongd" {
            words.extend(["--rundir".into(), self.rundir().display().to_string()]);
            words.extend(["--log-level".into(), "warn".into()]);
        }
        let log = fs::File::create(self.file(&format!("{program}.log"))).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("IPC_RUNDIR", self.rundir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Whether a daemon has started.
    pub(crate) fn answers(&self, program: &str) -> bool {
        let path = match program {
            "ipcd" => self.rundir().join("ipc"),
            "tcpd" => self.rundir().join("transport/tcp"),
            "tlsd" => self.rundir().join("transport/tls"),
            // The broker knows it as soon as it has registered, and for a moment longer than it lives.
            "authd" => {
                let call = json!({"method": "org.varlink.service.GetInfo"});
                return self.connect("authd", "").is_some_and(|one| answer(one, &call).is_some());
            }
            _ => {
                let connected = self.connect("echo", "");
                return connected.is_some_and(|one| echoes(one).is_ok_and(|well| well));
            }
        };
        // Whoever had registered does so again with a new broker.
        let others: &[_] = if program == "ipcd" { &["authd", "pongd"] } else { &[] };
        sys::socket::connect_unix_now(&path).is_ok()
            && others.iter().all(|other| !self.has(other) || self.answers(other))
    }

    fn has(&self, program: &str) -> bool {
        self.others.iter().any(|(name, _)| *name == program)
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "{what} does not come: {}", self.said(what));
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    pub(crate) fn said(&self, program: &str) -> String {
        fs::read_to_string(self.place.path().join(format!("{program}.log"))).unwrap_or_default()
    }

    /// Asks for everything once. True if all that is allowed was had.
    pub(crate) fn round(&self) -> Result<bool, Wrong> {
        let mut is_well = true;
        for Request { name, network, secret, may } in &self.requests {
            let began = Instant::now();
            let connected = self.connect(name, network);
            if began.elapsed() > REQUEST + LATE {
                return Err(Wrong::Stuck("a request"));
            }
            let is_had = match (connected, secret) {
                (None, _) => false,
                (Some(stream), Some(secret)) => login(stream, secret) == Some(true),
                (Some(_), None) if !may => true,
                (Some(stream), None) => echoes(stream)?,
            };
            if is_had && !may {
                return Err(Wrong::Allowed(name));
            }
            is_well &= is_had == *may;
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
        let stream = Connector::new(&environment, REQUEST).unwrap().connect(&name).ok()?;
        stream.set_read_timeout(Some(REQUEST)).unwrap();
        stream.set_write_timeout(Some(REQUEST)).unwrap();
        Some(stream)
    }
}

fn requests(port: u16) -> Vec<Request> {
    let far = |name: &str| format!("{name} tcp://localhost:{port}/{name}");
    let asks = |name, network, may| Request { name, network, secret: None, may };
    let logs_in =
        |secret, may| Request { secret: Some(secret), ..asks("authd", String::new(), may) };
    vec![
        asks("pongd", String::new(), true),
        asks("echo", String::new(), true),
        asks("pongd", far("pongd"), true),
        asks("secure", String::new(), true),
        logs_in("right", true),
        logs_in("wrong", false),
        asks("closed", String::new(), false),
        // The far side refuses, and this side does.
        asks("closed", far("closed"), false),
        asks("payroll", far("payroll"), false),
    ]
}

/// Whether authd accepts alice with this secret, if it answers.
///
/// She has proven herself from where she logs in: what others guess does not keep her out there.
fn login(stream: Stream, secret: &str) -> Option<bool> {
    let peer = if secret == "right" { "home" } else { "elsewhere" };
    let login = json!({"user": "alice", "secret": secret, "peer": peer});
    let call = json!({"method": "org.ipcd.Authenticator.Verify", "parameters": login});
    Some(answer(stream, &call)?["parameters"]["user"] == "alice")
}

/// The answer to a call, if there is one.
fn answer(mut stream: Stream, call: &Value) -> Option<Value> {
    stream.write_all(format!("{call}\0").as_bytes()).ok()?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while stream.read_exact(&mut byte).is_ok() {
        if byte == [0] {
            return Some(serde_json::from_slice(&answer).unwrap());
        }
        answer.extend(byte);
    }
    None
}

/// True if what is sent comes back; what comes back is never anything else.
fn echoes(mut stream: Stream) -> Result<bool, Wrong> {
    let bytes: Vec<u8> = (0..251).cycle().take(BYTES).collect();
    let mut answer = vec![0; BYTES];
    let told = stream.write_all(&bytes).and_then(|()| stream.read_exact(&mut answer));
    if told.is_err() {
        return Ok(false);
    }
    match bytes.iter().zip(&answer).position(|(sent, came)| sent != came) {
        None => Ok(true),
        Some(place) => Err(Wrong::Bytes(place)),
    }
}
