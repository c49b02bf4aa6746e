//! Every example of libipc, unchanged, on a path, under a name, and under a name that a redirect
//! leads to another host, in the clear and over TLS.
#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use ipcd_tests::tls::Authority;
use ipcd_tests::{Daemon, Host, binaries, free_port, has, installed, may_look, outcome, until};
use libipc::connector::Connector;
use libipc::rundir::{Instance, RunDirectory};
use libipc::session::{ClientOptions, Session};
use libipc::{Address, Listener, ServiceName};

/// Builds the examples once.
fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "libipc", "--examples"]);
        build.args(["--features", "schema,tokio"]);
        if binaries().ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the examples cannot be built");
    });
    binaries().join("examples").join(name)
}

/// What one example says, with its service wherever it may be.
fn everywhere(name: &str, verb: &str, arguments: &[&str], expected: &str) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("service").display().to_string();
    let at_path = Command::new(example(name));
    says(name, at_path, &path, None, (verb, arguments, expected));

    for (far, near) in [in_the_clear(), over_tls()] {
        for (address, rundir) in [("service", far.rundir()), ("elsewhere", near.rundir())] {
            let mut ask = Command::new(example(name));
            ask.env("IPC_RUNDIR", rundir);
            says(name, ask, address, Some(&far.rundir()), (verb, arguments, expected));
        }
    }
}

/// A host that lets peers in to `service`, and one where `elsewhere` leads there.
fn in_the_clear() -> (Host, Host) {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in service tcp:127.0.0.1"]).with_tcpd(Some(port));
    let target = format!("tcp://127.0.0.1:{port}/service");
    let rule = format!("allow out * tcp:127.0.0.1:{port}");
    let near = Host::new(&["--rule", &rule, "--redirect", "elsewhere", &target]).with_tcpd(None);
    (far, near)
}

/// The same with both hosts proven by certificates.
fn over_tls() -> (Host, Host) {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
    let (ca, port) = (AUTHORITY.certificate(), free_port());
    let trust = format!("[trust.fleet]\nca = \"{}\"\n", ca.display());
    let certified = |name: &str| AUTHORITY.issue(&format!("{name}-{port}"), &[name]).table("host");
    let (server, client) = (certified("127.0.0.1"), certified("near.example"));
    let far = Host::new(&["--rule", "allow in service tls:near.example"])
        .with_tlsd(&format!(
            "[listen.fleet]\ncertificate = 'host'\nclients = 'fleet'\n{trust}{server}"
        ))
        .with_tcpd_of(&format!("[listen.fleet]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n"));
    let target = format!("tls://127.0.0.1:{port}/service");
    let rule = format!("allow out * tls:127.0.0.1:{port}");
    let near = Host::new(&["--rule", &rule, "--redirect", "elsewhere", &target])
        .with_tlsd(&format!("[dial]\ncertificate = 'host'\ntrust = 'fleet'\n{trust}{client}"))
        .with_tcpd(None);
    (far, near)
}

/// Starts the service, and asks it once.
fn says(
    name: &str,
    mut ask: Command,
    address: &str,
    rundir: Option<&Path>,
    (verb, arguments, expected): (&str, &[&str], &str),
) {
    let mut serve = Command::new(example(name));
    let at = rundir.map_or(address, |_| "service");
    serve.args(["serve", at]).stdin(Stdio::null());
    serve.env("IPC_RUNDIR", rundir.unwrap_or(Path::new("/nonexistent")));
    let _service = Daemon::start(&mut serve);
    until("it serves", || match rundir {
        None => address
            .parse::<Address>()
            .is_ok_and(|address| address.connect(std::time::Instant::now()).is_ok()),
        Some(rundir) => {
            let environment = libipc::environment::Environment {
                rundir: Some(rundir.to_owned()),
                ..libipc::environment::Environment::default()
            };
            let patience = Duration::from_secs(1);
            let name = ServiceName::new("service").unwrap();
            Connector::new(&environment, patience)
                .is_ok_and(|connector| connector.connect(&name).is_ok())
        }
    });
    let (code, said, errors) = outcome(ask.args([verb, address]).args(arguments));
    assert_eq!((code, said.trim()), (0, expected), "{name} at {address}: {errors}");
}

#[test]
fn echo_answers() {
    everywhere("echo", "ask", &["hello"], "hello");
}

#[test]
fn a_file_is_handed_over() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "seventeen letters").unwrap();
    everywhere("descriptors", "send", &[file.to_str().unwrap()], "17");
}

#[test]
fn memory_is_handed_over() {
    everywhere("shared_memory", "send", &["in memory"], "in memory");
}

