//! Programs that know nothing of us: redis, a web server and PostgreSQL, as Debian has them.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::{Daemon, PATIENCE, free_port, has, installed, is_root, outcome, until};

/// The three servers, on ports of their own; redis and PostgreSQL have local sockets too.
#[derive(Debug)]
pub struct Servers {
    place: tempfile::TempDir,
    namespace: Option<String>,
    running: Vec<Daemon>,
    /// The port of redis.
    pub redis: u16,
    /// The port of the web server.
    pub web: u16,
    /// The port of PostgreSQL.
    pub db: u16,
}

impl Servers {
    /// Starts them on loopback or, in a namespace, at all addresses; `None` if the machine lacks
    /// something for it.
    #[must_use]
    pub fn start(namespace: Option<&Namespace>) -> Option<Self> {
        let is_there = is_root()
            && installed("redis-server").is_some()
            && installed("python3").is_some()
            && postgres("postgres").is_some();
        if !has("root, redis, python3 and PostgreSQL", is_there) {
            return None;
        }
        let place = tempfile::tempdir().expect("a directory");
        allow_all(place.path());
        let ports = [free_port(), free_port(), free_port()];
        let namespace = namespace.map(|namespace| namespace.name().to_owned());
        let [redis, web, db] = ports;
        let mut all = Self { place, namespace, running: Vec::new(), redis, web, db };
        all.start_redis();
        all.start_web();
        all.start_postgres();
        Some(all)
    }

    /// Where redis listens on its own host.
    #[must_use]
    pub fn redis_socket(&self) -> PathBuf {
        self.place.path().join("redis.sock")
    }

    /// Where PostgreSQL listens on its own host. It believes the kernel: `postgres` and root may
    /// be the user `postgres`, nobody else.
    #[must_use]
    pub fn db_socket(&self) -> PathBuf {
        self.place.path().join(format!(".s.PGSQL.{}", self.db))
    }

