//! `cargo xtask demo`: two "hosts" on this machine, and a client that reaches a service of the
//! other one by name.
//!
//! The hosts are different processes with different run directories; all that they share is one
//! TCP port on loopback. No root is needed, and everything is stopped at the end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use self::encrypted::Keys;
use crate::Failed;

mod encrypted;

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the demo; `without` leaves a part out, to show that its step then fails.
pub(crate) fn run(without: Option<&str>) -> Result<(), Failed> {
    if let Some(part) = without
        && !PARTS.contains(&part)
    {
        return Err(Failed(format!("there is no part {part}; there are {}", PARTS.join(", "))));
    }
    println!("Building ipcd, tcpd, tlsd, pongd and ipc ...");
    let packages = ["ipcd", "ipcd-tcpd", "ipcd-tlsd", "pongd", "ipc"].map(|name| ["-p", name]);
    crate::run("cargo", &[&["build", "--quiet"], packages.concat().as_slice()].concat())?;
    let demo = Demo::new(without)?;
    let _running = demo.start()?;
    demo.show()?;
    println!(
        "\nEverything is stopped again. The rules are in docs/policy.md, the map of the code in ARCHITECTURE.md."
    );
    Ok(())
}

/// Parts that can be left out.
const PARTS: [&str; 9] =
    ["ipcd-a", "ipcd-b", "tcpd-a", "tcpd-b", "tlsd-a", "tlsd-b", "pongd", "rule-out", "rule-in"];

struct Demo<'w> {
    binaries: PathBuf,
    place: tempfile::TempDir,
    port: u16,
    without: Option<&'w str>,
}

/// The daemons, each with the part that it is; dropping this ends them.
struct Running(Vec<(String, Child)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // One that has ended by itself needs no ending.
            let _ended = child.kill().is_err();
            let _status = child.wait().is_ok();
        }
    }
}

