//! Many at once: everybody gets what was asked for, and nothing else.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipcd_tests::raw::Raw;
use ipcd_tests::{Host, PATIENCE, Setup, free_port, has, installed, is_root, may_look, until};
use libipc::connector::Connector;
use libipc::{Listener, ServiceName};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

/// Services, clients, and how often each asks for each service.
const SERVICES: usize = 8;
const CLIENTS: usize = 8;
const ROUNDS: usize = 12;

#[test]
fn everybody_gets_the_service_that_was_asked_for() {
    let host = Host::new(&[]);
    let directory =
        libipc::rundir::RunDirectory::new(host.rundir(), libipc::rundir::Instance::Private);
    let name = |number: usize| ServiceName::new(&format!("service-{number}")).unwrap();
    let served = AtomicUsize::new(0);
    let environment = host.environment("");
    thread::scope(|scope| {
        for number in 0..SERVICES {
            let listener = Listener::bind_in(&directory, &name(number)).unwrap();
            let served = &served;
            scope.spawn(move || {
                for _ in 0..CLIENTS * ROUNDS {
                    let mut client = ipcd_tests::accept(&listener);
                    client.write_all(name(number).as_str().as_bytes()).unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for client in 0..CLIENTS {
            let environment = &environment;
            scope.spawn(move || {
                for turn in 0..SERVICES * ROUNDS {
                    let wanted = name((client + turn) % SERVICES);
                    let asked = Connector::new(environment, PATIENCE).unwrap().connect(&wanted);
                    let mut stream = asked.unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut said = String::new();
                    stream.read_to_string(&mut said).unwrap();
                    assert_eq!(said, wanted.as_str());
                }
            });
        }
    });
    assert_eq!(served.into_inner(), SERVICES * CLIENTS * ROUNDS);
}

/// Configurations that are taken; one of ten is half written first, and refused.
const RELOADS: usize = 1_000;

/// What a request may take longer than any did without reloads, but for one of a thousand: the
/// machine has more to do than this.
const LONGER: Duration = Duration::from_millis(500);

/// How long each of some requests took, from the shortest to the longest.
fn requests(host: &Host, over: &dyn Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over(times.len()) {
        let began = Instant::now();
        assert_eq!(host.ping("pongd", ""), "ping");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times
}

#[test]
fn reloads_under_load_fail_no_request_and_end_no_connection() {
    let rules = |number: usize| format!("rules = 'allow local pongd'\n# {number}\n");
    let host = Host::with_config(&rules(0), &[]).with_pongd("pongd");
    let mut kept = host.connect("pongd", "").unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    let over = AtomicBool::new(false);
    let quiet = requests(&host, &|count| count == 1_000);
    let (times, reloaded) = thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| requests(&host, &|_| over.load(Ordering::Relaxed))))
            .collect();
        let mut reloaded = 0;
        for number in 0..RELOADS {
            if number % 10 == 0 {
                // Half of a file, as an editor that writes slowly leaves it for a moment.
                host.configure("rules = 'allow local po");
                assert!(!host.ipc(&["reload"]).output().unwrap().status.success());
            }
            host.configure(&rules(number));
            reloaded += usize::from(host.ipc(&["reload"]).output().unwrap().status.success());
            kept.write_all(&number.to_le_bytes()).unwrap();
            let mut answer = [0; size_of::<usize>()];
            kept.read_exact(&mut answer).unwrap();
            assert_eq!(usize::from_le_bytes(answer), number, "bytes were lost");
        }
        over.store(true, Ordering::Relaxed);
        let mut times: Vec<_> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        times.sort_unstable();
        (times, reloaded)
    });
    assert_eq!(reloaded, RELOADS);
    let (usual, most) = (*quiet.last().unwrap(), *times.last().unwrap());
    let nearly_all = times[times.len() * 999 / 1_000];
    eprintln!(
        "{} requests beside {RELOADS} reloads: {most:?} at most, {nearly_all:?} for 999 of 1,000; \
         without, {usual:?} at most",
        times.len(),
    );
    assert!(nearly_all <= usual + LONGER, "{nearly_all:?} where it was {usual:?}");
    let answered = u64::try_from(quiet.len() + times.len()).unwrap();
    let status = host.ipc(&["--json", "status"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let counters = status.get("counters").and_then(|all| all.as_array()).unwrap();
    let is_allowed = |one: &&serde_json::Value| one.get("name").unwrap() == "allowed local";
    let allowed = counters.iter().find(is_allowed).unwrap().get("value").unwrap();
    assert_eq!(allowed.as_u64(), Some(answered + 1), "counts go on over reloads");
}

/// The flags of each descriptor of a process, as `fdinfo` has them, with what it is.
fn descriptors(pid: u32) -> Vec<(u32, u32, String)> {
    let place = format!("/proc/{pid}/fd");
    let read = |number: u32| {
        // It may have been closed since it was listed.
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        let what = fs::read_link(format!("{place}/{number}")).ok()?;
        Some((number, u32::from_str_radix(flags, 8).ok()?, what.display().to_string()))
    };
    let numbers = fs::read_dir(&place).unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(read).collect()
}

#[test]
fn no_descriptor_of_a_daemon_outlives_its_program() {
    if !may_look() {
        return;
    }
    let port = free_port();
    let host = Host::new(&["--rule", "allow in pongd tcp:127.0.0.1"]).with_tcpd(Some(port));
    let host = host.with_pongd("pongd");
    let near =
        Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")]).with_tcpd(None);
    let network = format!("pongd tcp://127.0.0.1:{port}/pongd");
    let _held: Vec<_> = (0..8).map(|_| near.connect("pongd", &network).unwrap()).collect();
    let _asking: Vec<_> = (0..8).map(|_| Raw::to(&host)).collect();
    assert_eq!(host.ping("pongd", ""), "ping");
    let closes = |flags: u32| flags & u32::try_from(nix::libc::O_CLOEXEC).unwrap() != 0;
    // Whoever started this test may have left something to all that it starts.
    let left = descriptors(std::process::id()).into_iter().filter(|(_, flags, _)| !closes(*flags));
    let left: Vec<_> = left.map(|(number, _, _)| number).collect();
    for daemon in [&host.broker, &host.others[0], &near.broker, &near.others[0]] {
        for (number, flags, what) in descriptors(daemon.pid()) {
            let is_given = number <= 2 || left.contains(&number);
            assert!(closes(flags) || is_given, "descriptor {number}: {what}");
        }
    }
}

#[test]
fn what_a_client_gets_is_blocking_and_stays_so() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    let host = Host::new(&["--rule", &format!("allow out far tcp:{address}")]);
    let host = host.with_tcpd(None).with_pongd("pongd");
    for (name, network) in [("pongd", String::new()), ("far", format!("far tcp://{address}"))] {
        let stream = host.connect(name, &network).unwrap();
        for _ in 0..1_000 {
            let flags = OFlag::from_bits_retain(fcntl(stream.as_fd(), FcntlArg::F_GETFL).unwrap());
            assert!(!flags.contains(OFlag::O_NONBLOCK), "{name}");
            let flags = fcntl(stream.as_fd(), FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC, "{name}");
        }
    }
}

/// Clients that come while the broker does not turn.
const WAITING: usize = 100;

#[test]
fn a_broker_that_stands_still_for_a_moment_loses_nobody() {
    let host = Host::new(&[]).with_pongd("pongd");
    host.broker.signal(Signal::SIGSTOP);
    let stat = format!("/proc/{}/stat", host.broker.pid());
    until("it stands still", || fs::read_to_string(&stat).unwrap().contains(") T "));
    let environment = host.environment("");
    let began = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..WAITING)
            .map(|_| {
                scope.spawn(|| {
                    began.fetch_add(1, Ordering::Relaxed);
                    let name = ServiceName::new("pongd").unwrap();
                    Connector::new(&environment, PATIENCE).unwrap().connect(&name).map(drop)
                })
            })
            .collect();
        until("all are there", || began.load(Ordering::Relaxed) == WAITING);
        host.broker.signal(Signal::SIGCONT);
        for client in clients {
            client.join().unwrap().expect("all are served then");
        }
    });
}

