//! Servers of OpenSSL: whom they let in, and what they show.

use std::io::{Read, Write};
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::json;

use crate::authority::{Files, Shown, authority, authority_params, dns, issue, ordinary};
use crate::far::{self, server_config};
use crate::openssl::{Server, openssl};
use crate::process::{PATIENCE, Tlsd};

const HOST: &str = "host.example.com";

#[test]
fn a_server_that_refuses_what_we_show_is_an_error_and_never_a_connection() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let server = issue(&issuer, &ordinary(&[dns(HOST)]));
    let mut for_servers = ordinary(&[dns("web1.example.com")]);
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut old = ordinary(&[dns("web1.example.com")]);
    old.not_before = rcgen::date_time_ymd(2020, 1, 1);
    old.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let stranger = issue(&authority("another"), &ordinary(&[dns("web1.example.com")]));
    let namesake = issue(&authority("lab"), &ordinary(&[dns("web1.example.com")]));
    let config = [
        files.trust("lab", &issuer, ""),
        files.certificate("server", &server),
        files.certificate("good", &issue(&issuer, &ordinary(&[dns("web1.example.com")]))),
        files.certificate("old", &issue(&issuer, &old)),
        files.certificate("wrong", &issue(&issuer, &for_servers)),
        files.certificate("stranger", &stranger),
        files.certificate("namesake", &namesake),
    ];
    let tlsd = Tlsd::start(&config.concat());
    let ca = files.path("lab-ca.crt");
    let strict = ["-Verify", "1", "-verify_return_error", "-CAfile", ca.to_str().unwrap()];
    for more in [&[][..], &["-num_tickets", "0"], &["-tls1_2"]] {
        let server = Server::start(&files, "server", &[&strict[..], more].concat());
        let meet = |certificate: Option<&str>| {
            let mut options = json!({ "trust": "lab", "tls12": "true" });
            if let Some(certificate) = certificate {
                options["certificate"] = certificate.into();
            }
            tlsd.wrap(HOST, &options, server.connect())
        };
        let refused = |certificate, why: &str| {
            let said = meet(certificate).1.said();
            let expected = format!("Refused: the far end does not accept us: {why}");
            assert_eq!(said, expected, "{certificate:?} {more:?}");
        };
        if more.contains(&"-tls1_2") {
            // Before TLS 1.3 there was no word of its own for that.
            refused(None, "it wants a certificate of ours, or another one");
        } else {
            refused(None, "it wants a certificate of ours");
        }
        refused(
            Some("stranger"),
            "our certificate is not from an authority that it trusts, or it cannot look whether it is \
             revoked",
        );
        refused(
            Some("namesake"),
            "a signature of ours is wrong for it; our certificate may be from another authority of \
             the same name",
        );
        refused(Some("old"), "our certificate has expired");
        refused(Some("wrong"), "our certificate is not what it wants");
        let (mut call, answer) = meet(Some("good"));
        assert_eq!(answer.said(), "", "{more:?}");
        let mut stream = call.attach(answer.parameter("id"));
        stream.write_all(b"abc\n").unwrap();
        let mut line = [0; 4];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"cba\n");
    }
}

#[test]
fn what_a_server_says_before_it_is_sure_to_let_us_in_arrives() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let server = issue(&issuer, &ordinary(&[dns(HOST)]));
    let client = issue(&issuer, &ordinary(&[dns("web1.example.com")]));
    let config = [files.trust("lab", &issuer, ""), files.certificate("own", &client)].concat();
    let tlsd = Tlsd::start(&config);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(std::sync::Arc::new(roots));
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(server.chain.clone(), server.key_der())
        .unwrap();
    // Nothing but its own words tells that it lets us in.
    config.send_tls13_tickets = 0;
    let (near, mut far) = far::pair();
    let talk = std::thread::spawn(move || {
        let mut connection = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        rustls::Stream::new(&mut connection, &mut far).write_all(b"welcome").unwrap();
        (connection, far)
    });
    let options = json!({ "trust": "lab", "certificate": "own" });
    let (mut call, answer) = tlsd.wrap(HOST, &options, near);
    assert_eq!(answer.said(), "");
    let mut stream = call.attach(answer.parameter("id"));
    let mut words = [0; 7];
    stream.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"welcome");
    drop(talk.join().unwrap());
}

