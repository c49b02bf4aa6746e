//! Peers from other hosts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use ipcd_tests::transport::{Answer, Call};
use serde_json::{Value, json};

use crate::process::Tcpd;

const YES: &[u8] = b"{\"parameters\":{}}\0";

/// How long a peer may take to say what it wants.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// Listens as the broker does. Returns once tcpd has heard that.
fn listen(tcpd: &Tcpd) -> Call {
    let call = tcpd.call("Listen", &json!({}));
    // Calls are heard in the order in which they came.
    tcpd.call("Close", &json!({ "id": 0 })).answer();
    call
}

fn no(retry: bool) -> Vec<u8> {
    let parameters = format!("{{\"retry\":{retry}}}");
    format!("{{\"error\":\"org.ipcd.Tunnel.Refused\",\"parameters\":{parameters}}}\0").into_bytes()
}

fn hello(service: &str) -> String {
    let parameters = json!({ "service": service, "hops": 2 });
    json!({ "method": "org.ipcd.Tunnel.Open", "parameters": parameters, "upgrade": true })
        .to_string()
}

/// A peer that says `bytes`.
fn peer(tcpd: &Tcpd, bytes: &[u8]) -> TcpStream {
    let mut peer = TcpStream::connect(tcpd.address).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    peer.write_all(bytes).unwrap();
    peer
}

fn asking(tcpd: &Tcpd, service: &str, behind: &str) -> TcpStream {
    peer(tcpd, format!("{}\0{behind}", hello(service)).as_bytes())
}

/// Everything that a peer hears until the end.
fn heard(mut peer: TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).unwrap();
    heard
}

fn first_message(peer: &TcpStream) -> Vec<u8> {
    let mut message = Vec::new();
    // One byte at a time: nothing behind the message may be taken.
    BufReader::with_capacity(1, peer).read_until(0, &mut message).unwrap();
    message
}

fn id(arrived: &Answer) -> u64 {
    arrived.parameter("arrival")["id"].as_u64().unwrap()
}

#[test]
fn a_peer_is_told_of_and_its_socket_handed_over_after_the_yes() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    let remote = asking(&tcpd, "authd", "early");
    let arrived = broker.answer();
    let arrival = arrived.parameter("arrival");
    let expected = json!({
        "id": id(&arrived), "scheme": "tcp", "listener": "fleet",
        "address": remote.local_addr().unwrap().to_string(), "service": "authd", "hops": 2,
        "identity": { "names": [] },
    });
    assert_eq!((arrival, &arrived.message["continues"]), (&expected, &json!(true)));
    let answer = tcpd.attach(id(&arrived), None);
    let mut service = TcpStream::from(answer.descriptor.unwrap());
    assert_eq!(first_message(&remote), YES);
    let mut text = [0; 5];
    service.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"early");
    service.write_all(b"hi").unwrap();
    drop(service);
    assert_eq!(heard(remote), b"hi");
}

#[test]
fn a_service_behind_a_door_is_relayed_to_and_the_yes_comes_first() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    let path = tcpd.directory.path().join("service");
    let service = UnixListener::bind(&path).unwrap();
    let door = || sys::door::open_path(&path).unwrap().descriptor;
    let mut remote = asking(&tcpd, "authd", "question");
    let arrived = broker.answer();
    assert_eq!(tcpd.attach(id(&arrived), Some(door())).error(), "");
    let (mut serving, _) = service.accept().unwrap();
    serving.write_all(b"answer").unwrap();
    assert_eq!(first_message(&remote), YES);
    remote.write_all(b"?").unwrap();
    remote.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    serving.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question?");
    drop(serving);
    assert_eq!(heard(remote), b"answer");
    assert_eq!(broker.answer().parameter("ended"), &json!(id(&arrived)));

    drop(service);
    let remote = asking(&tcpd, "authd", "");
    let answer = tcpd.attach(id(&broker.answer()), Some(door()));
    assert_eq!((answer.error(), answer.parameter("retry")), ("Unreachable", &json!(true)));
    assert_eq!(heard(remote), no(true));
}

#[test]
fn the_broker_can_end_what_is_relayed_and_is_told_that_it_is_over() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("authd");
    let service = UnixListener::bind(&path).unwrap();
    let mut remotes = Vec::new();
    for _ in 0..2 {
        remotes.push(asking(&tcpd, "authd", ""));
        let number = id(&broker.answer());
        let door = sys::door::open_path(&path).unwrap().descriptor;
        assert_eq!(tcpd.attach(number, Some(door)).error(), "");
        let (serving, _) = service.accept().unwrap();
        assert_eq!(first_message(remotes.last().unwrap()), YES);
        if remotes.len() == 1 {
            assert_eq!(tcpd.call("Close", &json!({ "id": number })).answer().error(), "");
            assert_eq!(broker.answer().parameter("ended"), &json!(number));
            let again = tcpd.call("Close", &json!({ "id": number })).answer();
            assert_eq!((again.error(), again.parameter("id")), ("UnknownId", &json!(number)));
            let error = remotes[0].read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        } else {
            // The other one is untouched.
            (&serving).write_all(b"x").unwrap();
            remotes[1].read_exact(&mut [0]).unwrap();
        }
    }
}

