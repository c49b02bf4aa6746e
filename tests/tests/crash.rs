//! Daemons that are killed: what was handed over goes on, and who waits is told in time.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipcd_tests::black_hole::BlackHole;
use ipcd_tests::unmodified::{Dialogue, Servers};
use ipcd_tests::{Host, PATIENCE, Setup, free_port, until};
use libipc::{ConnectError, Stream};
use nix::sys::signal::Signal;

/// What a client that is to hear within a second has.
const SECOND: Duration = Duration::from_secs(1);

/// The library waits a little longer than its deadline for the broker's own words about it, and a
/// busy machine is slow.
const LATE: Duration = Duration::from_millis(1500);

fn echo(stream: &mut Stream, text: &str) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text.as_bytes());
}

#[test]
fn bytes_go_on_when_ipcd_and_then_tcpd_are_killed() {
    let port = free_port();
    let mut far = Host::new(&["--rule", "allow in pongd tcp:127.0.0.1"])
        .with_tcpd(Some(port))
        .with_pongd("pongd");
    let mut near =
        Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")]).with_tcpd(None);
    let mut elsewhere = near.connect("pongd", &format!("pongd tcp://127.0.0.1:{port}/pongd"));
    let elsewhere = elsewhere.as_mut().unwrap();
    let mut here = far.connect("pongd", "").unwrap();
    echo(elsewhere, "before");
    echo(&mut here, "before");
    near.broker.crash();
    far.broker.crash();
    echo(elsewhere, "without brokers");
    echo(&mut here, "without a broker");
    near.others[0].crash();
    echo(elsewhere, "without the daemon that connected");
}

#[test]
fn bytes_of_unmodified_servers_go_on_too() {
    let Some(servers) = Servers::start(None) else { return };
    let config = format!("[services.db]\nsocket = '{}'\n", servers.db_socket().display());
    let ports = [servers.redis, servers.web, servers.db];
    let rule = ports.map(|port| format!("tcp:127.0.0.1:{port}")).join(",");
    let mut host =
        Host::with_config(&config, &["--rule", &format!("allow out * {rule}")]).with_tcpd(None);
    let mut talks = Vec::new();
    for dialogue in Dialogue::all() {
        let (name, port) = (dialogue.name, servers.port(&dialogue));
        let stream = host.connect(name, &format!("{name} tcp://127.0.0.1:{port}")).unwrap();
        talks.push((dialogue, stream));
    }
    talks.push((Dialogue::db(), host.connect("db", "").unwrap()));
    for (dialogue, stream) in &mut talks {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        dialogue.begin(stream);
    }
    host.broker.crash();
    host.others[0].crash();
    for (dialogue, stream) in &mut talks {
        dialogue.end(stream);
    }
}

/// Asks for a target that never answers, and tells what the client heard and how long after the
/// other thing.
fn while_asking(
    host: &Host,
    hole: &BlackHole,
    patience: Duration,
    then: impl FnOnce(),
) -> (ConnectError, Duration) {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let network = format!("hole tcp://{}", hole.address);
            host.connect_within(patience, "hole", &network).unwrap_err()
        });
        then();
        let began = Instant::now();
        (client.join().unwrap(), began.elapsed())
    })
}

/// A host that may reach a black hole.
fn beside(hole: &BlackHole) -> Host {
    Host::new(&["--rule", &format!("allow out hole tcp:{}", hole.address)]).with_tcpd(None)
}

/// Whether somebody is connecting to the hole.
fn is_dialling(hole: &BlackHole) -> bool {
    // Column 3 is the peer, hexadecimal and in the order of the bytes; state 02 is SYN_SENT.
    let peer = format!("0100007F:{:04X} 02", hole.address.port());
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    connections.lines().filter(|line| line.contains(&peer)).count() > 0
}

