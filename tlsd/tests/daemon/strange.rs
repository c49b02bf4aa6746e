//! Peers that speak TLS in odd ways, and OpenSSL's own ones.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::authority::{Files, Issuer, authority, dns, issue, ordinary};
use crate::far::{self, client_config};
use crate::openssl::Client;
use crate::process::Tlsd;

/// An authority, and a tlsd with the listeners `new` and `also` (TLS 1.3), and `old` (1.2 too),
/// which want no certificates, and
/// `asking`, which does.
struct Lab {
    files: Files,
    issuer: Issuer,
    tlsd: Tlsd,
}

impl Lab {
    fn new() -> Self {
        let (files, issuer) = (Files::new(), authority("lab"));
        let host = issue(&issuer, &ordinary(&[dns("host.example.com")]));
        let listen = "[listen.new]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n\
                      [listen.also]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n\
                      [listen.old]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n\
                      tls12 = true\n\
                      [listen.asking]\ncertificate = 'host'\nclients = 'lab'\nservice = 'pong'\n";
        let trust = files.trust("lab", &issuer, "");
        let config = [listen, &trust, &files.certificate("host", &host)].concat();
        let tlsd = Tlsd::start(&config);
        Self { files, issuer, tlsd }
    }

    /// A client of OpenSSL, and what the listener makes of it.
    fn openssl(&self, listener: &str, arguments: &[&str]) -> (Client, Result<UnixStream, String>) {
        let mut client = Client::start(&self.files.path("lab-ca.crt"), arguments);
        let served = client.served(&self.tlsd, listener);
        (client, served)
    }

    /// The first words of a client of rustls, and its connection.
    fn greeting(&self) -> (ClientConnection, Vec<u8>) {
        let name = ServerName::try_from("host.example.com").unwrap();
        let config = Arc::new(client_config(&self.issuer, None));
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut greeting = Vec::new();
        connection.write_tls(&mut greeting).unwrap();
        (connection, greeting)
    }

    /// What is said about a peer that says these words first.
    fn meet(&self, words: &[u8]) -> String {
        let (near, mut far) = far::pair();
        let mut call = self.tlsd.serve("new", near);
        // It may be turned away before it has said all of that.
        let _turned_away = far.write_all(words).is_err();
        call.answer().said()
    }

    /// A client of rustls that is connected, and the plain end.
    fn connected(&self) -> (rustls::StreamOwned<ClientConnection, UnixStream>, UnixStream) {
        let (near, far) = far::pair();
        let (connection, greeting) = self.greeting();
        let mut stream = rustls::StreamOwned::new(connection, far);
        stream.sock.write_all(&greeting).unwrap();
        let mut call = self.tlsd.serve("new", near);
        stream.write_all(b"x").unwrap();
        let answer = call.answer();
        let mut plain = call.attach(&answer.parameter("arrival")["id"]);
        plain.read_exact(&mut [0]).unwrap();
        (stream, plain)
    }
}

#[test]
fn versions_before_1_2_are_never_spoken_and_1_2_only_where_that_is_allowed() {
    let lab = Lab::new();
    let lax = ["-cipher", "ALL:@SECLEVEL=0"];
    for version in ["-tls1", "-tls1_1"] {
        for listener in ["new", "old"] {
            let (client, served) = lab.openssl(listener, &[&[version][..], &lax].concat());
            let said = served.unwrap_err();
            assert!(said.starts_with("Protocol: the far end does not speak TLS 1.3"), "{said}");
            assert!(client.said().contains("alert"), "{version} {listener}: it is told so");
        }
    }
    let (client, served) = lab.openssl("new", &["-tls1_2"]);
    assert_eq!(served.unwrap_err(), "Protocol: the far end does not speak TLS 1.3");
    assert!(client.said().contains("protocol version"));
    let (client, served) = lab.openssl("old", &["-tls1_2"]);
    drop(served.unwrap());
    assert!(client.said().contains("Protocol  : TLSv1.2"));
}

#[test]
fn a_connection_is_not_negotiated_anew() {
    let lab = Lab::new();
    let (mut client, served) = lab.openssl("old", &["-tls1_2"]);
    let mut plain = served.unwrap();
    // That letter at the beginning of a line asks for it.
    client.say(b"R\n");
    let mut words = Vec::new();
    let end = plain.read_to_end(&mut words);
    let said = client.said();
    assert!(said.contains("no renegotiation"), "{said}");
    assert!(words.is_empty() && end.is_err(), "{end:?}");
}

