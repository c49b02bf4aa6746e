//! Connecting outward.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use ipcd_tests::transport::Answer;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};

use crate::process::Tcpd;

const ASKED: &[u8] = b"{\"method\":\"org.ipcd.Tunnel.Open\",\"parameters\":\
{\"service\":\"authd\",\"hops\":1},\"upgrade\":true}\0";

/// A call that allows loopback, with other parameters in place of the usual ones.
fn wanted(port: u16, others: &Value) -> Value {
    let loopback = json!({ "network": "127.0.0.0/8", "allow": true, "rule": "here" });
    let six = json!({ "network": "::1/128", "allow": true, "rule": "here" });
    let mut wanted = json!({
        "host": "127.0.0.1", "port": port, "addresses": [loopback, six],
        "options": {}, "deadlineMs": 10_000,
    });
    for (key, value) in others.as_object().unwrap() {
        wanted[key] = value.clone();
    }
    wanted
}

fn dial(tcpd: &Tcpd, port: u16, others: &Value) -> Answer {
    tcpd.call("Dial", &wanted(port, others)).answer()
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port where nobody listens and nobody will: a connection has it, as long as that lasts.
fn nobodys() -> ((TcpListener, TcpStream), u16) {
    let (listener, port) = listener();
    let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let port = connection.local_addr().unwrap().port();
    ((listener, connection), port)
}

/// A far daemon that reads a hello and answers with `answer`; what it was asked.
fn far_daemon(answer: Vec<u8>) -> (u16, JoinHandle<(TcpStream, Vec<u8>)>) {
    let (listener, port) = listener();
    let far = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        BufReader::new(&socket).read_until(0, &mut asked).unwrap();
        (&socket).write_all(&answer).unwrap();
        (socket, asked)
    });
    (port, far)
}

fn hello() -> Value {
    json!({ "hello": { "service": "authd", "hops": 1 } })
}

#[test]
fn the_answer_is_the_connected_socket_itself() {
    let tcpd = Tcpd::start();
    let (listener, port) = listener();
    for host in ["127.0.0.1", "::ffff:127.0.0.1", "localhost"] {
        let options = json!({ "nodelay": "true", "keepalive": "30" });
        let answer = dial(&tcpd, port, &json!({ "host": host, "options": options }));
        assert_eq!(*answer.parameter("address"), format!("127.0.0.1:{port}"), "{host}");
        let mut socket = TcpStream::from(answer.descriptor.unwrap());
        let flags = OFlag::from_bits_truncate(fcntl(&socket, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
        assert!(socket.nodelay().unwrap());
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"welcome").unwrap();
        drop(far);
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        assert_eq!(text, "welcome");
        socket.shutdown(Shutdown::Write).unwrap();
    }
}

#[test]
fn a_greeting_right_behind_the_yes_stays_in_the_socket() {
    let tcpd = Tcpd::start();
    let (port, far) = far_daemon(b"{\"parameters\":{}}\x00220 ready".to_vec());
    let answer = dial(&tcpd, port, &hello());
    let (far, asked) = far.join().unwrap();
    assert_eq!(asked, ASKED);
    drop(far);
    let mut text = String::new();
    TcpStream::from(answer.descriptor.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "220 ready");
}

#[test]
fn an_answer_other_than_yes_is_told_for_what_it_is() {
    let tcpd = Tcpd::start();
    let no = br#"{"error":"org.ipcd.Tunnel.Refused","parameters":{"retry":true}}"#;
    let (port, _far) = far_daemon([&no[..], b"\0"].concat());
    let answer = dial(&tcpd, port, &hello());
    assert_eq!((answer.error(), answer.parameter("retry")), ("Refused", &json!(true)));
    assert!(answer.descriptor.is_none());

    let protocol = |bytes: Vec<u8>| {
        let (port, _far) = far_daemon(bytes);
        let answer = dial(&tcpd, port, &hello());
        assert_eq!(answer.error(), "Protocol");
        answer.parameter("reason").as_str().unwrap().to_owned()
    };
    let not_ours = "the far end does not answer as a daemon of ipcd does";
    assert_eq!(protocol(b"HTTP/1.1 400 Bad Request\r\n\r\n\0".to_vec()), not_ours);
    assert_eq!(protocol(vec![b'x'; 16_385]), "more than 16384 bytes before the stream");
}

#[test]
fn a_far_daemon_that_ends_or_stays_silent_is_no_connection() {
    let tcpd = Tcpd::start();
    let (listener, port) = listener();
    let silent = dial(
        &tcpd,
        port,
        &json!({
            "deadlineMs": 1_000, "hello": { "service": "authd", "hops": 1 },
        }),
    );
    assert_eq!(silent.error(), "TimedOut");
    let (mut given_up, _) = listener.accept().unwrap();
    let mut asked = Vec::new();
    given_up.read_to_end(&mut asked).unwrap();
    assert_eq!(asked, ASKED);
    let ending = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        BufReader::new(&socket).read_until(0, &mut Vec::new()).unwrap();
    });
    let answer = dial(&tcpd, port, &hello());
    ending.join().unwrap();
    assert_eq!(answer.error(), "Protocol");
    let reason = "the far end closed the connection instead of answering";
    assert_eq!(*answer.parameter("reason"), reason);
}

