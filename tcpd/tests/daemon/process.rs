//! A real tcpd, and calls as a broker makes them.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use ipcd_tests::transport::{Answer, Call};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running tcpd with one listener, ended when this is dropped.
pub(crate) struct Tcpd {
    pub(crate) child: Child,
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
    /// Held open: what is written there has a reader.
    #[expect(dead_code, reason = "held, not read")]
    log: BufReader<ChildStderr>,
}

impl Tcpd {
    pub(crate) fn start() -> Self {
        Self::configured("[listen.fleet]\naddress = \"127.0.0.1:0\"\n")
    }

    /// With the listener that `config` has.
    pub(crate) fn configured(config: &str) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_tcpd")), config)
    }

    /// With a listener that it inherits under `name`, as from a service manager.
    pub(crate) fn inheriting(listener: TcpListener, name: &str, config: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let mut shell = Command::new("/bin/sh");
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_tcpd")]);
        shell.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        shell.stdin(Stdio::from(OwnedFd::from(listener)));
        let mut tcpd = Self::run(shell, config);
        tcpd.address = address;
        tcpd
    }

    fn run(mut command: Command, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tcpd.toml");
        std::fs::write(&file, config).unwrap();
        command.args(["--log-format", "json", "--config"]).arg(file);
        command.arg("--rundir").arg(directory.path().join("ipc"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut address = SocketAddr::from(([0, 0, 0, 0], 0));
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "tcpd did not start");
            let event: Value = serde_json::from_str(&line).unwrap();
            match event["event"].as_str() {
                Some("listening") => address = event["address"].as_str().unwrap().parse().unwrap(),
                Some("started") => break,
                _ => {}
            }
        }
        Self { child, directory, address, log }
    }

    /// Makes a call on a connection of its own.
    pub(crate) fn call(&self, method: &str, parameters: &Value) -> Call {
        let mut call = self.connect();
        call.send(method, parameters, None);
        call
    }

    /// Attaches to an arrangement, and waits for the answer.
    pub(crate) fn attach(&self, id: u64, descriptor: Option<OwnedFd>) -> Answer {
        let mut call = self.connect();
        call.send("Attach", &serde_json::json!({ "id": id }), descriptor);
        call.answer()
    }

    fn connect(&self) -> Call {
        Call::to(&self.directory.path().join("ipc/transport/tcp"), PATIENCE)
    }
}

impl Drop for Tcpd {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.child.kill().is_err();
        let _reaped = self.child.wait().is_err();
    }
}