#[test]
fn contents_are_checked() {
    everywhere("schema", "ask", &["{\"of\":[1,2,39]}"], "42");
    let wrong = "not sent: validation failed on channel 2 (DATA): \"of\" is a required property";
    everywhere("schema", "ask", &["{}"], wrong);
}

#[test]
fn many_clients_are_answered() {
    everywhere("many_clients", "ask", &["hello"], "hello");
}

#[test]
fn a_loop_of_events_answers() {
    everywhere("event_loop", "ask", &["hello"], "hello");
}

#[test]
fn tokio_answers_all_at_once() {
    everywhere("async", "ask", &["one", "two", "three"], "one\ntwo\nthree");
}

/// Every second of these calls is interrupted before it has done anything.
const INTERRUPTED: &str = "inject=accept4,connect,?epoll_wait,?epoll_pwait,?poll,ppoll,recvfrom,\
                           recvmsg,sendmsg,sendto:error=EINTR:when=2+2";

/// Interrupts a running process until the value is dropped.
fn interrupting(strace: &Path, pid: u32) -> Daemon {
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", INTERRUPTED, "-p", &pid.to_string()]);
    let strace = Daemon::start(&mut command);
    let status = format!("/proc/{pid}/status");
    until("strace is there", || {
        !std::fs::read_to_string(&status).is_ok_and(|status| status.contains("TracerPid:\t0\n"))
    });
    strace
}

#[test]
fn programs_and_the_broker_go_on_when_their_calls_are_interrupted() {
    let strace = installed("strace");
    let Some(strace) = strace.filter(|_| may_look() && has("strace", true)) else { return };
    let host = Host::new(&[]);
    for (name, verb, arguments, expected) in [
        ("echo", "ask", ["hello"].as_slice(), "hello"),
        ("many_clients", "ask", &["hello"], "hello"),
        ("shared_memory", "send", &["in memory"], "in memory"),
        ("async", "ask", &["one", "two"], "one\ntwo"),
    ] {
        let mut serve = Command::new(example(name));
        serve.args(["serve", name]).env("IPC_RUNDIR", host.rundir()).stdin(Stdio::null());
        let service = Daemon::start(&mut serve);
        until("it serves", || host.connect(name, "").is_ok());
        let interrupted = [host.broker.pid(), service.pid()].map(|pid| interrupting(&strace, pid));
        for _ in 0..5 {
            let mut ask = Command::new(&strace);
            ask.args(["-f", "-qq", "-o", "/dev/null", "-e", INTERRUPTED]).arg(example(name));
            ask.args([verb, name]).args(arguments).env("IPC_RUNDIR", host.rundir());
            let (code, said, errors) = outcome(&mut ask);
            assert_eq!((code, said.trim()), (0, expected), "{name}: {errors}");
        }
        // Whom it let go goes on; whoever it were taken from by force would lose a call.
        for mut strace in interrupted {
            strace.signal(nix::sys::signal::Signal::SIGINT);
            strace.0.wait().unwrap();
        }
    }
}

#[test]
fn an_example_that_is_replaced_serves_those_who_have_come_and_ends() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let host = Host::new(&[]);
    let name = ServiceName::new("shop").unwrap();
    let directory = RunDirectory::new(host.rundir(), Instance::Private);
    let of_sessions = ["async", "echo", "event_loop", "schema"];
    let of_messages = ["descriptors", "many_clients", "shared_memory"];
    for program in of_sessions.into_iter().chain(of_messages) {
        let mut serve = Command::new(example(program));
        serve.args(["serve", "shop"]).env("IPC_RUNDIR", host.rundir());
        let mut old = Daemon::start(serve.stdin(Stdio::null()).stderr(Stdio::piped()));
        let held = Connector::new(&host.environment(""), PATIENCE).unwrap().wait_for_service();
        let held = held.connect(&name).unwrap();
        let held: Box<dyn AsFd> = if of_sessions.contains(&program) {
            Box::new(Session::connect(held, &ClientOptions::default()).unwrap())
        } else {
            Box::new(held)
        };
        let _new = Listener::bind_in(&directory, &name).unwrap();
        let mut line = String::new();
        BufReader::new(old.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let told = format!("{program}: another process of this user serves shop from now on\n");
        assert_eq!(line, told);
        assert!(old.0.try_wait().unwrap().is_none(), "{program} serves the one who has come");
        drop(held);
        let old = RefCell::new(old);
        until(&format!("{program} ends"), || {
            old.borrow_mut().0.try_wait().unwrap().is_some_and(|status| status.success())
        });
    }
}