#[test]
fn addresses_are_decided_by_the_list_alone() {
    let tcpd = Tcpd::start();
    let (listener, port) = listener();
    let rule = |network: &str, allow: bool| json!({ "network": network, "allow": allow, "rule": "a.toml:1" });
    let cases = [
        (json!([]), "no rule allows this address"),
        (json!([rule("127.0.0.1/32", false), rule("127.0.0.0/8", true)]), "a.toml:1"),
        (json!([rule("0.0.0.0/0", true)]), "an address of this host, which a.toml:1 does not name"),
    ];
    for (list, expected) in cases {
        for host in ["127.0.0.1", "localhost"] {
            let list = json!({ "host": host, "addresses": list });
            let answer = dial(&tcpd, port, &list);
            assert_eq!(answer.error(), "AddressDenied", "{list}");
            if host == "127.0.0.1" {
                assert_eq!(*answer.parameter("rule"), expected);
            }
        }
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nothing was tried");
}

#[test]
fn what_cannot_be_done_is_told_with_whether_it_can_help_to_try_again() {
    let tcpd = Tcpd::start();
    let (_occupied, port) = nobodys();
    let answer = dial(&tcpd, port, &json!({}));
    assert_eq!((answer.error(), answer.parameter("retry")), ("Unreachable", &json!(true)));
    assert_eq!(*answer.parameter("reason"), "nobody listens there");
    let cases = [
        (json!({ "port": 0 }), "port", "there is no port 0"),
        (json!({ "options": { "alpn": "h2" } }), "options", "alpn is not an option of tcp"),
        (
            json!({ "addresses": [{ "network": "all", "allow": true, "rule": "" }] }),
            "addresses",
            "all is no network",
        ),
        (
            json!({ "hello": { "service": "a", "hops": 1, "user": "u", "secret": "s" } }),
            "hello",
            "a login does not travel over bare TCP",
        ),
    ];
    for (others, field, reason) in cases {
        let answer = dial(&tcpd, port, &others);
        assert_eq!(answer.error(), "InvalidRequest", "{others}");
        assert_eq!(
            (answer.parameter("field"), answer.parameter("reason")),
            (&json!(field), &json!(reason))
        );
    }
}

#[test]
fn a_kept_connection_is_relayed_or_handed_over_and_goes_with_its_call() {
    let tcpd = Tcpd::start();
    let (listener, port) = listener();
    let keep = || {
        let mut call = tcpd.call("Dial", &wanted(port, &json!({ "keep": true })));
        let answer = call.answer();
        assert!(answer.descriptor.is_none());
        let (far, _) = listener.accept().unwrap();
        (call, answer.parameter("id").as_u64().unwrap(), far)
    };
    let (_call, id, mut far) = keep();
    let (mut client, theirs) = UnixStream::pair().unwrap();
    assert_eq!(tcpd.attach(id, Some(theirs.into())).error(), "");
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    far.read_to_string(&mut text).unwrap();
    far.write_all(b"answer").unwrap();
    drop(far);
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "questionanswer");
    assert_eq!(tcpd.attach(id, None).error(), "UnknownId");

    let (_call, id, mut far) = keep();
    let mut socket = TcpStream::from(tcpd.attach(id, None).descriptor.unwrap());
    far.write_all(b"x").unwrap();
    socket.read_exact(&mut [0]).unwrap();

    let (call, id, mut far) = keep();
    drop(call);
    // Asked before the end is waited for, which would come when its time is over too.
    assert_eq!(tcpd.attach(id, None).error(), "UnknownId");
    assert_eq!(far.read(&mut [0]).unwrap(), 0);

    let (_call, id, mut far) = keep();
    assert_eq!(tcpd.call("Close", &json!({ "id": id })).answer().error(), "");
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}