/// A certificate for the host, below so many authorities, each below the other.
fn below(root: &crate::authority::Issuer, authorities: usize) -> Shown {
    let mut chain = Vec::new();
    let mut above: Option<CertifiedIssuer<'static, KeyPair>> = None;
    for number in 0..authorities {
        let (params, key) = (authority_params(&format!("{number}")), KeyPair::generate().unwrap());
        let next = match &above {
            Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
            None => CertifiedIssuer::signed_by(params, key, root).unwrap(),
        };
        chain.insert(0, next.der().clone());
        above = Some(next);
    }
    let shown = issue(above.as_ref().unwrap_or(root), &ordinary(&[dns(HOST)]));
    chain.insert(0, shown.chain[0].clone());
    Shown { chain, key: shown.key }
}

#[test]
fn a_chain_of_seven_certificates_is_believed_and_a_longer_one_is_not() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let tlsd = Tlsd::start(&files.trust("lab", &issuer, ""));
    let meet = |authorities| {
        let _table = files.certificate("server", &below(&issuer, authorities));
        let server = Server::start(&files, "server", &[]);
        tlsd.wrap(HOST, &json!({ "trust": "lab" }), server.connect()).1.said()
    };
    assert_eq!(meet(6), "");
    for authorities in [7, 10, 99] {
        let said = meet(authorities);
        let expected = "Untrusted: its certificate has too many authorities above it";
        assert!(said.starts_with(expected), "{authorities}: {said}");
    }
}

#[test]
fn a_chain_of_ten_certificates_is_believed_by_who_trusts_an_authority_in_it() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let _table = files.certificate("server", &below(&issuer, 9));
    let chain = std::fs::read_to_string(files.path("server.crt")).unwrap();
    let end = "-----END CERTIFICATE-----";
    let certificates: Vec<_> = chain.split_inclusive(end).filter(|one| one.contains(end)).collect();
    assert_eq!(certificates.len(), 10);
    let server = Server::start(&files, "server", &[]);
    for (place, is_believed) in [(1, true), (7, true), (8, false)] {
        let path = files.write("between.crt", certificates[place]);
        let tlsd = Tlsd::start(&format!("[trust.between]\nca = '{}'\n", path.display()));
        let said = tlsd.wrap(HOST, &json!({ "trust": "between" }), server.connect()).1.said();
        assert_eq!(said.is_empty(), is_believed, "{place}: {said}");
    }
}

#[test]
fn of_two_ways_up_from_a_certificate_one_that_is_trusted_will_do() {
    let (files, issuer, unknown) = (Files::new(), authority("lab"), authority("unknown"));
    let tlsd = Tlsd::start(&files.trust("lab", &issuer, ""));
    // One authority with one key and two certificates, and the one that is not trusted goes first.
    let key = || KeyPair::from_pem(&KEY.with(Clone::clone)).unwrap();
    let by = |above| CertifiedIssuer::signed_by(authority_params("middle"), key(), above).unwrap();
    let (untrusted, trusted) = (by(&unknown), by(&issuer));
    let shown = issue(&trusted, &ordinary(&[dns(HOST)]));
    let chain = vec![shown.chain[0].clone(), untrusted.der().clone(), trusted.der().clone()];
    let (near, _talk) = far::server(server_config(&Shown { chain, key: shown.key }));
    assert_eq!(tlsd.wrap(HOST, &json!({ "trust": "lab" }), near).1.said(), "");
}

thread_local! {
    /// The key of an authority that two others certify.
    static KEY: String = KeyPair::generate().unwrap().serialize_pem();
}

