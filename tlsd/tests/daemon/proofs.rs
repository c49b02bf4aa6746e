//! Proofs of keys that two hosts share, computed by another program than the one that is tested.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::authority::{Files, Issuer, authority, dns, issue, ordinary};
use crate::far::{self, client_config, server_config};
use crate::process::Tlsd;

const HOST: &str = "host.example.com";

/// Base64 of it is the key.
const KEY: &[u8] = b"01234567890123456789012345678901";

/// As docs/protocol.md has it.
fn proof(label: &str, service: &str, exported: &[u8]) -> String {
    let message = [label.as_bytes(), b"\0", service.as_bytes(), b"\0", exported].concat();
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), &message))
}

const CLIENT: &str = "ipcd client 1";
const SERVER: &str = "ipcd server 1";

/// What both ends of a connection know, and nobody else, by the library's own way to it.
const EXPORTER: &[u8] = b"EXPORTER-ipcd-key";

/// Reads up to a NUL.
fn message(stream: &mut impl Read) -> Value {
    let (mut bytes, mut byte) = (Vec::new(), [1]);
    loop {
        stream.read_exact(&mut byte).unwrap();
        if byte == [0] {
            return serde_json::from_slice(&bytes).unwrap();
        }
        bytes.push(byte[0]);
    }
}

/// A table `[key.fleet]`.
fn key(files: &Files) -> String {
    let path = files.write("fleet.key", &STANDARD.encode(KEY));
    format!("[key.fleet]\nsecret = '{}'\n", path.display())
}

/// A tlsd whose peers may prove the key.
struct Lab {
    issuer: Issuer,
    tlsd: Tlsd,
}

impl Lab {
    fn new() -> Self {
        let (files, issuer) = (Files::new(), authority("lab"));
        let host = issue(&issuer, &ordinary(&[dns(HOST)]));
        let listen = "[listen.fleet]\ncertificate = 'host'\nclients = 'none'\nkeys = 'fleet'\n";
        let tlsd = Tlsd::start(&[listen, &files.certificate("host", &host), &key(&files)].concat());
        Self { issuer, tlsd }
    }

    /// A peer that has shaken hands, and the call about it.
    fn peer(&self) -> (StreamOwned<ClientConnection, UnixStream>, ipcd_tests::transport::Call) {
        let mut config: ClientConfig = client_config(&self.issuer, None);
        config.alpn_protocols = vec![b"ipc/1".to_vec()];
        let name = ServerName::try_from(HOST).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let (near, mut far) = far::pair();
        let call = self.tlsd.serve("fleet", near);
        while connection.is_handshaking() {
            connection.complete_io(&mut far).unwrap();
        }
        (StreamOwned::new(connection, far), call)
    }
}

fn exported(stream: &StreamOwned<ClientConnection, UnixStream>) -> [u8; 32] {
    stream.conn.export_keying_material([0; 32], EXPORTER, None).unwrap()
}

#[test]
fn a_proof_is_good_for_one_connection_one_direction_and_one_service() {
    let lab = Lab::new();
    let (other, _call) = lab.peer();
    let another = exported(&other);
    let ask = |label: &str, service: &str, of: Option<[u8; 32]>| {
        let (mut stream, mut call) = lab.peer();
        let own = exported(&stream);
        let proof_of = proof(label, service, &of.unwrap_or(own));
        let parameters = json!({ "service": "pong", "hops": 1, "key": "fleet", "proof": proof_of });
        let hello = json!({
            "method": "org.ipcd.Tunnel.Open", "parameters": parameters, "upgrade": true
        });
        stream.write_all(format!("{hello}\0").as_bytes()).unwrap();
        let answer = call.answer();
        if answer.said().is_empty() {
            assert_eq!(answer.names(), ["key:fleet"]);
            let _plain = call.attach(&answer.parameter("arrival")["id"]);
            let yes = message(&mut stream);
            assert_eq!(yes["parameters"]["proof"], proof(SERVER, "pong", &own));
        }
        answer.said()
    };
    assert_eq!(ask(CLIENT, "pong", None), "");
    let not_proven = "Protocol: the peer has not proven its key";
    assert_eq!(ask(SERVER, "pong", None), not_proven, "what the server would say");
    assert_eq!(ask(CLIENT, "payroll", None), not_proven, "for another service");
    assert_eq!(ask(CLIENT, "pong", Some(another)), not_proven, "of another connection");
}

/// A server that says yes with the proof that `answer` makes of the hello's parameters and of what
/// both ends know.
fn answering(
    shown: &crate::authority::Shown,
    answer: impl Fn(&Value, &[u8]) -> String + Send + 'static,
) -> (UnixStream, thread::JoinHandle<()>) {
    let (near, far) = far::pair();
    let mut config = server_config(shown);
    config.alpn_protocols = vec![b"ipc/1".to_vec()];
    let talk = thread::spawn(move || {
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, far);
        let hello = message(&mut stream);
        let exported = stream.conn.export_keying_material([0; 32], EXPORTER, None).unwrap();
        let proof = answer(&hello["parameters"], &exported);
        let yes = json!({ "parameters": { "proof": proof } });
        stream.write_all(format!("{yes}\0").as_bytes()).unwrap();
    });
    (near, talk)
}

#[test]
fn a_server_that_sends_our_own_proof_back_or_anothers_has_not_proven_anything() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let shown = issue(&issuer, &ordinary(&[dns(HOST)]));
    let tlsd = Tlsd::start(&[files.trust("lab", &issuer, ""), key(&files)].concat());
    let meet = |answer: fn(&Value, &[u8]) -> String| {
        let (near, talk) = answering(&shown, answer);
        let options = json!({ "trust": "lab", "psk": "fleet" });
        let said = tlsd.wrap_for(Some("pong"), HOST, &options, near).1.said();
        talk.join().unwrap();
        said
    };
    assert_eq!(
        meet(|hello, exported| {
            assert_eq!((&hello["key"], &hello["service"]), (&json!("fleet"), &json!("pong")));
            assert_eq!(hello["proof"], proof(CLIENT, "pong", exported));
            proof(SERVER, "pong", exported)
        }),
        ""
    );
    let not_proven = "Untrusted: the far end has not proven that it has the key";
    assert_eq!(meet(|hello, _| hello["proof"].as_str().unwrap().to_owned()), not_proven, "ours");
    assert_eq!(meet(|_, exported| proof(SERVER, "payroll", exported)), not_proven, "of another");
    assert_eq!(meet(|_, _| proof(SERVER, "pong", &[7; 32])), not_proven, "of another connection");
    assert_eq!(meet(|_, _| String::new()), not_proven, "none");
}