#[test]
fn a_broker_that_is_killed_while_it_is_asked_is_an_error_at_once() {
    let hole = BlackHole::new();
    let mut host = beside(&hole);
    let pid = host.broker.pid();
    let (error, after) = while_asking(&host, &hole, PATIENCE, || {
        until("tcpd dials", || is_dialling(&hole));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    });
    assert_eq!(error.to_string(), "the broker closed the connection");
    assert!(error.retry() && after < SECOND, "{after:?}");
    host.broker.0.wait().unwrap();
    until("tcpd gives up what nobody waits for", || !is_dialling(&hole));
}

#[test]
fn a_tcpd_that_is_killed_while_it_connects_is_an_error_within_the_deadline() {
    let hole = BlackHole::new();
    let host = beside(&hole);
    let (error, after) = while_asking(&host, &hole, PATIENCE, || {
        until("tcpd dials", || is_dialling(&hole));
        host.others[0].signal(Signal::SIGKILL);
    });
    let said = error.to_string();
    assert!(said.contains("tcpd") && error.retry(), "{said}");
    assert!(after < SECOND, "{after:?}");
    let next = host.connect_within(SECOND, "hole", &format!("hole tcp://{}", hole.address));
    assert_eq!(next.unwrap_err().to_string(), "cannot connect: tcpd does not run");
}

/// What the broker has started itself is noticed by it alone.
#[test]
fn a_child_of_the_broker_that_is_killed_is_told_at_once_and_costs_its_own_clients_alone() {
    let hole = BlackHole::new();
    let rule = format!("allow out hole tcp:{}", hole.address);
    let arguments = ["--with", "tcpd", "--rule", &rule];
    let setup = Setup { arguments: &arguments, logs: true, ..Setup::default() };
    let mut host = Host::of(&setup).with_pongd("pongd");
    let socket = host.rundir().join("transport/tcp");
    until("tcpd answers", || sys::socket::connect_unix_now(&socket).is_ok());
    let place = format!("/proc/{0}/task/{0}/children", host.broker.pid());
    let children = || std::fs::read_to_string(&place).unwrap();
    let pid = children().trim().parse().unwrap();
    let (error, after) = while_asking(&host, &hole, PATIENCE, || {
        until("tcpd dials", || is_dialling(&hole));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    });
    assert!(error.to_string().contains("tcpd") && after < SECOND, "{error} after {after:?}");
    let began = Instant::now();
    until("it is told", || host.log().contains("child-ended"));
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let log = host.log();
    let told = log.lines().find(|line| line.contains("child-ended")).unwrap();
    assert!(told.contains("tcpd") && told.contains("SIGKILL"), "{told}");
    assert_eq!(children(), "", "it is waited for");
    let next = host.connect_within(SECOND, "hole", &format!("hole tcp://{}", hole.address));
    assert_eq!(next.unwrap_err().to_string(), "cannot connect: tcpd does not run");
    assert_eq!(host.ping("pongd", ""), "ping");
    host.broker.signal(Signal::SIGTERM);
    assert!(host.broker.0.wait().unwrap().success(), "it ends as ever");
}

#[test]
fn a_daemon_that_hangs_is_an_error_within_the_deadline() {
    let hole = BlackHole::new();
    let host = beside(&hole);
    host.others[0].signal(Signal::SIGSTOP);
    let (error, after) = while_asking(&host, &hole, SECOND, || {});
    assert!(error.to_string().starts_with("timed out: "), "{error}");
    assert!(after < SECOND + LATE, "{after:?}");
    host.broker.signal(Signal::SIGSTOP);
    let (error, after) = while_asking(&host, &hole, SECOND, || {});
    assert_eq!(error.to_string(), "timed out: the broker did not answer");
    assert!(after < SECOND + LATE, "{after:?}");
    host.broker.signal(Signal::SIGCONT);
    host.others[0].signal(Signal::SIGCONT);
}