#[test]
fn what_is_signed_or_keyed_as_nobody_should_any_more_is_not_trusted() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let tlsd = Tlsd::start(&files.trust("lab", &issuer, ""));
    let directory = files.path("");
    files.write("lab-ca.key", &issuer.key().serialize_pem());
    files.write("names", "subjectAltName=DNS:host.example.com\nextendedKeyUsage=serverAuth\n");
    let cases = [("short", "rsa:1024", "-sha256"), ("old", "rsa:2048", "-sha1")];
    for (name, key, digest) in cases {
        let file = |ending: &str| format!("{name}.{ending}");
        let request = ["req", "-new", "-nodes", "-newkey", key, "-subj", "/CN=x", "-keyout"];
        openssl(&[&request[..], &[&file("key"), "-out", &file("csr")]].concat(), &directory);
        let sign = ["x509", "-req", digest, "-CA", "lab-ca.crt", "-CAkey", "lab-ca.key"];
        let files_of = ["-CAcreateserial", "-extfile", "names", "-in", &file("csr"), "-out"];
        openssl(&[&sign[..], &files_of, &[&file("crt")]].concat(), &directory);
        let lax = ["-cipher", "ALL:@SECLEVEL=0"];
        let server = Server::start(&files, name, &lax);
        for options in [json!({ "trust": "lab" }), json!({ "trust": "lab", "tls12": "true" })] {
            let said = tlsd.wrap(HOST, &options, server.connect()).1.said();
            assert!(
                said.starts_with("Untrusted: its certificate ")
                    || said.starts_with("Protocol: the far end"),
                "{name}: {said}"
            );
        }
    }
}

#[test]
fn tickets_are_of_use_under_the_trust_that_they_came_from_alone() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let shown = issue(&issuer, &ordinary(&[dns(HOST)]));
    let own = issue(&issuer, &CertificateParams::default());
    let config = [
        files.trust("one", &issuer, ""),
        files.trust("two", &issuer, ""),
        files.certificate("own", &own),
    ];
    let tlsd = Tlsd::start(&config.concat());
    let server = std::sync::Arc::new(server_config(&shown));
    let resumes = |options: serde_json::Value| {
        let (near, mut far) = far::pair();
        let config = std::sync::Arc::clone(&server);
        let talk = std::thread::spawn(move || {
            let mut connection = rustls::ServerConnection::new(config).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut far);
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"x").unwrap();
            connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
        });
        let (mut call, answer) = tlsd.wrap(HOST, &options, near);
        assert_eq!(answer.said(), "");
        let mut stream = call.attach(answer.parameter("id"));
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        talk.join().unwrap()
    };
    assert!(!resumes(json!({ "trust": "one" })), "there is nothing to resume yet");
    assert!(resumes(json!({ "trust": "one" })));
    assert!(!resumes(json!({ "trust": "two" })), "another trust");
    assert!(!resumes(json!({ "trust": "one", "certificate": "own" })), "somebody else");
    assert!(!resumes(json!({ "trust": "one", "tls12": "true" })), "other rules");
    assert!(resumes(json!({ "trust": "two" })));
}

#[test]
fn a_server_that_is_content_without_a_word_costs_a_moment_and_no_more() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let server = issue(&issuer, &ordinary(&[dns(HOST)]));
    let config = [files.trust("lab", &issuer, ""), files.certificate("server", &server)].concat();
    let tlsd = Tlsd::start(&config);
    let time_of = |arguments: &[&str]| {
        let server = Server::start(&files, "server", arguments);
        let net = server.connect();
        let start = std::time::Instant::now();
        assert_eq!(tlsd.wrap(HOST, &json!({ "trust": "lab" }), net).1.said(), "");
        start.elapsed()
    };
    let least = Duration::from_millis(200);
    assert!(time_of(&["-verify", "1", "-num_tickets", "0"]) >= least);
    // Longer only if the handshake itself took longer than a second.
    assert!(time_of(&["-verify", "1", "-num_tickets", "0"]) < Duration::from_secs(5));
    // Who does not ask cannot refuse, and who sends a ticket does not.
    let quick = [&["-num_tickets", "0"][..], &["-verify", "1"]];
    for arguments in quick {
        // It is never so where tlsd waits for a word, and not at once where the machine is busy.
        let end = std::time::Instant::now() + PATIENCE;
        let mut fastest = time_of(arguments);
        while fastest >= least && std::time::Instant::now() < end {
            fastest = fastest.min(time_of(arguments));
        }
        assert!(fastest < least, "{arguments:?}: {fastest:?}");
    }
}
