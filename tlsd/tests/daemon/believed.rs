//! What is believed about far ends, and for how long.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipcd_tests::transport::Answer;
use rcgen::{CertificateParams, SanType, SerialNumber};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::authority::{Files, Issuer, Shown, authority, crl, dns, issue, ordinary};
use crate::far::{self, client_config, server_config};
use crate::process::{PATIENCE, Tlsd};

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

/// A client that is let in and stays: its end, and the plain one.
fn open(
    tlsd: &Tlsd,
    client: &Arc<ClientConfig>,
) -> (StreamOwned<ClientConnection, UnixStream>, UnixStream) {
    let (near, far) = far::pair();
    let name = ServerName::try_from(HOST).unwrap();
    let connection = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut call = tlsd.serve("plain", near);
    let mut far = StreamOwned::new(connection, far);
    far.write_all(b"x").unwrap();
    let answer = call.answer();
    let mut plain = call.attach(&answer.parameter("arrival")["id"]);
    plain.read_exact(&mut [0]).unwrap();
    (far, plain)
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

fn in_a_year() -> SystemTime {
    SystemTime::now() + Duration::from_secs(365 * 24 * 3600)
}

fn numbered(serial: u64) -> CertificateParams {
    let mut params = ordinary(&[dns("web1.example.com")]);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

/// A table `[trust.peers]` with a list of what is revoked.
fn with_list(files: &Files, lab: &Issuer, serials: &[u64], end: SystemTime) -> String {
    let path = files.write("peers.crl", &crl(lab, serials, end));
    files.trust("peers", lab, &format!("crl = '{}'", path.display()))
}

#[test]
fn who_is_revoked_does_not_get_in_and_by_a_list_out_of_date_nobody_does() {
    let (files, lab) = (Files::new(), authority("lab"));
    let [seven, eight] =
        [7, 8].map(|serial| Arc::new(client_config(&lab, Some(&issue(&lab, &numbered(serial))))));
    let tlsd = listening(&files, &lab, &with_list(&files, &lab, &[7], in_a_year()));
    assert_eq!(meet(&tlsd, &seven).0.said(), "Untrusted: its certificate has been revoked");
    assert!(meet(&tlsd, &eight).1.is_some());
    let past = SystemTime::now().checked_sub(Duration::from_secs(60)).unwrap();
    let tlsd = listening(&files, &lab, &with_list(&files, &lab, &[7], past));
    let said = meet(&tlsd, &eight).0.said();
    assert!(said.ends_with("the list of revoked certificates is out of date"), "{said}");
}

#[test]
fn a_reload_has_new_peers_see_the_new_certificate_and_refuses_who_is_revoked_since() {
    let (files, lab) = (Files::new(), authority("lab"));
    let client = Arc::new(client_config(&lab, Some(&issue(&lab, &numbered(7)))));
    let other = Arc::new(client_config(&lab, Some(&issue(&lab, &numbered(8)))));
    let mut tlsd = listening(&files, &lab, &with_list(&files, &lab, &[], in_a_year()));
    let (mut kept, mut plain) = open(&tlsd, &client);
    assert!(meet(&tlsd, &client).1.is_some());
    assert!(meet(&tlsd, &client).1.unwrap().1, "it has a ticket");
    let new = authority("new");
    let host = issue(&new, &ordinary(&[dns(HOST)]));
    let listen = "[listen.plain]\ncertificate = 'host'\nclients = 'peers'\nservice = 'pong'\n";
    let trust = with_list(&files, &lab, &[7], in_a_year());
    let config = [listen, &files.certificate("host", &host), &trust].concat();
    assert_eq!(tlsd.reload(&config)["event"], "reloaded");
    // Who believes the new authority meets it, and who believes the old one alone does not.
    let newer = Arc::new(client_config(&new, Some(&issue(&lab, &numbered(9)))));
    assert!(meet(&tlsd, &newer).1.is_some());
    let (near, talk) = far::client(&other, b"hello");
    let _call = tlsd.serve("plain", near);
    assert!(talk.join().unwrap().unwrap_err().contains("UnknownIssuer"));
    let revoked = Arc::new(client_config(&new, Some(&issue(&lab, &numbered(7)))));
    assert_eq!(meet(&tlsd, &revoked).0.said(), "Untrusted: its certificate has been revoked");
    // The connection of before is as it was.
    kept.write_all(b"kept").unwrap();
    let mut word = [0; 4];
    plain.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"kept");
}

/// Meets far ends, which are let in for now, until one is not; what is said then. Tickets are of
/// use meanwhile.
fn until_refused(mut meet: impl FnMut() -> Result<bool, String>) -> String {
    let end = Instant::now() + PATIENCE;
    let mut resumed = 0;
    loop {
        match meet() {
            Ok(is_resumed) => resumed += usize::from(is_resumed),
            Err(said) => {
                assert!(resumed > 0, "no session was ever resumed: {said}");
                return said;
            }
        }
        assert!(Instant::now() < end, "it is let in after {resumed} tickets, and for ever");
    }
}

/// A moment that comes soon, and not before a few have met.
fn soon() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3)
}