/// Connections of another user that are there before; of five one asks.
const BEFORE: usize = 500;

#[test]
fn who_comes_behind_many_of_another_user_does_not_wait_for_all_of_them() {
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let arguments = ["--instance", "system", "--rule", "allow local *"];
    let config = "[log]\ndecisions = \"all\"\n[limits]\nlog-lines-per-second = 10000\nclients-per-user = 500\n";
    let setup = Setup { config, logs: true, arguments: &arguments, ..Setup::default() };
    let host = Host::of(&setup).with_pongd("pongd");
    host.broker.signal(Signal::SIGSTOP);
    let mut flood = Command::new("setpriv");
    flood.args(["--reuid=4711", "--regid=4711", "--clear-groups"]);
    flood.arg(env!("CARGO_BIN_EXE_flood")).arg(host.rundir()).arg(host.place("end"));
    flood.arg(BEFORE.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut flood = flood.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(flood.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), BEFORE.to_string(), "they all stand in the kernel's line");
    let mut late = Raw::to(&host);
    late.ask_for("pongd", None).unwrap();
    host.broker.signal(Signal::SIGCONT);
    assert!(late.answer().is_some());
    let decisions = |uid: u32| {
        let log = host.log();
        let uid = format!("client_uid={uid} ");
        let allowed =
            log.lines().filter(|line| line.contains("allowed") && line.contains("client_uid"));
        allowed.map(|line| line.contains(&uid)).collect::<Vec<_>>()
    };
    until("all are decided", || decisions(0).len() == BEFORE / 5 + 1);
    let before = decisions(0).iter().position(|is_late| *is_late).unwrap();
    assert!(before < BEFORE / 5 / 2, "{before} of another user's came before");
    drop(flood.stdin.take());
    assert!(flood.wait().unwrap().success());
}
