//! How connections through TLS end: properly, broken off, by a crash, by a stop.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use ipcd_tests::tls::Authority;
use ipcd_tests::{Host, PATIENCE, may_look, tls_servers, until};
use nix::sys::signal::Signal;

/// A host that reaches a TLS server that echoes.
fn host(authority: &Authority) -> (Host, tls_servers::Server) {
    let files = authority.issue("server", &["127.0.0.1"]);
    let server = tls_servers::echo(&files);
    let config = format!(
        "rules = \"allow out * tls:127.0.0.1:*\"\n\
         redirects = {{ echo = \"tls://127.0.0.1:{}?trust=lab\" }}\n",
        server.port
    );
    let ca = authority.certificate();
    let host = Host::with_config(&config, &[]).with_tcpd(None);
    (
        host.with_tlsd(&format!("drain-seconds = 60\n[trust.lab]\nca = \"{}\"\n", ca.display())),
        server,
    )
}

/// A connection that has been used.
fn used(host: &Host) -> libipc::Stream {
    let mut stream = host.connect("echo", "").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    talk(&mut stream);
    stream
}

fn talk(stream: &mut libipc::Stream) {
    stream.write_all(b"abc\n").unwrap();
    let mut line = [0; 4];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"abc\n");
}

/// What reading on brings: an end, or an error.
fn read_on(stream: &mut libipc::Stream) -> Result<usize, ErrorKind> {
    stream.read(&mut [0; 16]).map_err(|error| error.kind())
}

#[test]
fn a_far_end_that_breaks_off_is_an_error_and_not_an_end() {
    let authority = Authority::new();
    let (host, mut server) = host(&authority);
    let mut untouched = host.connect("echo", "").unwrap();
    untouched.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = used(&host);
    // The kernel ends its connections without the word that TLS has for that.
    server.daemon.crash();
    assert_eq!(read_on(&mut stream), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_on(&mut untouched), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_crash_of_tlsd_is_an_error_and_not_an_end() {
    let authority = Authority::new();
    let (mut host, _server) = host(&authority);
    let mut untouched = host.connect("echo", "").unwrap();
    untouched.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = used(&host);
    host.others[1].crash();
    assert_eq!(read_on(&mut stream), Err(ErrorKind::ConnectionReset));
    assert_eq!(read_on(&mut untouched), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_far_end_that_ends_properly_is_an_end() {
    let authority = Authority::new();
    let (host, _server) = host(&authority);
    drop(used(&host));
    let mut stream = used(&host);
    let held = host.others[1].descriptors();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_on(&mut stream), Ok(0));
    until("tlsd has let go of it", || !may_look() || host.others[1].descriptors() < held);
    assert_eq!(read_on(&mut stream), Ok(0), "also when the other end is closed");
}

#[test]
fn a_stop_lets_connections_finish_and_a_successor_take_over() {
    let authority = Authority::new();
    let (mut host, _server) = host(&authority);
    let mut stream = used(&host);
    let mut old = host.others.remove(1);
    old.signal(Signal::SIGTERM);
    let socket = host.rundir().join("transport/tls");
    until("the place is free", || !socket.exists());
    let ca = authority.certificate();
    host.others.push(host.start_tlsd(&format!("[trust.lab]\nca = \"{}\"\n", ca.display())));
    let _new = used(&host);
    talk(&mut stream);
    assert!(old.is_running(), "it lives as long as its connections");
    drop(stream);
    until("the old one has ended", || {
        !std::fs::exists(format!("/proc/{}/exe", old.pid())).unwrap_or(false)
    });
    assert!(old.0.wait().unwrap().success());
}

#[test]
fn a_second_stop_cuts_and_that_is_an_error() {
    let authority = Authority::new();
    let (mut host, _server) = host(&authority);
    let mut stream = used(&host);
    let tlsd = &mut host.others[1];
    tlsd.signal(Signal::SIGTERM);
    let socket = host.rundir().join("transport/tls");
    until("the place is free", || !socket.exists());
    host.others[1].signal(Signal::SIGTERM);
    assert_eq!(read_on(&mut stream), Err(ErrorKind::ConnectionReset));
    assert!(host.others[1].0.wait().unwrap().success());
}
