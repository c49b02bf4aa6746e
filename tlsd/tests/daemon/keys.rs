//! Keys that two hosts share, bare public keys, and their files: two ends that are both ours.

use std::io::{Read, Write};

use ipcd_tests::transport::{Answer, Call};
use serde_json::{Value, json};

use crate::authority::{Files, authority, dns, issue, ordinary};
use crate::far;
use crate::process::Tlsd;

const ONE: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
const OTHER: &str = "eHl6MzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";

/// Has two tlsd meet: the near one's answer, and the far one's.
fn meet(near: &Tlsd, far: &Tlsd, options: &Value) -> ((Call, Answer), (Call, Answer)) {
    let (ours, theirs) = far::pair();
    std::thread::scope(|scope| {
        let mut served = far.serve("fleet", theirs);
        let arrived = scope.spawn(move || {
            let answer = served.answer();
            if answer.said().is_empty() {
                let id = answer.parameter("arrival")["id"].clone();
                let mut stream = served.attach(&id);
                let mut word = [0; 4];
                // The near end may not believe what it hears, and then nothing comes.
                if stream.read_exact(&mut word).is_ok() {
                    stream.write_all(&word).unwrap();
                }
            }
            (served, answer)
        });
        let (mut call, answer) = near.wrap_for(Some("pong"), "host.example.com", options, ours);
        if answer.said().is_empty() {
            let mut stream = call.attach(answer.parameter("id"));
            stream.write_all(b"ping").unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"ping");
        }
        ((call, answer), arrived.join().unwrap())
    })
}

#[test]
fn a_shared_key_is_proven_by_both_ends_and_only_in_addition() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let host = issue(&issuer, &ordinary(&[dns("host.example.com")]));
    let key = |file: &str, text: &str| {
        let path = files.write(file, text);
        format!("[key.fleet]\nsecret = '{}'\n", path.display())
    };
    let trust = files.trust("lab", &issuer, "");
    let certificate = files.certificate("host", &host);
    let listen = "[listen.fleet]\ncertificate = 'host'\nclients = 'none'\n";
    let far_with = |text: &str| {
        let keys = "keys = 'fleet'\n";
        Tlsd::start(&[listen, keys, &certificate, &key("far.key", text)].concat())
    };
    let near = Tlsd::start(&[trust.as_str(), &key("near.key", ONE)].concat());
    let options = json!({ "trust": "lab", "psk": "fleet" });
    let far = far_with(ONE);
    let ((_, answer), (_, arrived)) = meet(&near, &far, &options);
    assert_eq!(answer.said(), "");
    assert_eq!(arrived.names(), ["key:fleet"]);
    let ((_, answer), (_, arrived)) = meet(&near, &far, &json!({ "trust": "lab" }));
    assert_eq!((answer.said(), arrived.names()), (String::new(), vec![]));
    // The certificate still has to be right.
    let stranger = far_with(ONE);
    let nobody = files.trust("nobody", &authority("another"), "");
    let mistrusting = Tlsd::start(&[nobody.as_str(), &key("mis.key", ONE)].concat());
    let untrusting = json!({ "trust": "nobody", "psk": "fleet" });
    let ((_, answer), _) = meet(&mistrusting, &stranger, &untrusting);
    assert!(answer.said().starts_with("Untrusted: its certificate"), "{}", answer.said());
    // Another key, or a far end that knows none.
    let ((_, answer), (_, arrived)) = meet(&near, &far_with(OTHER), &options);
    assert_eq!(answer.said(), "Refused: the far host says no");
    assert_eq!(arrived.said(), "Protocol: the peer has not proven its key");
    let unkeyed = Tlsd::start(&[listen, &certificate].concat());
    let ((_, answer), _) = meet(&near, &unkeyed, &options);
    assert_eq!(answer.said(), "Refused: the far host says no");
}

#[test]
fn hosts_without_an_authority_believe_each_others_bare_keys() {
    let (files, issuer) = (Files::new(), authority("unused"));
    let shown = || issue(&issuer, &ordinary(&[]));
    let (one, other) = (shown(), shown());
    let bare = |name: &str, key: &crate::authority::Shown| {
        let path = files.write(&format!("{name}.key"), &key.key.serialize_pem());
        format!("[certificate.{name}]\nkey = '{}'\n", path.display())
    };
    let trust = |pin: String| format!("[trust.peer]\nraw-public-keys = true\npins = ['{pin}']\n");
    let far = Tlsd::start(
        &[
            "[listen.fleet]\ncertificate = 'own'\nclients = 'peer'\n",
            &bare("own", &one),
            &trust(other.pin()),
        ]
        .concat(),
    );
    let options = json!({ "trust": "peer", "certificate": "own" });
    let near = Tlsd::start(&[bare("own", &other), trust(one.pin())].concat());
    let ((_, answer), (_, arrived)) = meet(&near, &far, &options);
    assert_eq!(answer.said(), "");
    assert_eq!(arrived.names(), [format!("pin:{}", other.pin())]);
    // Neither end accepts another key.
    let near = Tlsd::start(&[bare("own", &other), trust(other.pin())].concat());
    let ((_, answer), _) = meet(&near, &far, &options);
    assert_eq!(answer.said(), "Untrusted: its certificate has a key that is not pinned");
    let near = Tlsd::start(&[bare("own", &shown()), trust(one.pin())].concat());
    let ((_, answer), (_, arrived)) = meet(&near, &far, &options);
    assert!(
        answer.said().starts_with("Refused: the far end does not accept us"),
        "{}",
        answer.said()
    );
    assert!(arrived.said().ends_with("has a key that is not pinned"), "{}", arrived.said());
}
