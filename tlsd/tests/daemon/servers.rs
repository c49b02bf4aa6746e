//! Servers that cannot be trusted, and those that can.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyPair, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use crate::authority::{
    Files, Issuer, Shown, authority, authority_params, crl, dns, issue, ordinary,
};
use crate::far::{self, server_config};
use crate::process::Tlsd;

const HOST: &str = "host.example.com";

/// The authorities of a test, and a tlsd that knows them.
struct Lab {
    issuer: Issuer,
    constrained: Issuer,
    tlsd: Tlsd,
}

impl Lab {
    fn new() -> Self {
        let files = Files::new();
        let issuer = authority("lab");
        let mut params = authority_params("constrained");
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let key = KeyPair::generate().unwrap();
        let constrained = CertifiedIssuer::self_signed(params, key).unwrap();
        let list = |name: &str, serials: &[u64], is_current| {
            let year = Duration::from_secs(365 * 24 * 3600);
            let end = if is_current { SystemTime::now() + year } else { UNIX_EPOCH + year * 55 };
            let path = files.write(name, &crl(&issuer, serials, end));
            format!("crl = '{}'", path.display())
        };
        let config = [
            files.trust("lab", &issuer, ""),
            files.trust("constrained", &constrained, ""),
            files.trust("listed", &issuer, &list("current", &[7], true)),
            files.trust("stale", &issuer, &list("stale", &[7], false)),
        ];
        let tlsd = Tlsd::start(&config.concat());
        Self { issuer, constrained, tlsd }
    }

