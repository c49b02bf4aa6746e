//! What is believed about far ends, and for how long.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ipcd_tests::transport::Answer;
use rcgen::SanType;
use rustls::ClientConfig;
use serde_json::json;

use crate::authority::{Files, Issuer, Shown, authority, dns, issue, ordinary};
use crate::far::{self, client_config, server_config};
use crate::process::Tlsd;

const HOST: &str = "host.example.com";

/// A tlsd with a listener that believes by `trust`, a table `[trust.peers]`.
fn listening(files: &Files, issuer: &Issuer, trust: &str) -> Tlsd {
    let host = issue(issuer, &ordinary(&[dns(HOST)]));
    let listen = "[listen.plain]\ncertificate = 'host'\nclients = 'peers'\nservice = 'pong'\n";
    Tlsd::start(&[listen, &files.certificate("host", &host), trust].concat())
}

/// What a listener says of a client, and the plain end if it is let in.
fn meet(tlsd: &Tlsd, client: &Arc<ClientConfig>) -> (Answer, Option<(UnixStream, bool)>) {
    let (near, talk) = far::resuming(client);
    let mut call = tlsd.serve("plain", near);
    let answer = call.answer();
    if !answer.said().is_empty() {
        assert!(talk.join().is_err(), "it was turned away");
        return (answer, None);
    }
    let mut plain = call.attach(&answer.parameter("arrival")["id"]);
    plain.write_all(b"welcome").unwrap();
    let is_resumed = talk.join().unwrap();
    (answer, Some((plain, is_resumed)))
}

#[test]
fn a_pinned_key_proves_itself_and_no_name_that_its_owner_writes_around_it() {
    let (files, lab) = (Files::new(), authority("lab"));
    let uri = SanType::URI("spiffe://example.com/payroll".try_into().unwrap());
    let names = ordinary(&[dns("payroll.example.com"), uri]);
    let (own, certified) = (issue(&authority("himself"), &names), issue(&lab, &names));
    let pins = |shown: &Shown| format!("pins = ['{}']\n", shown.pin());
    let tlsd = listening(&files, &lab, &format!("[trust.peers]\n{}", pins(&own)));
    let client = Arc::new(client_config(&lab, Some(&own)));
    let pin = format!("pin:{}", own.pin());
    assert_eq!(meet(&tlsd, &client).0.names(), [&pin]);
    // What an authority says beside it is proven.
    let tlsd = listening(&files, &lab, &files.trust("peers", &lab, &pins(&certified)));
    let client = Arc::new(client_config(&lab, Some(&certified)));
    let pin = format!("pin:{}", certified.pin());
    let proven = ["dns:payroll.example.com", "uri:spiffe://example.com/payroll", &pin];
    assert_eq!(meet(&tlsd, &client).0.names(), proven);
    // The same of servers.
    let near = Tlsd::start("");
    let (net, _talk) = far::server(server_config(&own));
    let (_call, answer) = near.wrap(HOST, &json!({ "trust": "pin", "pin": own.pin() }), net);
    let pin = format!("pin:{}", own.pin());
    assert_eq!(answer.parameter("identity")["names"], json!([pin]));
}

#[test]
fn a_uri_that_would_look_like_several_names_is_none() {
    let (files, lab) = (Files::new(), authority("lab"));
    let tlsd = listening(&files, &lab, &files.trust("peers", &lab, ""));
    let longest = "x".repeat(255);
    let longer = "x".repeat(256);
    let texts = ["spiffe://x/a,dns:root.example.com", "spiffe://x/a b", &longest, &longer];
    let uris = texts.map(|uri| SanType::URI(uri.try_into().unwrap()));
    let shown = issue(&lab, &ordinary(&[&uris[..], &[dns("web1.example.com")]].concat()));
    let client = Arc::new(client_config(&lab, Some(&shown)));
    let pin = format!("pin:{}", shown.pin());
    let longest = format!("uri:{longest}");
    assert_eq!(meet(&tlsd, &client).0.names(), ["dns:web1.example.com", &longest, &pin]);
}