#[test]
fn without_the_extended_master_secret_there_is_no_connection() {
    // SSL_OP_NO_EXTENDED_MASTER_SECRET is the first bit.
    const PROGRAM: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.options |= 1
host, port = sys.argv[1].split(':')
context.wrap_socket(socket.create_connection((host, int(port))))
";
    let lab = Lab::new();
    let mut client = Client::python(PROGRAM);
    let said = client.served(&lab.tlsd, "old").unwrap_err();
    assert!(said.contains("ExtendedMasterSecretExtensionRequired"), "{said}");
    assert!(client.said().contains("HANDSHAKE_FAILURE"));
}

#[test]
fn nothing_is_said_before_the_handshake_is_over_and_a_ticket_is_of_no_use_elsewhere() {
    let lab = Lab::new();
    let session = lab.files.path("session");
    let session = session.to_str().unwrap();
    let keep = ["-sess_out", session, "-ign_eof"];
    let (client, served) = lab.openssl("new", &keep);
    let mut plain = served.unwrap();
    plain.write_all(b"bye\n").unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    let said = client.said();
    assert!(said.contains("New, TLSv1.3") && said.contains("Max Early Data: 0"), "{said}");
    let again = |listener| {
        let (client, served) = lab.openssl(listener, &["-sess_in", session]);
        drop(served.unwrap());
        client.said()
    };
    assert!(again("also").contains("New, TLSv1.3"), "another listener has other rules");
    assert!(again("new").contains("Reused, TLSv1.3"));
}

#[test]
fn keys_may_change_now_and_then_and_not_all_the_time() {
    let lab = Lab::new();
    let (mut client, served) = lab.openssl("new", &[]);
    let mut plain = served.unwrap();
    // Those letters at the beginning of a line change the keys of one direction, or of both.
    for (letter, word) in [(b"k\n", b"one\n"), (b"K\n", b"two\n")].into_iter().cycle().take(10) {
        client.say(letter);
        client.until("KEYUPDATE");
        client.say(word);
        let mut heard = [0; 4];
        plain.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, word);
    }
    plain.write_all(b"the other way, too\n").unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    assert!(client.said().contains("the other way, too"));
    // Somebody who asks for new keys without end, and says nothing.
    let (mut stream, mut plain) = lab.connected();
    let mut updates = Vec::new();
    for _ in 0..1000 {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.conn.write_tls(&mut updates).unwrap();
    }
    // It may be cut off before it has said all of that.
    let _cut_off = stream.sock.write_all(&updates).is_err();
    assert!(plain.read(&mut [0]).is_err(), "it is cut off");
    drop(lab.connected());
}

#[test]
fn records_of_one_byte_bring_every_byte() {
    let lab = Lab::new();
    let (near, mut far) = far::pair();
    let mut call = lab.tlsd.serve("new", near);
    let (mut connection, greeting) = lab.greeting();
    // The same words in records of one byte each; the head of a record has five.
    let head = greeting.get(..3).unwrap();
    let pieces: Vec<u8> =
        greeting[5..].iter().flat_map(|byte| [head, &[0, 1, *byte]].concat()).collect();
    far.write_all(&pieces).unwrap();
    let mut sent = Vec::new();
    let mut records = Vec::new();
    while connection.is_handshaking() {
        connection.read_tls(&mut far).unwrap();
        connection.process_new_packets().unwrap();
    }
    for byte in (0..=255_u8).cycle().take(20_000) {
        connection.writer().write_all(&[byte]).unwrap();
        while connection.wants_write() {
            connection.write_tls(&mut records).unwrap();
        }
        sent.push(byte);
    }
    let speaking = std::thread::spawn(move || {
        far.write_all(&records).unwrap();
        far
    });
    let answer = call.answer();
    let mut plain = call.attach(&answer.parameter("arrival")["id"]);
    let mut received = vec![0; sent.len()];
    plain.read_exact(&mut received).unwrap();
    assert!(received == sent);
    drop(speaking.join().unwrap());
}

/// A record of this kind.
fn record(kind: u8, length: u16, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &length.to_be_bytes()[..], content].concat()
}

