//! A real tlsd, and calls as a broker makes them.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use ipcd_tests::transport::{Answer, Call};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running tlsd, ended when this is dropped.
pub(crate) struct Tlsd {
    pub(crate) child: Child,
    directory: TempDir,
    log: BufReader<ChildStderr>,
}

impl Tlsd {
    pub(crate) fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tlsd.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tlsd"));
        command.args(["--log-format", "json", "--config"]).arg(directory.path().join("tlsd.toml"));
        command.arg("--rundir").arg(directory.path().join("ipc"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut tlsd = Self { child, directory, log };
        tlsd.until("started");
        tlsd
    }

    /// Waits until it logs an event; that event.
    pub(crate) fn until(&mut self, wanted: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "it ended before {wanted}");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == wanted {
                return event;
            }
        }
    }

    /// Writes the configuration anew, and has it read.
    pub(crate) fn reload(&mut self, config: &str) -> Value {
        std::fs::write(self.directory.path().join("tlsd.toml"), config).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
        self.logged(&["reloaded", "not-reloaded"])
    }

    /// Waits for a line of the log about one of these events.
    pub(crate) fn logged(&mut self, events: &[&str]) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "it ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            if events.iter().any(|name| event["event"] == *name) {
                return event;
            }
        }
    }

    /// Asks for the client end over `stream`, to `host` with these options.
    pub(crate) fn wrap(
        &self,
        host: &str,
        options: &Value,
        stream: impl Into<OwnedFd>,
    ) -> (Call, Answer) {
        self.wrap_for(None, host, options, stream)
    }

    /// As [`Tlsd::wrap`], for a service of the far end.
    pub(crate) fn wrap_for(
        &self,
        service: Option<&str>,
        host: &str,
        options: &Value,
        stream: impl Into<OwnedFd>,
    ) -> (Call, Answer) {
        let mut parameters = json!({ "host": host, "options": options, "deadlineMs": 10_000 });
        if let Some(service) = service {
            parameters["hello"] = json!({ "service": service, "hops": 1 });
        }
        let mut call = self.connect();
        call.send("Wrap", &parameters, Some(stream.into()));
        let answer = call.answer();
        (call, answer)
    }

    /// Asks for the server end over `stream`, as of `listener`; the answer is still to come.
    pub(crate) fn serve(&self, listener: &str, stream: impl Into<OwnedFd>) -> Call {
        self.serve_from("192.0.2.1:5000", 10_000, listener, stream)
    }

    /// As [`Tlsd::serve`], of a peer at this address which has so long.
    pub(crate) fn serve_from(
        &self,
        address: &str,
        deadline_ms: u64,
        listener: &str,
        stream: impl Into<OwnedFd>,
    ) -> Call {
        let parameters =
            json!({ "listener": listener, "address": address, "deadlineMs": deadline_ms });
        let mut call = self.connect();
        call.send("Serve", &parameters, Some(stream.into()));
        call
    }

    fn connect(&self) -> Call {
        Call::to(&self.directory.path().join("ipc/transport/tls"), PATIENCE)
    }
}

impl Drop for Tlsd {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.child.kill().is_err();
        let _reaped = self.child.wait().is_err();
    }
}