    /// What comes of meeting a server that shows this; nothing if all is well.
    fn meet(&self, shown: &Shown, host: &str, options: &Value) -> String {
        let (near, _talk) = far::server(server_config(shown));
        let (mut call, answer) = self.tlsd.wrap(host, options, near);
        let said = answer.said();
        if said.is_empty() {
            let mut stream = call.attach(answer.parameter("id"));
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        said
    }

    fn meet_ordinary(&self, params: &CertificateParams, host: &str) -> String {
        self.meet(&issue(&self.issuer, params), host, &json!({ "trust": "lab" }))
    }
}

#[test]
fn a_server_is_believed_if_everything_about_its_certificate_is_right() {
    let lab = Lab::new();
    let mut no_purpose = ordinary(&[dns(HOST)]);
    no_purpose.extended_key_usages.clear();
    let cases = [
        ("an ordinary one", ordinary(&[dns(HOST)]), HOST),
        ("a wildcard of one level", ordinary(&[dns("*.example.com")]), HOST),
        ("an address", ordinary(&[SanType::IpAddress("192.0.2.7".parse().unwrap())]), "192.0.2.7"),
        ("IPv6", ordinary(&[SanType::IpAddress("2001:db8::7".parse().unwrap())]), "2001:db8::7"),
        ("one that says nothing of its purpose", no_purpose, HOST),
    ];
    for (what, params, host) in cases {
        assert_eq!(lab.meet_ordinary(&params, host), "", "{what}");
    }
    let inside = issue(&lab.constrained, &ordinary(&[dns(HOST)]));
    assert_eq!(lab.meet(&inside, HOST, &json!({ "trust": "constrained" })), "");
    let mut serial = ordinary(&[dns(HOST)]);
    serial.serial_number = Some(SerialNumber::from(8_u64));
    let other = issue(&lab.issuer, &serial);
    assert_eq!(lab.meet(&other, HOST, &json!({ "trust": "listed" })), "");
}

fn valid(from: i32, to: i32) -> CertificateParams {
    let mut params = ordinary(&[dns(HOST)]);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}

fn meant_for(purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = ordinary(&[dns(HOST)]);
    params.extended_key_usages = vec![purpose];
    params
}

#[test]
fn a_server_is_not_trusted_if_anything_about_its_certificate_is_wrong() {
    let lab = Lab::new();
    let mut authority_itself = ordinary(&[dns(HOST)]);
    authority_itself.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut named_by_subject = ordinary(&[]);
    named_by_subject.distinguished_name.push(rcgen::DnType::CommonName, HOST);
    let email = SanType::Rfc822Name("host.example.com".try_into().unwrap());
    let uri = SanType::URI("https://host.example.com".try_into().unwrap());
    let another = "is for another name";
    let purpose = "is not meant for this";
    let cases = [
        (
            "another name",
            ordinary(&[dns("o.example.com")]),
            HOST,
            "for another name: o.example.com",
        ),
        ("a subject alone", named_by_subject, HOST, another),
        ("expired", valid(2020, 2021), HOST, "has expired"),
        ("not valid yet", valid(2090, 2099), HOST, "is not valid yet"),
        ("for clients", meant_for(ExtendedKeyUsagePurpose::ClientAuth), HOST, purpose),
        ("for mail", meant_for(ExtendedKeyUsagePurpose::EmailProtection), HOST, purpose),
        ("an authority", authority_itself, HOST, "is an authority's own (CA:TRUE)"),
        ("a wildcard, too deep", ordinary(&[dns("*.example.com")]), "a.b.example.com", another),
        ("a wildcard, the apex", ordinary(&[dns("*.example.com")]), "example.com", another),
        ("an address for a name", ordinary(&[dns("192.0.2.7.example.com")]), "192.0.2.7", another),
        ("a URI", ordinary(&[uri]), HOST, another),
        ("an address of mail", ordinary(&[email]), HOST, another),
    ];
    for (what, params, host, expected) in cases {
        let said = lab.meet_ordinary(&params, host);
        assert!(said.starts_with("Untrusted: its certificate "), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let lab = Lab::new();
    let shown = issue(&authority("another"), &ordinary(&[dns(HOST)]));
    let said = lab.meet(&shown, HOST, &json!({ "trust": "lab" }));
    assert_eq!(said, "Untrusted: its certificate is not from an authority that is trusted here");
    // Issued by what is no authority, and shown with it.
    let leaf = issue(&lab.issuer, &ordinary(&[dns("leaf.example.com")]));
    let key = KeyPair::generate().unwrap();
    let params = ordinary(&[dns("leaf.example.com")]);
    let issuer = rcgen::Issuer::from_params(&params, &leaf.key);
    let below = ordinary(&[dns(HOST)]).signed_by(&key, &issuer).unwrap();
    let shown = Shown { chain: vec![below.der().clone(), leaf.chain[0].clone()], key };
    let said = lab.meet(&shown, HOST, &json!({ "trust": "lab" }));
    let expected = "Untrusted: its certificate was issued by one that is no authority's (CA:FALSE)";
    assert_eq!(said, expected);
    let outside = issue(&lab.constrained, &ordinary(&[dns("host.example.net")]));
    let said = lab.meet(&outside, "host.example.net", &json!({ "trust": "constrained" }));
    assert!(said.contains("a name that its authority may not certify"), "{said}");
}

#[test]
fn what_is_revoked_is_not_trusted_and_a_list_out_of_date_trusts_nobody() {
    let lab = Lab::new();
    let mut params = ordinary(&[dns(HOST)]);
    params.serial_number = Some(SerialNumber::from(7_u64));
    let revoked = issue(&lab.issuer, &params);
    let said = lab.meet(&revoked, HOST, &json!({ "trust": "listed" }));
    assert_eq!(said, "Untrusted: its certificate has been revoked");
    params.serial_number = Some(SerialNumber::from(8_u64));
    let other = issue(&lab.issuer, &params);
    let said = lab.meet(&other, HOST, &json!({ "trust": "stale" }));
    assert_eq!(
        said,
        "Untrusted: its certificate cannot be judged: the list of revoked certificates is out of \
         date"
    );
}

#[test]
fn a_pin_narrows_and_alone_it_is_enough_only_where_that_is_said() {
    let lab = Lab::new();
    let shown = issue(&lab.issuer, &ordinary(&[dns(HOST)]));
    let other = issue(&lab.issuer, &ordinary(&[dns(HOST)]));
    let meet = |shown: &Shown, trust: &str, pin: String| {
        lab.meet(shown, HOST, &json!({ "trust": trust, "pin": pin }))
    };
    assert_eq!(meet(&shown, "lab", shown.pin()), "");
    let not_pinned = "Untrusted: its certificate has a key that is not pinned";
    assert_eq!(meet(&shown, "lab", other.pin()), not_pinned);
    let stranger = issue(&authority("another"), &ordinary(&[dns("elsewhere.example.com")]));
    assert!(meet(&stranger, "lab", stranger.pin()).contains("not from an authority"));
    assert_eq!(meet(&stranger, "pin", stranger.pin()), "");
    assert_eq!(meet(&stranger, "pin", shown.pin()), not_pinned);
    let said = lab.meet(&shown, HOST, &json!({ "trust": "pin" }));
    assert_eq!(said, "InvalidRequest: trust=pin needs a pin");
}

#[test]
fn the_protocol_inside_has_to_be_agreed_on() {
    let lab = Lab::new();
    let shown = issue(&lab.issuer, &ordinary(&[dns(HOST)]));
    let with = |protocols: &[&str]| {
        let mut config = server_config(&shown);
        config.alpn_protocols = protocols.iter().map(|one| one.as_bytes().to_vec()).collect();
        config
    };
    let trust = json!({ "trust": "lab" });
    for protocols in [&["h2"][..], &[]] {
        let (near, _talk) = far::server(with(protocols));
        let (_call, answer) = lab.tlsd.wrap_for(Some("pong"), HOST, &trust, near);
        let said = answer.said();
        assert!(said.starts_with("Protocol: the far end does not speak"), "{said}");
    }
    let (near, _talk) = far::server(with(&["h2"]));
    let options = json!({ "trust": "lab", "alpn": "h2" });
    assert_eq!(lab.tlsd.wrap(HOST, &options, near).1.said(), "");
    let (near, _talk) = far::server(with(&[]));
    let said = lab.tlsd.wrap(HOST, &options, near).1.said();
    assert_eq!(said, "Protocol: the far end does not speak \"h2\"");
}

#[test]
fn options_that_cannot_be_used_say_so() {
    let lab = Lab::new();
    let cases = [
        (json!({ "trust": "nobody" }), "tlsd.toml has no table [trust.nobody]"),
        (json!({ "certificate": "none" }), "tlsd.toml has no table [certificate.none]"),
        (json!({ "psk": "none" }), "psk is between two daemons of ipcd"),
        (json!({ "starttls": "pop3" }), "starttls=pop3 is not in this version"),
        (json!({ "insecure": "true" }), "insecure is not an option of tls"),
        (json!({ "pin": "sha256-x" }), "pin wants sha256- and 44 characters of base64"),
    ];
    for (options, expected) in cases {
        let (near, _far) = far::pair();
        let said = lab.tlsd.wrap(HOST, &options, near).1.said();
        assert!(said.starts_with("InvalidRequest: "), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
