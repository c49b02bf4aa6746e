//! A daemon that was taken over lies to the broker: no client gets what it did not ask for.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipcd_tests::rogue::{Answer, dialed, take_place};
use ipcd_tests::{Host, PATIENCE};
use libipc::interface::transport::Dial;

/// A far service, and a host whose clients may reach it, and nothing else.
fn far_and_host() -> (TcpListener, SocketAddr, Host) {
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = far.local_addr().unwrap();
    let rule = format!("allow out far tcp:{address}");
    let host = Host::new(&["--rule", &rule]).with_pongd("pongd");
    (far, address, host)
}

fn far_target(address: SocketAddr) -> String {
    format!("far tcp://{address}")
}

fn connected(address: SocketAddr) -> OwnedFd {
    TcpStream::connect(address).unwrap().into()
}

/// A way to lie.
type Lie = fn(&Dial, SocketAddr, &PathBuf) -> Vec<Answer>;

fn with(dial: &Dial, descriptor: impl Into<OwnedFd>) -> Vec<Answer> {
    vec![(dialed(dial), vec![descriptor.into()])]
}

/// What does not fit what was asked for, with what the client hears then.
const LIES: [(&str, Lie, &str); 15] = [
    ("a device", |dial, _, _| with(dial, File::open("/dev/null").unwrap()), "protocol"),
    ("a directory", |dial, _, _| with(dial, File::open("/").unwrap()), "protocol"),
    ("a listener", |dial, _, _| with(dial, TcpListener::bind("127.0.0.1:0").unwrap()), "protocol"),
    (
        "a place in the file system",
        |dial, _, broker| {
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(nix::libc::O_PATH);
            with(dial, options.open(broker).unwrap())
        },
        "protocol",
    ),
    (
        "the broker itself",
        |dial, _, broker| with(dial, UnixStream::connect(broker).unwrap()),
        "protocol",
    ),
    (
        "a socket of this host",
        |dial, _, _| {
            let (near, far) = UnixStream::pair().unwrap();
            std::mem::forget(far);
            with(dial, near)
        },
        "protocol",
    ),
    (
        "datagrams",
        |dial, address, _| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(address).unwrap();
            with(dial, socket)
        },
        "protocol",
    ),
    (
        "a socket that is not connected",
        |dial, _, _| {
            use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
            let flags = SockFlag::SOCK_CLOEXEC;
            with(dial, socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap())
        },
        "protocol",
    ),
    (
        "another port",
        |dial, _, _| {
            let other = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = connected(other.local_addr().unwrap());
            std::mem::forget(other.accept().unwrap());
            with(dial, socket)
        },
        "protocol",
    ),
    (
        "the same port of another address",
        |dial, address, _| {
            let other = TcpListener::bind(("127.0.0.77", address.port())).unwrap();
            let socket = connected(other.local_addr().unwrap());
            // Accepted, so that the connection outlives the listener.
            std::mem::forget(other.accept().unwrap());
            with(dial, socket)
        },
        "denied",
    ),
    ("nothing", |dial, _, _| vec![(dialed(dial), Vec::new())], "protocol"),
    (
        "two at once",
        |dial, address, _| vec![(dialed(dial), vec![connected(address), connected(address)])],
        "cannot connect",
    ),
    (
        "garbage",
        |_, address, _| vec![(b"garbage\0".to_vec(), vec![connected(address)])],
        "protocol",
    ),
    ("too much", |_, _, _| vec![(vec![b'x'; 128 * 1024], Vec::new())], "cannot connect"),
    (
        "an error that nobody knows",
        |_, address, _| {
            let bytes = b"{\"error\":\"org.example.No\",\"parameters\":{}}\0".to_vec();
            vec![(bytes, vec![connected(address)])]
        },
        "protocol",
    ),
];

#[test]
fn what_was_not_asked_for_reaches_no_client_and_stays_nowhere() {
    let (far, address, host) = far_and_host();
    let broker = host.rundir().join("ipc");
    let turn = Arc::new(Mutex::new(None::<Lie>));
    let lie = Arc::clone(&turn);
    take_place(
        &host,
        Box::new(move |dial| match *lie.lock().unwrap() {
            Some(lie) => lie(dial, address, &broker),
            None => with(dial, connected(address)),
        }),
    );
    let target = far_target(address);
    drop(host.connect("far", &target).expect("an honest answer is a connection"));
    drop(far.accept().unwrap());
    far.set_nonblocking(true).unwrap();
    assert_eq!(host.ping("pongd", ""), "ping");
    let before = host.at_rest();
    for (what, lie, expected) in LIES {
        *turn.lock().unwrap() = Some(lie);
        let said = host.connect("far", &target).expect_err(what).to_string();
        assert!(said.starts_with(expected), "{what}: {said}");
        assert_eq!(host.ping("pongd", ""), "ping", "{what}");
        host.until_back(what, before);
        while let Ok((mut made, _)) = far.accept() {
            made.set_read_timeout(Some(PATIENCE)).unwrap();
            ends(&mut made, what);
        }
    }
}

/// Whoever has the other end has closed it.
fn ends(stream: &mut TcpStream, what: &str) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0, "{what}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}"),
    }
}

/// A daemon that tells when it is asked, and answers when it is told to.
fn slow(host: &Host, address: SocketAddr) -> (Receiver<()>, SyncSender<()>) {
    let (asked, is_asked) = channel();
    let (go, may_go) = sync_channel(16);
    let may_go = Mutex::new(may_go);
    take_place(
        host,
        Box::new(move |dial| {
            asked.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
            with(dial, connected(address))
        }),
    );
    (is_asked, go)
}

