//! Peers that come to us: whom a listener lets in, and what it believes about them.

use std::io::Write;
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use serde_json::Value;

use crate::authority::{Files, Issuer, Shown, authority, dns, issue, ordinary};
use crate::far::{self, client_config};
use crate::process::Tlsd;

/// An authority, and a tlsd with the listeners `plain` (a service, certificates required), `open`
/// (a service, none required) and `fleet` (hellos).
struct Lab {
    issuer: Issuer,
    tlsd: Tlsd,
}

impl Lab {
    fn new() -> Self {
        let (files, issuer) = (Files::new(), authority("lab"));
        let host = issue(&issuer, &ordinary(&[dns("host.example.com")]));
        let listen = "[listen.plain]\ncertificate = 'host'\nclients = 'lab'\nservice = 'pong'\n\
                      [listen.open]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n\
                      [listen.fleet]\ncertificate = 'host'\nclients = 'lab'\n";
        let config =
            [listen, &files.certificate("host", &host), &files.trust("lab", &issuer, "")].concat();
        let tlsd = Tlsd::start(&config);
        Self { issuer, tlsd }
    }

    /// What a peer hears that shows this, and what is said about it.
    fn meet(&self, listener: &str, shown: Option<&Shown>) -> Result<Vec<String>, String> {
        let config = Arc::new(client_config(&self.issuer, shown));
        let (near, talk) = far::client(&config, b"hello");
        let mut call = self.tlsd.serve(listener, near);
        let answer = call.answer();
        if !answer.said().is_empty() {
            assert!(talk.join().unwrap().is_err(), "it was turned away");
            return Err(answer.said());
        }
        let names = answer.names().into_iter().map(ToOwned::to_owned).collect();
        let mut stream = call.attach(&answer.parameter("arrival")["id"]);
        stream.write_all(b"welcome").unwrap();
        assert_eq!(talk.join().unwrap().unwrap(), "welcome");
        Ok(names)
    }

    fn meet_with(&self, params: &CertificateParams) -> Result<Vec<String>, String> {
        self.meet("plain", Some(&issue(&self.issuer, params)))
    }
}

#[test]
fn names_are_what_the_certificate_proves_and_a_wildcard_is_none() {
    let lab = Lab::new();
    let uri = SanType::URI("spiffe://example.com/web".try_into().unwrap());
    let names = [dns("Web1.example.com"), dns("*.example.com"), uri];
    let mut params = ordinary(&names);
    params.distinguished_name.push(rcgen::DnType::CommonName, "root.example.com");
    let shown = issue(&lab.issuer, &params);
    let proven = lab.meet("plain", Some(&shown)).unwrap();
    let pin = format!("pin:{}", shown.pin());
    assert_eq!(proven, ["dns:web1.example.com", "uri:spiffe://example.com/web", &pin]);
    assert_eq!(lab.meet("open", None).unwrap(), [""; 0]);
}

#[test]
fn a_peer_has_to_have_a_certificate_for_clients_of_the_listeners_own_trust() {
    let lab = Lab::new();
    let name = [dns("web1.example.com")];
    let meant_for = |purposes: &[ExtendedKeyUsagePurpose]| {
        let mut params = ordinary(&name);
        params.extended_key_usages = purposes.to_vec();
        params
    };
    let mut old = ordinary(&name);
    old.not_before = date_time_ymd(2020, 1, 1);
    old.not_after = date_time_ymd(2021, 1, 1);
    assert!(lab.meet_with(&meant_for(&[ExtendedKeyUsagePurpose::ClientAuth])).is_ok());
    let purpose = "is not meant for this";
    let cases = [
        (meant_for(&[ExtendedKeyUsagePurpose::ServerAuth]), purpose),
        (meant_for(&[]), purpose),
        (old, "has expired"),
    ];
    for (params, expected) in cases {
        let said = lab.meet_with(&params).unwrap_err();
        assert!(
            said.starts_with("Untrusted: its certificate ") && said.contains(expected),
            "{said}"
        );
    }
    let stranger = issue(&authority("another"), &ordinary(&name));
    assert!(lab.meet("plain", Some(&stranger)).unwrap_err().contains("not from an authority"));
    assert_eq!(
        lab.meet("plain", None).unwrap_err(),
        "Untrusted: it shows no certificate, which is required"
    );
}

#[test]
fn what_is_not_tls_or_not_ours_is_turned_away() {
    let lab = Lab::new();
    let (near, mut far) = far::pair();
    let mut call = lab.tlsd.serve("fleet", near);
    far.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(call.answer().said(), "Protocol: the far end does not speak TLS");
    // A claim of 16 MiB for a first message.
    let (near, mut far) = far::pair();
    let mut call = lab.tlsd.serve("fleet", near);
    let mut claim = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    claim.resize(5 + 0x4000, 0);
    // It may be turned away before it has said all of that.
    let _turned_away = far.write_all(&claim).is_err();
    assert!(call.answer().said().starts_with("Protocol: "));
    // TLS, and another protocol inside, or none.
    let shown = issue(&lab.issuer, &ordinary(&[dns("web1.example.com")]));
    for protocols in [&[][..], &[b"h2".to_vec()]] {
        let mut config = client_config(&lab.issuer, Some(&shown));
        config.alpn_protocols = protocols.to_vec();
        let (near, talk) = far::client(&Arc::new(config), b"hello");
        let mut call = lab.tlsd.serve("fleet", near);
        let said = call.answer().said();
        assert!(said.starts_with("Protocol: the far end does not speak"), "{said}");
        assert!(talk.join().unwrap().is_err() || protocols.is_empty());
    }
    let (near, _far) = far::pair();
    let said = lab.tlsd.serve("none", near).answer().said();
    assert_eq!(said, "InvalidRequest: tlsd.toml has no table [listen.none]");
}

/// A hello, as another daemon of ours would say it.
fn hello(service: &str) -> Vec<u8> {
    let text = format!(
        "{{\"method\":\"org.ipcd.Tunnel.Open\",\"parameters\":{{\"service\":\"{service}\",\
         \"hops\":1}},\"upgrade\":true}}\0"
    );
    text.into_bytes()
}

#[test]
fn a_hello_says_what_is_wanted_and_is_answered_yes_or_no() {
    let lab = Lab::new();
    let shown = issue(&lab.issuer, &ordinary(&[dns("web1.example.com")]));
    let mut config = client_config(&lab.issuer, Some(&shown));
    config.alpn_protocols = vec![b"ipc/1".to_vec()];
    let config = Arc::new(config);
    for is_let_in in [true, false] {
        let (near, talk) = far::client(&config, &hello("pong"));
        let mut call = lab.tlsd.serve("fleet", near);
        let answer = call.answer();
        let arrival = answer.parameter("arrival");
        assert_eq!((&arrival["service"], &arrival["hops"]), (&"pong".into(), &1.into()));
        assert_eq!(arrival["address"], Value::from("192.0.2.1:5000"));
        if is_let_in {
            let _stream = call.attach(&arrival["id"]);
            assert_eq!(talk.join().unwrap().unwrap(), "{\"parameters\":{}}\0");
        } else {
            call.refuse(&arrival["id"]);
            let said = talk.join().unwrap().unwrap();
            assert!(said.contains("org.ipcd.Tunnel.Refused"), "{said}");
        }
    }
    for wrong in [&b"GET / HTTP/1.1\0"[..], &hello("../etc"), &vec![b'x'; 20_000]] {
        let (near, talk) = far::client(&config, wrong);
        let mut call = lab.tlsd.serve("fleet", near);
        assert!(call.answer().said().starts_with("Protocol: "));
        drop(talk);
    }
}