#[test]
fn the_broker_s_no_reaches_the_peer() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    for retry in [true, false] {
        let remote = asking(&tcpd, "authd", "bytes that nobody reads");
        let refuse = json!({ "id": id(&broker.answer()), "retry": retry });
        assert_eq!(tcpd.call("Refuse", &refuse).answer().error(), "");
        assert_eq!(heard(remote), no(retry));
    }
    let remote = asking(&tcpd, "authd", "");
    let close = json!({ "id": id(&broker.answer()) });
    assert_eq!(tcpd.call("Close", &close).answer().error(), "");
    assert_eq!(heard(remote), b"");
    for method in ["Refuse", "Close", "Attach"] {
        let answer = tcpd.call(method, &json!({ "id": 99_999, "retry": false })).answer();
        assert_eq!((answer.error(), answer.parameter("id")), ("UnknownId", &Value::from(99_999)));
    }
}

#[test]
fn without_a_broker_a_peer_is_asked_to_try_again() {
    let tcpd = Tcpd::start();
    assert_eq!(heard(asking(&tcpd, "authd", "")), no(true));
    drop(listen(&tcpd));
    tcpd.call("Close", &json!({ "id": 0 })).answer();
    assert_eq!(heard(asking(&tcpd, "authd", "")), no(true));
}

#[test]
fn a_plain_client_of_a_listener_s_service_says_and_hears_nothing_of_ours() {
    let tcpd = Tcpd::configured("[listen.mail]\naddress = \"127.0.0.1:0\"\nservice = \"imap\"\n");
    assert_eq!(heard(peer(&tcpd, b"")), b"", "nobody is there to decide");
    let mut broker = listen(&tcpd);
    let mut remote = peer(&tcpd, b"");
    let arrived = broker.answer();
    let arrival = arrived.parameter("arrival");
    assert_eq!((&arrival["listener"], &arrival["service"]), (&json!("mail"), &json!("imap")));
    assert_eq!(arrival["hops"], Value::Null);
    let answer = tcpd.attach(id(&arrived), None);
    let mut service = TcpStream::from(answer.descriptor.unwrap());
    service.write_all(b"* OK").unwrap();
    drop(service);
    let mut text = String::new();
    remote.read_to_string(&mut text).unwrap();
    assert_eq!(text, "* OK");

    let remote = peer(&tcpd, b"a login");
    let refuse = json!({ "id": id(&broker.answer()), "retry": false });
    assert_eq!(tcpd.call("Refuse", &refuse).answer().error(), "");
    assert_eq!(heard(remote), b"");
}

#[test]
fn an_inherited_listener_has_the_name_and_the_service_that_it_was_given() {
    let inherited = || TcpListener::bind("127.0.0.1:0").unwrap();
    let cases =
        [("", Value::from("authd")), ("[listen.mail]\nservice = \"imap\"\n", Value::from("imap"))];
    for (config, service) in cases {
        let tcpd = Tcpd::inheriting(inherited(), "mail", config);
        let mut broker = listen(&tcpd);
        let _remote = asking(&tcpd, "authd", "");
        let arrived = broker.answer();
        let arrival = arrived.parameter("arrival");
        assert_eq!((&arrival["listener"], &arrival["service"]), (&json!("mail"), &service));
    }
}

#[test]
fn the_newest_who_listens_is_told() {
    let tcpd = Tcpd::start();
    let _older = listen(&tcpd);
    let mut newer = listen(&tcpd);
    let _remote = asking(&tcpd, "authd", "");
    assert_eq!(newer.answer().parameter("arrival")["service"], "authd");
}

#[test]
fn what_is_no_hello_is_refused_and_never_told_of() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    let too_far = hello("authd").replace("\"hops\":2", "\"hops\":9");
    let hostile = ["GET / HTTP/1.1\r\n\r\n\0", "{}\0", &(too_far + "\0")];
    for bytes in hostile
        .map(str::to_owned)
        .into_iter()
        .chain(["../authd", "a/b", "", "-x", "ipc\n"].map(|service| hello(service) + "\0"))
    {
        assert_eq!(heard(peer(&tcpd, bytes.as_bytes())), no(false), "{bytes:?}");
    }
    let _remote = asking(&tcpd, "last", "");
    assert_eq!(broker.answer().parameter("arrival")["service"], "last");
}

#[test]
fn a_hello_of_16_kib_is_heard_and_a_longer_one_is_not() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    let hello = hello("authd");
    let padded = |length: usize| hello.clone() + &" ".repeat(length - hello.len());
    let _longest = peer(&tcpd, (padded(16 * 1024) + "\0").as_bytes());
    assert_eq!(broker.answer().parameter("arrival")["service"], "authd");
    assert_eq!(heard(peer(&tcpd, padded(16 * 1024 + 1).as_bytes())), no(false));
}

#[test]
fn silent_peers_of_one_source_hold_64_places_for_5_seconds() {
    let tcpd = Tcpd::start();
    let mut broker = listen(&tcpd);
    let mut silent: Vec<_> = (0..64).map(|_| peer(&tcpd, b"{\"meth")).collect();
    let mut one_too_many = TcpStream::connect(tcpd.address).unwrap();
    // At once, not only when its time is over as well.
    one_too_many.set_read_timeout(Some(HELLO_TIME / 2)).unwrap();
    assert_eq!(one_too_many.read(&mut [0]).unwrap(), 0);
    assert_eq!(heard(silent.remove(0)), b"");
    let _remote = asking(&tcpd, "authd", "");
    assert_eq!(broker.answer().parameter("arrival")["service"], "authd");
}