#[test]
fn what_is_no_proper_record_ends_the_connection_and_nobody_elses() {
    let lab = Lab::new();
    let (mut kept, mut plain) = lab.connected();
    let change = record(20, 1, &[1]);
    let (_, greeting) = lab.greeting();
    let doubled = {
        // A second extension of the same kind, behind the others: an empty 0xff01.
        let mut body = greeting.clone();
        body.extend_from_slice(&[0xff, 1, 0, 1, 0, 0xff, 1, 0, 1, 0]);
        let grow = |bytes: &mut [u8], by: u16| {
            let length = u16::from_be_bytes([bytes[0], bytes[1]]) + by;
            bytes.copy_from_slice(&length.to_be_bytes());
        };
        grow(&mut body[3..5], 10);
        grow(&mut body[7..9], 10);
        // Random, session, cipher suites and compression methods go before the extensions.
        let mut place = 9 + 2 + 32;
        place += 1 + usize::from(body[place]);
        place += 2 + usize::from(u16::from_be_bytes([body[place], body[place + 1]]));
        place += 1 + usize::from(body[place]);
        grow(&mut body[place..place + 2], 10);
        body
    };
    let cases = [
        ("changes of ciphers without end", change.repeat(1000)),
        ("the same after a greeting", [greeting, change.repeat(1000)].concat()),
        ("a heartbeat", record(24, 3, &[1, 0, 0])),
        ("a heartbeat that claims more than it has", record(24, 3, &[1, 0x40, 0])),
        ("words before any keys", record(23, 5, b"hello")),
        ("no kind that there is", record(99, 5, b"hello")),
        ("more than a record may have", record(22, 0x4801, &vec![0; 0x4801])),
        ("empty records without end", record(22, 0, &[]).repeat(1000)),
        ("an extension twice", doubled),
    ];
    for (what, words) in cases {
        let said = lab.meet(&words);
        assert!(said.starts_with("Protocol: "), "{what}: {said}");
    }
    // One byte more than a record may have, after the handshake.
    let (mut stream, mut broken) = lab.connected();
    stream.sock.write_all(&record(23, 0x4101, &vec![0; 0x4101])).unwrap();
    assert!(broken.read(&mut [0]).is_err(), "an error and no end");
    // A record that nobody sealed.
    let (mut stream, mut broken) = lab.connected();
    stream.sock.write_all(&record(23, 32, &[7; 32])).unwrap();
    assert!(broken.read(&mut [0]).is_err(), "an error and no end");
    kept.write_all(b"y").unwrap();
    plain.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_peer_that_goes_away_without_a_word_is_an_error_and_with_one_an_end() {
    let lab = Lab::new();
    let (stream, mut plain) = lab.connected();
    drop(stream.sock);
    assert!(plain.read(&mut [0]).is_err());
    let (mut stream, mut plain) = lab.connected();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    drop(stream);
    assert_eq!(plain.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_a_peer_calls_us_decides_nothing() {
    let lab = Lab::new();
    let shown = issue(&lab.issuer, &ordinary(&[dns("web1.example.com")]));
    let _table = lab.files.certificate("web1", &shown);
    let path = |file: &str| lab.files.path(file).to_str().unwrap().to_owned();
    let (chain, key) = (path("web1.crt"), path("web1.key"));
    let names = [&["-servername", "web2.example.com"][..], &["-noservername"], &[]];
    for name in names {
        for certificate in [&["-cert", &chain, "-key", &key][..], &[]] {
            let client =
                Client::start(&lab.files.path("lab-ca.crt"), &[name, certificate].concat());
            let mut call = lab.tlsd.serve("asking", client.near.try_clone().unwrap());
            let answer = call.answer();
            if certificate.is_empty() {
                let said = answer.said();
                assert!(said.starts_with("Untrusted: it shows no certificate"), "{name:?}: {said}");
                continue;
            }
            let pin = format!("pin:{}", shown.pin());
            assert_eq!(answer.names(), ["dns:web1.example.com", &pin], "{name:?}");
            assert_eq!(answer.parameter("arrival")["service"], "pong");
            drop(call.attach(&answer.parameter("arrival")["id"]));
            // It may have noticed by itself that its relay is gone.
            client.near.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}