#[test]
fn by_a_ticket_nobody_gets_in_when_the_list_of_revoked_is_out_of_date() {
    let (files, lab) = (Files::new(), authority("lab"));
    let client = Arc::new(client_config(&lab, Some(&issue(&lab, &numbered(8)))));
    let tlsd = listening(&files, &lab, &with_list(&files, &lab, &[7], soon()));
    let said = until_refused(|| match meet(&tlsd, &client) {
        (_, Some((_, is_resumed))) => Ok(is_resumed),
        (answer, None) => Err(answer.said()),
    });
    assert!(said.ends_with("the list of revoked certificates is out of date"), "{said}");
}

#[test]
fn by_a_ticket_nobody_gets_in_whose_certificate_has_ended_and_others_still_do() {
    let (files, lab) = (Files::new(), authority("lab"));
    let mut ending = numbered(8);
    ending.not_after = soon().into();
    let client = Arc::new(client_config(&lab, Some(&issue(&lab, &ending))));
    let other = Arc::new(client_config(&lab, Some(&issue(&lab, &numbered(9)))));
    let tlsd = listening(&files, &lab, &files.trust("peers", &lab, ""));
    let said = until_refused(|| match meet(&tlsd, &client) {
        (_, Some((_, is_resumed))) => Ok(is_resumed),
        (answer, None) => Err(answer.said()),
    });
    assert!(said.contains("has expired"), "{said}");
    assert!(!meet(&tlsd, &other).1.unwrap().1);
    assert!(meet(&tlsd, &other).1.unwrap().1, "tickets are of use again");
}

#[test]
fn a_server_is_looked_at_again_when_its_certificate_has_ended() {
    let (files, lab) = (Files::new(), authority("lab"));
    let mut ending = ordinary(&[dns(HOST)]);
    ending.not_after = soon().into();
    let config = Arc::new(server_config(&issue(&lab, &ending)));
    let tlsd = Tlsd::start(&files.trust("lab", &lab, ""));
    let options: Value = json!({ "trust": "lab" });
    let said = until_refused(|| {
        let (near, mut far) = far::pair();
        let config = Arc::clone(&config);
        let talk = std::thread::spawn(move || {
            let mut connection = rustls::ServerConnection::new(config).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut far);
            // It may not be believed.
            let _refused =
                stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"x")).is_err();
            connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
        });
        let (mut call, answer) = tlsd.wrap(HOST, &options, near);
        if !answer.said().is_empty() {
            return Err(answer.said());
        }
        let mut plain = call.attach(answer.parameter("id"));
        plain.write_all(b"x").unwrap();
        plain.read_exact(&mut [0]).unwrap();
        Ok(talk.join().unwrap())
    });
    assert!(said.contains("has expired"), "{said}");
}