/// A service that would be connected to if anybody went around the broker.
#[test]
fn without_the_broker_that_was_there_nobody_connects_directly() {
    let mut host = Host::new(&[]);
    let service = UnixListener::bind(host.rundir().join("services/watched")).unwrap();
    service.set_nonblocking(true).unwrap();
    drop(host.connect("watched", "").unwrap());
    assert!(service.accept().is_ok(), "with the broker it is reached");
    host.broker.crash();
    let began = Instant::now();
    let error = host.connect_within(SECOND, "watched", "").unwrap_err();
    assert!(matches!(error, ConnectError::BrokerDown { .. }), "{error}");
    assert!(began.elapsed() >= SECOND, "it is tried until the deadline");
    assert!(began.elapsed() < SECOND + LATE, "{:?}", began.elapsed());
    assert!(service.accept().is_err(), "nobody came");
}

#[test]
fn a_broker_that_comes_back_in_time_is_found() {
    let mut host = Host::new(&[]).with_pongd("pongd");
    host.broker.crash();
    let environment = host.environment("");
    let asking = std::thread::spawn(move || {
        let name = libipc::ServiceName::new("pongd").unwrap();
        libipc::connector::Connector::new(&environment, PATIENCE).unwrap().connect(&name)
    });
    host.restart(&[]);
    echo(&mut asking.join().unwrap().unwrap(), "again");
}

/// How often the broker is killed under load.
const KILLS: usize = 15;

#[test]
fn a_broker_killed_at_any_moment_leaves_nobody_waiting() {
    let mut host = Host::new(&[]).with_pongd("pongd");
    let environment = host.environment("");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let name = libipc::ServiceName::new("pongd").unwrap();
                    let mut served = 0;
                    while !over.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let asked = libipc::connector::Connector::new(&environment, PATIENCE);
                        match asked.unwrap().connect(&name) {
                            Ok(mut stream) => {
                                echo(&mut stream, "x");
                                served += 1;
                            }
                            Err(error) => {
                                let is_known = matches!(
                                    error,
                                    ConnectError::BrokerGone | ConnectError::BrokerDown { .. }
                                );
                                assert!(is_known, "{error}");
                            }
                        }
                        assert!(began.elapsed() < PATIENCE, "a client waited");
                    }
                    served
                })
            })
            .collect();
        for _ in 0..KILLS {
            host.broker.crash();
            host.restart(&[]);
            assert_eq!(host.ping("pongd", ""), "ping");
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 0, "each was served between");
        }
    });
}

/// Within this time the end that a far side sends is at the client.
const SEEN: Duration = Duration::from_millis(100);

/// How often a slow moment of the machine is forgiven.
const TRIES: usize = 5;

fn end_is_seen(connect: impl Fn() -> (Stream, Box<dyn FnOnce()>)) -> bool {
    (0..TRIES).any(|_| {
        let (mut stream, close) = connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let began = Instant::now();
        close();
        assert_eq!(stream.read(&mut [0]).expect("an end, not an error"), 0);
        began.elapsed() < SEEN
    })
}

#[test]
fn a_remote_end_is_seen_within_100_ms() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    let port = free_port();
    let far = Host::new(&["--rule", "allow in brief tcp:127.0.0.1"]).with_tcpd(Some(port));
    let service = UnixListener::bind(far.rundir().join("services/brief")).unwrap();
    let rule = format!("allow out brief tcp:{address},tcp:127.0.0.1:{port}");
    let near = Host::new(&["--rule", &rule]).with_tcpd(None);
    assert!(end_is_seen(|| {
        let stream = near.connect("brief", &format!("brief tcp://{address}")).unwrap();
        let accepted = plain.accept().unwrap();
        (stream, Box::new(move || drop(accepted)))
    }));
    assert!(end_is_seen(|| {
        let network = format!("brief tcp://127.0.0.1:{port}/brief");
        let stream = near.connect("brief", &network).unwrap();
        let accepted = service.accept().unwrap();
        (stream, Box::new(move || drop(accepted)))
    }));
}