impl Running {
    /// Waits until `part` answers; one that has ended is not waited for.
    fn wait_for(&mut self, part: &str, answers: impl Fn() -> bool) -> Result<(), Failed> {
        let end = Instant::now() + PATIENCE;
        while !answers() {
            for (name, child) in &mut self.0 {
                if let Some(status) = child.try_wait()?.filter(|_| name == part) {
                    return Err(Failed(format!("{part} has ended: {status}")));
                }
            }
            if Instant::now() > end {
                return Err(Failed(format!("{part} does not answer, not within {PATIENCE:?}")));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl<'w> Demo<'w> {
    fn new(without: Option<&'w str>) -> Result<Self, Failed> {
        let own = std::env::current_exe()?;
        let binaries = own.parent().unwrap_or(Path::new(".")).to_owned();
        // A port that is free now; nobody else is told of it.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { binaries, place: tempfile::tempdir()?, port, without })
    }

    fn host(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn has(&self, part: &str) -> bool {
        self.without != Some(part)
    }

    fn start(&self) -> Result<Running, Failed> {
        let mut running = Running(Vec::new());
        let (port, a, b) = (self.port, self.host("host-a"), self.host("host-b"));
        let keys = Keys::exchange(self)?;
        let config = |host, file| self.config(host, file).display().to_string();
        println!("\nHost B offers pongd to its neighbours, on TCP port {port}, and over TLS:");
        let rule = ["--allow", "in", "pongd", "tcp:127.0.0.1", "--rule", &keys.rule_in()];
        self.daemon(&mut running, "ipcd-b", &b, if self.has("rule-in") { &rule } else { &[] })?;
        let listen = format!("127.0.0.1:{port}");
        let listens = ["--listen", &listen, "--config", &config("b", "tcpd.toml")];
        self.daemon(&mut running, "tcpd-b", &b, &listens)?;
        self.daemon(&mut running, "tlsd-b", &b, &["--config", &config("b", "tlsd.toml")])?;
        self.daemon(&mut running, "pongd", &b, &[])?;
        println!("\nHost A may reach pongd there, and nothing else:");
        let target = format!("tcp:127.0.0.1:{port}");
        let (rule, to) = keys.way_out();
        let rule =
            ["--allow", "out", "pongd", &target, "--rule", &rule, "--redirect", "pongd-tls", &to];
        self.daemon(&mut running, "ipcd-a", &a, if self.has("rule-out") { &rule } else { &[] })?;
        self.daemon(&mut running, "tcpd-a", &a, &[])?;
        self.daemon(&mut running, "tlsd-a", &a, &["--config", &config("a", "tlsd.toml")])?;
        for (host, broker) in [(&b, "b"), (&a, "a")] {
            let its = |program: &str| format!("{program}-{broker}");
            running.wait_for(&its("ipcd"), || self.succeeds(host, &["status"]))?;
            running.wait_for(&its("tcpd"), || self.carries(host, "tcp"))?;
            running.wait_for(&its("tlsd"), || self.carries(host, "tls"))?;
        }
        running.wait_for("pongd", || self.succeeds(&b, &["connect", "pongd"]))?;
        Ok(running)
    }

    fn daemon(
        &self,
        running: &mut Running,
        part: &str,
        rundir: &Path,
        arguments: &[&str],
    ) -> Result<(), Failed> {
        if !self.has(part) {
            println!("  ({part} is left out)");
            return Ok(());
        }
        let program = part.split('-').next().unwrap_or(part);
        println!("  {}", [&[program], arguments].concat().join(" "));
        let mut command = Command::new(self.binaries.join(program));
        command.args(arguments).env("IPC_RUNDIR", rundir).stdin(Stdio::null());
        command.env_remove("IPC_NETWORK").env_remove("IPC_NETWORK_FILE");
        if program != "pongd" {
            command.args(["--log-level", "warn"]);
        }
        running.0.push((part.to_owned(), command.spawn()?));
        Ok(())
    }

    /// Whether a call on that host succeeds, without wishes of its own.
    fn succeeds(&self, rundir: &Path, arguments: &[&str]) -> bool {
        let mut command = self.ipc(rundir, arguments);
        command.env_remove("IPC_NETWORK").args(["--timeout", "1"]).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    }

    /// Whether the broker of that host is told of peers that come by that scheme.
    fn carries(&self, rundir: &Path, scheme: &str) -> bool {
        let status = self.ipc(rundir, &["--json", "status"]).output();
        let status: serde_json::Value = status
            .ok()
            .and_then(|status| serde_json::from_slice(&status.stdout).ok())
            .unwrap_or_default();
        let all = status.get("transports").and_then(|all| all.as_array());
        all.is_some_and(|all| {
            all.iter().any(|one| {
                one.get("name").is_some_and(|name| name == scheme)
                    && one.get("available").is_some_and(|is| is == true)
            })
        })
    }

    fn ipc(&self, rundir: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("ipc"));
        command.args(arguments).env("IPC_RUNDIR", rundir).env_remove("IPC_NETWORK_FILE");
        command.env("IPC_NETWORK", self.network("pongd"));
        command
    }

    fn network(&self, service: &str) -> String {
        format!("pongd tcp://127.0.0.1:{}/{service}", self.port)
    }

    fn show(&self) -> Result<(), Failed> {
        let a = self.host("host-a");
        println!("\nA client on host A, with IPC_NETWORK=\"{}\":", self.network("pongd"));
        println!("\n$ ipc why pongd");
        let why = self.ipc(&a, &["--format", "table", "why", "pongd"]).output()?;
        print_indented(&why.stdout);
        expect(&why, "why: host A has no rule for it (rule-out)", 0)?;

        println!("\n$ echo ping | ipc connect pongd");
        let echo = talk(self.ipc(&a, &["connect", "pongd"]), b"ping\n")?;
        print_indented(&echo.stdout);
        expect(&echo, "connect: host B has no rule for it (rule-in)", 0)?;
        if echo.stdout != b"ping\n" {
            return Err(Failed("connect: the echo of ping did not come back".to_owned()));
        }

        println!("\n$ ipc connect pongd -- PROGRAM   # which looks at its standard input");
        self.show_socket(&a)?;
        self.show_encrypted(&a)?;

        println!("\nThe same client asks for something that no rule allows, payroll:");
        println!("$ IPC_NETWORK=\"{}\" ipc connect pongd", self.network("payroll"));
        let mut command = self.ipc(&a, &["connect", "pongd"]);
        command.env("IPC_NETWORK", self.network("payroll"));
        let denied = talk(command, b"")?;
        print_indented(&denied.stderr);
        expect(&denied, "denied: what no rule allows was not refused", 50)?;
        println!(
            "\nWhat was seen: a name became a connection to a service on another host. The rules of\n\
             host A decided that it may be reached, those of host B that it may be entered; the\n\
             client got the TCP socket itself, so no byte of its passes through a daemon of host A.\n\
             What no rule allows was refused, with the rule that would allow it."
        );
        Ok(())
    }

    /// A program that gets the connection as its standard input finds a TCP socket whose other
    /// end is the port of host B.
    fn show_socket(&self, a: &Path) -> Result<(), Failed> {
        let script = "inode=$(readlink /proc/self/fd/0 | tr -dc 0-9); \
                      awk -v i=\"$inode\" '$10 == i { print $3 }' /proc/net/tcp >&2";
        let mut command = self.ipc(a, &["connect", "pongd", "--", "sh", "-c", script]);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let wanted = format!("0100007F:{:04X}", self.port);
        if !said.contains(&wanted) {
            return Err(Failed(format!(
                "connect: the client does not hold the TCP socket: {said}"
            )));
        }
        println!("  a TCP socket; its other end is 127.0.0.1:{}, the tcpd of host B", self.port);
        Ok(())
    }
}

/// Runs a command with that input, and waits for its end.
fn talk(mut command: Command, input: &[u8]) -> Result<Output, Failed> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that failed does not read; its own words say why.
        let _unread = stdin.write_all(input).is_err();
    }
    let mut stdout = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut stdout)?;
    }
    let mut output = child.wait_with_output()?;
    output.stdout = stdout;
    Ok(output)
}

fn expect(output: &Output, step: &str, code: i32) -> Result<(), Failed> {
    if output.status.code() == Some(code) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failed(format!("{step}; {}, not {code}\n{said}", output.status)))
}

fn print_indented(text: &[u8]) {
    for line in String::from_utf8_lossy(text).lines() {
        println!("  {line}");
    }
}