    /// The port of the server that a dialogue is for.
    #[must_use]
    pub fn port(&self, dialogue: &Dialogue) -> u16 {
        match dialogue.name {
            "redis" => self.redis,
            "web" => self.web,
            _ => self.db,
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(namespace) = &self.namespace {
            command = Command::new(installed("ip").expect("iproute2"));
            command.args(["netns", "exec", namespace]).arg(program);
        }
        command.current_dir(self.place.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start_redis(&mut self) {
        let bind = if self.namespace.is_some() { "* -::*" } else { "127.0.0.1" };
        let mut command = self.command(&installed("redis-server").expect("it was there"));
        command.args(["--save", "", "--protected-mode", "no", "--bind"]).args(bind.split(' '));
        command.args(["--port", &self.redis.to_string(), "--unixsocket"]).arg(self.redis_socket());
        self.running.push(Daemon::start(&mut command));
        self.wait_for(self.redis);
    }

    fn start_web(&mut self) {
        let bind = if self.namespace.is_some() { "::" } else { "127.0.0.1" };
        fs::write(self.place.path().join("page"), "a page of the web\n").expect("a page");
        let mut command = self.command(&installed("python3").expect("it was there"));
        command.args(["-m", "http.server", &self.web.to_string(), "--bind", bind]);
        self.running.push(Daemon::start(&mut command));
        self.wait_for(self.web);
    }

    fn start_postgres(&mut self) {
        let place = self.place.path();
        let files = place.join("db");
        let socket = |file: &str| files.join(file);
        let mut init = as_postgres(&mut self.command(&installed("setpriv").expect("util-linux")));
        init.arg(postgres("initdb").expect("it was there"));
        init.args(["--no-sync", "--auth=trust", "--no-locale", "-D"]).arg(&files);
        let (code, ..) = outcome(&mut init);
        assert_eq!(code, 0, "initdb");
        let access = "local all all peer map=who\nhost all all all trust\n";
        fs::write(socket("pg_hba.conf"), access).expect("who may enter");
        fs::write(socket("pg_ident.conf"), "who root postgres\nwho postgres postgres\n")
            .expect("who is who");
        let everywhere = if self.namespace.is_some() { "*" } else { "127.0.0.1" };
        let mut command =
            as_postgres(&mut self.command(&installed("setpriv").expect("util-linux")));
        command.arg(postgres("postgres").expect("it was there")).arg("-D").arg(&files);
        command.args(["-c", "fsync=off", "-c", &format!("listen_addresses={everywhere}")]);
        command.args(["-p", &self.db.to_string(), "-k"]).arg(place);
        self.running.push(Daemon::start(&mut command));
        let mut ready = Command::new(postgres("pg_isready").expect("it was there"));
        ready.args(["-p", &self.db.to_string(), "-h"]).arg(place).stdout(Stdio::null());
        let ready = std::cell::RefCell::new(ready);
        until("PostgreSQL is ready", || {
            ready.borrow_mut().status().is_ok_and(|status| status.success())
        });
    }

    fn wait_for(&self, port: u16) {
        let bash = installed("bash").expect("bash");
        let probe = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        until("the server listens", || {
            let tried = self.command(&bash).args(["-c", &probe]).status();
            tried.is_ok_and(|status| status.success())
        });
    }
}

impl Drop for Servers {
    /// PostgreSQL, started last, gives its shared memory back only if it is asked to end.
    fn drop(&mut self) {
        let Some(db) = self.running.last_mut() else { return };
        if db.is_running() {
            db.signal(nix::sys::signal::Signal::SIGQUIT);
        }
        // Nothing is claimed here: a failing test says more than this could.
        let end = Instant::now() + PATIENCE;
        while db.is_running() && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

/// A talk with one of the servers, in two halves, so that something can happen between them.
#[derive(Debug)]
pub struct Dialogue {
    /// The name of the service.
    pub name: &'static str,
    opening: Vec<u8>,
    welcome: &'static str,
    question: Vec<u8>,
    answer: &'static str,
}

impl Dialogue {
    /// One with each server.
    #[must_use]
    pub fn all() -> [Self; 3] {
        [Self::redis(), Self::web(), Self::db()]
    }

    /// With redis.
    #[must_use]
    pub fn redis() -> Self {
        Self {
            name: "redis",
            opening: b"PING\r\n".to_vec(),
            welcome: "+PONG\r\n",
            question: b"ECHO again\r\n".to_vec(),
            answer: "again\r\n",
        }
    }

    /// With the web server, which says nothing before it has heard everything.
    #[must_use]
    pub fn web() -> Self {
        Self {
            name: "web",
            opening: b"GET /page HTTP/1.0\r\n".to_vec(),
            welcome: "",
            question: b"\r\n".to_vec(),
            answer: "a page of the web\n",
        }
    }

    /// With PostgreSQL, as its user `postgres`.
    #[must_use]
    pub fn db() -> Self {
        // "Message Formats" in PostgreSQL's documentation: StartupMessage and Query.
        let names = b"user\0postgres\0database\0postgres\0\0";
        let mut opening = sized(names.len() + 4);
        opening.extend_from_slice(&196_608_u32.to_be_bytes());
        opening.extend_from_slice(names);
        let text = b"select 'six times seven is ' || 6 * 7\0";
        let mut question = vec![b'Q'];
        question.extend(sized(text.len()));
        question.extend_from_slice(text);
        let (welcome, answer) = ("Z\0\0\0\u{5}I", "six times seven is 42");
        Self { name: "db", opening, welcome, question, answer }
    }

    /// The first half.
    pub fn begin(&self, stream: &mut (impl Read + Write)) {
        stream.write_all(&self.opening).expect("the server reads");
        let said = read_until(stream, self.welcome);
        assert!(said.ends_with(self.welcome), "{} says {said:?}", self.name);
    }

    /// The second half.
    pub fn end(&self, stream: &mut (impl Read + Write)) {
        stream.write_all(&self.question).expect("the server reads");
        let said = read_until(stream, self.answer);
        assert!(said.ends_with(self.answer), "{} says {said:?}", self.name);
    }

    /// What the first half asks, as bytes.
    #[must_use]
    pub fn opening(&self) -> &[u8] {
        &self.opening
    }

    /// All of it on a new connection.
    pub fn hold(&self, mut stream: libipc::Stream) {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        self.begin(&mut stream);
        self.end(&mut stream);
    }
}

/// What comes up to `end`, or all there is.
fn read_until(stream: &mut impl Read, end: &str) -> String {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.ends_with(end) && stream.read(&mut byte).expect("the server answers") == 1 {
        text.push(char::from(byte[0]));
    }
    text
}

/// The length of a message of PostgreSQL, which counts itself.
fn sized(bytes: usize) -> Vec<u8> {
    u32::try_from(bytes + 4).expect("a short message").to_be_bytes().to_vec()
}

/// A program of PostgreSQL, which Debian keeps below its version.
pub(crate) fn postgres(program: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin").join(program)).find(|path| path.exists())
}

/// `setpriv`, completed: PostgreSQL does not run as root.
pub(crate) fn as_postgres(setpriv: &mut Command) -> Command {
    setpriv.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    let mut command = Command::new(setpriv.get_program());
    command.args(setpriv.get_args()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/");
    command
}

pub(crate) fn allow_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).expect("its mode");
}
