//! Far ends that refuse us, and what is left of their reasons.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::libc::linger;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use serde_json::json;

use crate::authority::{Files, Issuer, Shown, authority, dns, issue, ordinary};
use crate::far;
use crate::process::{PATIENCE, Tlsd};

const HOST: &str = "host.example.com";

/// An alert in the clear: it wants a certificate of ours (RFC 8446, section 6.2).
const CERTIFICATE_REQUIRED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 116];

/// The two ends of a TCP connection.
fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

/// Closes at once, so that whoever writes or waits is told of a reset.
fn reset(socket: TcpStream) {
    setsockopt(&socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(socket);
}

/// Waits until a reset has come.
fn until_reset(socket: &TcpStream) {
    // A hang-up is told whether it is asked for or not.
    let mut hung_up = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut hung_up, 10_000_u16).unwrap(), 1);
}

#[test]
fn a_reason_that_came_before_we_could_say_anything_is_told() {
    let tlsd = Tlsd::start("");
    let (near, mut far) = tcp();
    far.write_all(&CERTIFICATE_REQUIRED).unwrap();
    reset(far);
    until_reset(&near);
    let (unix, mut far) = UnixStream::pair().unwrap();
    far.write_all(&CERTIFICATE_REQUIRED).unwrap();
    drop(far);
    for (what, near) in [("TCP", OwnedFd::from(near)), ("Unix", OwnedFd::from(unix))] {
        let said = tlsd.wrap(HOST, &json!({}), near).1.said();
        let expected = "Refused: the far end does not accept us: it wants a certificate of ours";
        assert_eq!(said, expected, "{what}");
    }
}

#[test]
fn a_server_that_resets_when_it_is_greeted_is_told_with_what_may_help() {
    let tlsd = Tlsd::start("");
    let (near, far) = tcp();
    reset(far);
    until_reset(&near);
    let said = tlsd.wrap(HOST, &json!({}), near).1.said();
    assert!(said.starts_with("Unreachable: the far end closed the connection; "), "{said}");
    assert!(said.contains("wants the option starttls="), "{said}");
}

/// A server that asks for certificates, and sends no tickets.
fn asking(issuer: &Issuer, shown: &Shown) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(shown.chain.clone(), shown.key_der())
        .unwrap();
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

#[test]
fn a_server_that_closes_when_it_has_seen_our_certificate_has_refused_it() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let server = issue(&issuer, &ordinary(&[dns(HOST)]));
    let client = issue(&issuer, &ordinary(&[dns("web1.example.com")]));
    let config = [files.trust("lab", &issuer, ""), files.certificate("own", &client)].concat();
    let tlsd = Tlsd::start(&config);
    let config = asking(&issuer, &server);
    for (is_reset, options) in [
        (false, json!({ "trust": "lab" })),
        (false, json!({ "trust": "lab", "certificate": "own" })),
        (true, json!({ "trust": "lab", "certificate": "own" })),
    ] {
        let (near, mut far) = tcp();
        let config = Arc::clone(&config);
        let talk = std::thread::spawn(move || {
            let mut connection = ServerConnection::new(config).unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut far).unwrap();
            }
            if is_reset {
                reset(far);
            }
        });
        let said = tlsd.wrap(HOST, &options, near).1.said();
        let expected = "Refused: the far end does not accept us: it has asked for a certificate";
        assert!(said.starts_with(expected), "{said}");
        talk.join().unwrap();
    }
}

#[test]
fn what_a_server_has_said_before_it_hears_no_more_arrives_and_then_an_error() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let server = issue(&issuer, &ordinary(&[dns(HOST)]));
    let tlsd = Tlsd::start(&files.trust("lab", &issuer, ""));
    let mut config = far::server_config(&server);
    config.send_tls13_tickets = 0;
    let (near, mut far) = tcp();
    let watched = near.try_clone().unwrap();
    let talk = std::thread::spawn(move || {
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut far).unwrap();
        }
        (connection, far)
    });
    let (mut call, answer) = tlsd.wrap(HOST, &json!({ "trust": "lab" }), near);
    let (mut connection, mut far) = talk.join().unwrap();
    // It has answered and is gone before it has read what was asked.
    rustls::Stream::new(&mut connection, &mut far).write_all(b"too much").unwrap();
    reset(far);
    until_reset(&watched);
    let (mut stream, plain) = far::pair();
    stream.write_all(b"a long question").unwrap();
    call.attach_to(answer.parameter("id"), plain);
    let mut words = [0; 8];
    stream.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"too much");
    assert!(stream.read(&mut words).is_err());
}

#[test]
fn what_a_server_says_too_late_is_an_error_for_the_program_and_a_line_in_the_log() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let server = issue(&issuer, &ordinary(&[dns(HOST)]));
    let mut tlsd = Tlsd::start(&files.trust("lab", &issuer, ""));
    let (near, mut far) = tcp();
    let config = Arc::new(far::server_config(&server));
    let talk = std::thread::spawn(move || {
        let mut connection = ServerConnection::new(config).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut far).unwrap();
        }
        (connection, far)
    });
    let (mut call, answer) = tlsd.wrap(HOST, &json!({ "trust": "lab" }), near);
    let (mut connection, mut far) = talk.join().unwrap();
    let mut stream = call.attach(answer.parameter("id"));
    // It takes something for a record of ours that is none, and says so.
    let forged = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
    connection.read_tls(&mut &forged[..]).unwrap();
    assert!(connection.process_new_packets().is_err());
    while connection.wants_write() {
        connection.write_tls(&mut far).unwrap();
    }
    assert!(stream.read(&mut [0]).is_err(), "no end, and no bytes");
    let line = tlsd.logged(&["broken-off"]);
    assert!(line["far"].as_str().unwrap().contains(HOST), "{line}");
    assert!(line["error"].as_str().unwrap().contains("BadRecordMac"), "{line}");
}