#[test]
fn an_answer_that_comes_too_late_is_nobodys() {
    let (far, address, host) = far_and_host();
    let (asked, go) = slow(&host, address);
    let target = far_target(address);
    let short = Duration::from_secs(1);
    let said = host.connect_within(short, "far", &target).unwrap_err().to_string();
    assert!(said.starts_with("timed out"), "{said}");
    asked.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    let (mut late, _) = far.accept().unwrap();
    ends(&mut late, "the late one");
    go.send(()).unwrap();
    let stream = host.connect("far", &target).unwrap();
    let (own, _) = far.accept().unwrap();
    let peer = sys::socket::local_address(std::os::fd::AsFd::as_fd(&stream)).unwrap().unwrap();
    assert_eq!(own.peer_addr().unwrap(), peer, "the next request has its own connection");
}

#[test]
fn a_rule_that_changes_while_a_connection_is_made_decides_about_it() {
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = far.local_addr().unwrap();
    let allowed = format!("rules = 'allow out far tcp:{address}'");
    let host = Host::with_config(&allowed, &[]);
    let (asked, go) = slow(&host, address);
    let connect = || host.connect("far", &far_target(address)).map(drop);
    std::thread::scope(|scope| {
        let client = scope.spawn(connect);
        asked.recv_timeout(PATIENCE).unwrap();
        host.configure("rules = 'deny out far * reason \"closed\"'");
        assert!(host.ipc(&["reload"]).status().unwrap().success());
        go.send(()).unwrap();
        let said = client.join().unwrap().unwrap_err().to_string();
        assert!(said.starts_with("denied"), "{said}");
    });
    let (mut made, _) = far.accept().unwrap();
    ends(&mut made, "denied by now");
    host.configure(&allowed);
    assert!(host.ipc(&["reload"]).status().unwrap().success());
    std::thread::scope(|scope| {
        let client = scope.spawn(connect);
        asked.recv_timeout(PATIENCE).unwrap();
        assert!(host.ipc(&["reload"]).status().unwrap().success(), "the same rules again");
        go.send(()).unwrap();
        client.join().unwrap().expect("they still allow it");
    });
}

#[test]
fn an_answer_given_twice_is_one_connection() {
    let (far, address, host) = far_and_host();
    take_place(
        &host,
        Box::new(move |dial| {
            vec![(dialed(dial), vec![connected(address)]), (dialed(dial), vec![connected(address)])]
        }),
    );
    let stream = host.connect("far", &far_target(address)).unwrap();
    let own = sys::socket::local_address(std::os::fd::AsFd::as_fd(&stream)).unwrap().unwrap();
    for _ in 0..2 {
        let (mut made, peer) = far.accept().unwrap();
        if peer != own {
            ends(&mut made, "the second");
        }
    }
}

/// Peers that a daemon tells of at once. No more, so that its place has room for all calls.
const CROWD: u64 = 64;

/// Tells the broker of a peer.
fn tell(listen: &mut UnixStream, id: u64) {
    let arrival = serde_json::json!({
        "id": id, "scheme": "tcp", "listener": "fleet", "address": "127.0.0.1:9",
        "service": "pongd", "hops": 1, "identity": { "names": [] },
    });
    let told = serde_json::json!({ "parameters": { "arrival": arrival }, "continues": true });
    listen.write_all(format!("{told}\0").as_bytes()).unwrap();
}

/// A call that the broker makes about a peer: its method, and its parameters.
fn called(place: &UnixListener) -> (UnixStream, String, serde_json::Value) {
    let (mut caller, _) = place.accept().unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    while caller.read(&mut byte).unwrap() == 1 && byte != [0] {
        text.extend(byte);
    }
    let call: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let method = call["method"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
    (caller, method, call["parameters"].clone())
}

#[test]
fn calls_that_are_never_answered_are_bounded_and_a_peer_beyond_is_told_to_come_again() {
    let host = Host::new(&["--rule", "allow in pongd tcp:127.0.0.0/8"]).with_pongd("pongd");
    let before = host.at_rest();
    let place = UnixListener::bind(host.rundir().join("transport/tcp")).unwrap();
    let (mut listen, method, _) = called(&place);
    assert_eq!(method, "Listen");
    let mut held = Vec::new();
    let mut flood = |ids: std::ops::Range<u64>, listen: &mut UnixStream| {
        for first in ids.clone().step_by(usize::try_from(CROWD).unwrap()) {
            (first..first + CROWD).for_each(|id| tell(listen, id));
            for id in first..first + CROWD {
                let (caller, method, parameters) = called(&place);
                held.push(caller);
                let expected = if id < 8_192 {
                    ("Attach", serde_json::json!({ "id": id }))
                } else {
                    ("Refuse", serde_json::json!({ "id": id, "retry": true }))
                };
                assert_eq!((method.as_str(), parameters), expected);
            }
        }
    };
    flood(0..8_192 + 1_024, &mut listen);
    (10_000..10_000 + CROWD).for_each(|id| tell(&mut listen, id));
    assert_eq!(host.ping("pongd", ""), "ping", "programs of this host are served");
    held.clear();
    host.until_back("what it held before, and who tells of peers", before + 1);
    tell(&mut listen, 20_000);
    let (_, method, parameters) = called(&place);
    assert_eq!((method.as_str(), parameters), ("Attach", serde_json::json!({ "id": 20_000 })));
}
