//! A client that goes: what it has said arrives, and what moved its bytes ends, whatever the other
//! end does.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use ipcd_tests::tls::Authority;
use ipcd_tests::{Daemon, Host, PATIENCE, free_port, outcome, until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The other end, which neither closes nor says anything by itself.
enum Service {
    Tcp(TcpListener),
    /// Behind another host's TLS.
    Unix(UnixListener),
}

trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

impl Service {
    fn accept(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(listener) => {
                let stream = listener.accept().unwrap().0;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            Self::Unix(listener) => {
                let stream = listener.accept().unwrap().0;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
        }
    }
}

/// A broker with a front whose bytes tcpd moves.
fn through_tcpd() -> (Host, Service) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let config = format!(
        "rules = 'allow out shop tcp:{target}'\nredirects.shop = 'tcp://{target}'\n\
         services.shop.front = true\n"
    );
    (Host::with_config(&config, &[]).with_tcpd(None), Service::Tcp(listener))
}

/// A broker with a front whose bytes tlsd moves.
fn through_tlsd(authority: &Authority) -> (Host, Service, Host) {
    let port = free_port();
    let trust = format!("[trust.fleet]\nca = \"{}\"\n", authority.certificate().display());
    let far = Host::new(&["--rule", "allow in shop tls:web1.example.com"]);
    let listener = far.socket_of("shop");
    let listens = "[listen.fleet]\ncertificate = 'host'\nclients = 'fleet'\n";
    let files = authority.issue("far", &["127.0.0.1"]);
    let far = far.with_tlsd(&format!("{listens}{trust}{}", files.table("host")));
    let address = format!("address = '127.0.0.1:{port}'\nthen = 'tls'\n");
    let far = far.with_tcpd_of(&format!("[listen.fleet]\n{address}"));
    let config = format!(
        "rules = 'allow out shop tls:127.0.0.1:{port}'\n\
         redirects.shop = 'tls://127.0.0.1:{port}/shop'\nservices.shop.front = true\n"
    );
    let files = authority.issue("near", &["web1.example.com"]);
    let dials = "[dial]\ncertificate = 'host'\ntrust = 'fleet'\n";
    let near = Host::with_config(&config, &[]);
    let near = near.with_tlsd(&format!("{dials}{trust}{}", files.table("host")));
    (near.with_tcpd(None), Service::Unix(listener), far)
}

fn listed(host: &Host) -> usize {
    let (code, said, error) = outcome(&mut host.ipc(&["--json", "connections"]));
    assert_eq!(code, 0, "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    said.get("connections").and_then(Value::as_array).unwrap().len()
}

/// Who asks through the front, and who answers.
fn asked(host: &Host, service: &Service) -> (UnixStream, Box<dyn Stream>) {
    let mut client = UnixStream::connect(host.rundir().join("front/shop")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"request").unwrap();
    (client, service.accept())
}

fn hear_all(served: &mut dyn Stream) -> String {
    let mut heard = String::new();
    served.read_to_string(&mut heard).unwrap();
    heard
}

/// A program that has it, alone.
fn holder(client: UnixStream) -> Daemon {
    let mut program = Command::new("sleep");
    program.arg("1000").stdin(Stdio::from(OwnedFd::from(client)));
    Daemon(program.spawn().unwrap())
}

fn each_way_to_go(host: &Host, service: &Service) {
    // It does not wait until it is connected.
    let tcpd = host.others.last().unwrap();
    tcpd.signal(Signal::SIGSTOP);
    let mut client = UnixStream::connect(host.rundir().join("front/shop")).unwrap();
    client.write_all(b"request").unwrap();
    drop(client);
    assert_eq!(listed(host), 0, "the broker has seen that it is gone");
    tcpd.signal(Signal::SIGCONT);
    let mut served = service.accept();
    assert_eq!(hear_all(&mut *served), "request");
    until("who has gone is listed no longer", || listed(host) == 0);
    drop(served);

    // It does not wait for an answer.
    let (client, mut served) = asked(host, service);
    drop(client);
    assert_eq!(hear_all(&mut *served), "request");
    until("who has gone is listed no longer", || listed(host) == 0);
    drop(served);

    // It has nothing more to say, and waits.
    let (mut client, mut served) = asked(host, service);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear_all(&mut *served), "request");
    assert_eq!(listed(host), 1);
    served.write_all(b"answer").unwrap();
    drop(served);
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
    until("it has been answered", || listed(host) == 0);

    // Its process is killed, while it waits or before.
    for has_ended in [true, false] {
        let (client, mut served) = asked(host, service);
        if has_ended {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(hear_all(&mut *served), "request");
        }
        let mut program = holder(client);
        assert_eq!(listed(host), 1);
        program.crash();
        if !has_ended {
            assert_eq!(hear_all(&mut *served), "request");
        }
        until("who was killed is listed no longer", || listed(host) == 0);
    }
}

#[test]
fn who_goes_is_heard_and_ends_what_tcpd_moves() {
    let (host, service) = through_tcpd();
    each_way_to_go(&host, &service);
}

#[test]
fn who_goes_is_heard_and_ends_what_tlsd_moves() {
    let authority = Authority::new();
    let (host, service, _far) = through_tlsd(&authority);
    each_way_to_go(&host, &service);
}
