//! Broker sockets that are inherited: each process asks as itself, and as nobody else.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use ipcd_tests::raw::{ADOPT, Raw};
use ipcd_tests::users::{as_user, has_users, inherit};
use ipcd_tests::{Daemon, Host, PATIENCE, accept, binaries, installed, outcome, program, until};
use libipc::identity::Identity;
use libipc::rundir::Instance;
use libipc::{Broker, Listener, ServiceName, Stream};
use serde_json::{Value, json};
use sys::socket::SocketKind;

/// A broker of the system's kind, a service that everybody may ask for, and a socket to that
/// broker that this process has opened.
fn system() -> (Host, Listener) {
    let host = Host::new(&["--instance", "system", "--rule", "allow local who"]);
    let name = ServiceName::new("who").unwrap();
    let listener = Listener::bind_in(&host.directory(Instance::System), &name).unwrap();
    (host, listener)
}

fn broker_socket(host: &Host) -> OwnedFd {
    let directory = host.directory(Instance::System);
    Broker::open(&directory, Instant::now() + PATIENCE).unwrap().into_socket()
}

/// Tells a client who it is, as the broker says and as the kernel does.
fn tell(mut stream: Stream) {
    let Some(Identity::Local(told)) = stream.peer().cloned() else { panic!("no peer") };
    let seen = libipc::identity::LocalIdentity::of_peer(stream.as_fd()).unwrap();
    assert_eq!((seen.pid, seen.uid, seen.gid), (told.pid, told.uid, told.gid));
    let (pid, uid) = (told.pid.unwrap(), told.uid.unwrap());
    writeln!(stream, "{uid} {pid}").unwrap();
}

#[test]
fn fifty_processes_share_one_inherited_socket_and_each_is_itself() {
    if !has_users() {
        return;
    }
    let (host, listener) = system();
    let shared = broker_socket(&host);
    let users: Vec<u32> =
        (0..50).map(|number| if number % 10 == 0 { 0 } else { 4700 + number % 7 }).collect();
    let clients = users.iter().map(|uid| {
        let mut command = as_user(*uid, &[]);
        inherit(&mut command, shared.try_clone().unwrap());
        command.arg(program("ipc").get_program()).args(["connect", "who"]);
        Daemon(command.stdout(Stdio::piped()).spawn().unwrap())
    });
    let clients: Vec<_> = clients.collect();
    for _ in &users {
        tell(accept(&listener));
    }
    for (uid, mut client) in users.into_iter().zip(clients) {
        let mut said = String::new();
        client.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, format!("{uid} {}\n", client.pid()));
        assert!(client.0.wait().unwrap().success());
    }
    // The shared socket has said nothing to anybody, and is good for more.
    let shared = UnixStream::from(shared);
    shared.set_nonblocking(true).unwrap();
    assert!((&shared).read(&mut [0]).is_err());
}

#[test]
fn a_program_that_may_open_no_socket_reaches_services_with_doors_too() {
    let host = Host::new(&[]).with_pongd("pongd");
    let directory = host.directory(Instance::Private);
    let shared = Broker::open(&directory, Instant::now() + PATIENCE).unwrap().into_socket();
    let environment = libipc::environment::Environment {
        broker_fd: Some(std::os::fd::AsRawFd::as_raw_fd(&shared)),
        ..Default::default()
    };
    let asked = libipc::connector::Connector::new(&environment, PATIENCE).unwrap();
    for _ in 0..3 {
        let mut stream = asked.connect(&ServiceName::new("pongd").unwrap()).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
    }
    let error = asked.connect(&ServiceName::new("nobody").unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("unknown service"), "{error}");
}

#[test]
fn what_another_process_asks_on_an_inherited_socket_is_refused_and_ends_it() {
    if !has_users() {
        return;
    }
    let (host, _listener) = system();
    for uid in [0, 4711] {
        for method in ["Broker.Connect", "Broker.Restrict", "Control.Status", "Broker.Register"] {
            let mut opened = Raw::to(&host);
            let mut command = as_user(uid, &[]);
            inherit(&mut command, opened.0.try_clone().unwrap().into());
            let call = json!({"method": format!("org.ipcd.{method}"), "parameters":
                {"service": "who", "take": ["door"], "services": []}});
            let script = format!("printf '%s\\0' '{call}' >&3");
            assert_eq!(outcome(command.args(["sh", "-c", &script])).0, 0);
            let answer = opened.answer().unwrap();
            assert_eq!(answer["error"], "org.ipcd.Broker.Unauthenticated", "{method}");
            let reason = answer["parameters"]["reason"].as_str().unwrap();
            assert!(reason.starts_with("written by another process than the one"), "{reason}");
            assert_eq!(opened.error(), "end");
        }
    }
}

/// Sends its standard output's socket to the broker on its standard input.
const SEND: &str = "
import socket, sys
s = socket.socket(fileno=0)
socket.send_fds(s, [sys.argv[1].encode() + b'\\0'], [1])
";

/// Makes a pair, writes a call into one end, and sends the other to the one on standard input.
const MAKE: &str = "
import socket, sys
own, other = socket.socketpair()
own.sendall(sys.argv[1].encode() + b'\\0')
socket.send_fds(socket.socket(fileno=0), [b'x'], [other.fileno()])
other.close()
try:
    print(own.recv(4096))
except ConnectionResetError:
    print('reset')
";

fn python(uid: u32) -> Command {
    let mut command = as_user(uid, &[]);
    command.arg("/usr/bin/python3");
    command
}

#[test]
fn an_end_that_somebody_else_made_is_closed_unheard() {
    if !has_users() {
        return;
    }
    let (host, _listener) = system();
    // What root has made does not ask as root for 4711 …
    let (own, other) = UnixStream::pair().unwrap();
    own.set_read_timeout(Some(PATIENCE)).unwrap();
    (&own).write_all(b"{\"method\":\"org.ipcd.Control.Status\"}\0").unwrap();
    let mut sender = python(4711);
    sender.args(["-c", SEND, std::str::from_utf8(&ADOPT[..ADOPT.len() - 1]).unwrap()]);
    sender.stdin(broker_socket(&host)).stdout(OwnedFd::from(other));
    assert!(Daemon(sender.spawn().unwrap()).0.wait().unwrap().success());
    drop(sender);
    assert!(ended_without_a_word(&own));

    // … and what 4711 has made does not become root's connection.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut maker = python(4711);
    maker.args(["-c", MAKE, "{\"method\":\"org.ipcd.Control.Status\"}"]);
    let maker = maker.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    let made = sys::ancillary::receive(ours.as_fd(), &mut byte, 1, sys::ancillary::Wait::Block);
    let made = made.ok().and_then(|received| received.descriptors.into_iter().next()).unwrap();
    Raw::to(&host).hand(ADOPT, &[made.as_fd()]).unwrap();
    drop(made);
    let mut said = String::new();
    Daemon(maker).0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(["b''\n", "reset\n"].contains(&said.as_str()), "{said:?}");
}

/// Whether the other end is closed, and nothing was said before.
fn ended_without_a_word(mut own: &UnixStream) -> bool {
    match own.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn nothing_but_a_connected_stream_socket_is_adopted() {
    let host = Host::new(&[]).with_pongd("pongd");
    let place = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (datagrams, _other) = UnixDatagram::pair().unwrap();
    let (packets, _packets) = sys::socket::unix_pair(SocketKind::SeqPacket).unwrap();
    let broker = UnixStream::connect(host.rundir().join("ipc")).unwrap();
    let broker_end = broker.try_clone().unwrap();
    let all: Vec<(&str, OwnedFd)> = vec![
        ("a file", File::open("/dev/null").unwrap().into()),
        ("a directory", File::open(place.path()).unwrap().into()),
        ("a listening socket", UnixListener::bind(place.path().join("s")).unwrap().into()),
        ("datagrams", datagrams.into()),
        ("packets", packets),
        ("a TCP socket", TcpStream::connect(tcp.local_addr().unwrap()).unwrap().into()),
        ("a listening TCP socket", tcp.into()),
        ("a UDP socket", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("a pipe", std::io::pipe().unwrap().0.into()),
        ("an unconnected datagram socket", UnixDatagram::unbound().unwrap().into()),
        ("a descriptor of a process", own_process()),
        ("a connection to the broker itself", broker_end.into()),
    ];
    let client = RefCell::new(Raw::to(&host));
    let status = || {
        let mut client = client.borrow_mut();
        client.ask("org.ipcd.Control.Status", &json!({})).unwrap();
        client.answer().unwrap()["parameters"]["clients"].clone()
    };
    // The two that this test has; whoever looked whether the broker is there is gone then.
    until("nobody else is there", || status() == 2);
    for (what, descriptor) in all {
        client.borrow().hand(ADOPT, &[descriptor.as_fd()]).unwrap();
        drop(descriptor);
        assert_eq!(status(), 2, "{what} is no client");
    }
    drop(broker);
    // Nor is nothing at all, and two at once end the connection.
    client.borrow_mut().say(ADOPT).unwrap();
    until("the one that was opened to be sent is gone", || status() == 1);
    let (one, two) = UnixStream::pair().unwrap();
    client.borrow().hand(ADOPT, &[one.as_fd(), two.as_fd()]).unwrap();
    assert_eq!(client.borrow_mut().error(), "end");
    assert_eq!(host.ping("pongd", ""), "ping");
}

/// A descriptor of this process.
fn own_process() -> OwnedFd {
    let (own, _other) = UnixStream::pair().unwrap();
    sys::credentials::peer_pidfd(own.as_fd()).unwrap().unwrap()
}

#[test]
fn what_is_adopted_can_adopt_and_outlives_the_one_it_came_through() {
    let host = Host::new(&[]).with_pongd("pongd");
    let mut parent = Raw::to(&host);
    for _ in 0..5 {
        let mut child = parent.adopted();
        child.ask_for("pongd", None).unwrap();
        assert_eq!(child.answer().unwrap()["parameters"]["handoff"], "door");
        parent = child;
        parent.ask("org.varlink.service.GetInfo", &json!({})).unwrap();
        assert_eq!(parent.error(), "none");
    }
}

#[test]
fn only_a_brokers_socket_is_taken_for_one() {
    let host = Host::new(&[]).with_pongd("pongd");
    let place = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(place.path().join("other")).unwrap();
    let other = UnixStream::connect(place.path().join("other")).unwrap();
    let directory = host.rundir();
    for wrong in [other.into(), OwnedFd::from(File::open("/dev/null").unwrap())] {
        let mut command = Command::new(installed("env").unwrap());
        inherit(&mut command, wrong);
        command.arg(program("ipc").get_program()).args(["connect", "pongd", "--", "true"]);
        // The environment names the instance; what was inherited is no broker's, and left alone.
        let (code, _, said) = outcome(command.env("IPC_RUNDIR", &directory));
        assert_eq!(code, 0, "{said}");
    }
    listener.set_nonblocking(true).unwrap();
    let (mut inherited, _) = listener.accept().unwrap();
    assert_eq!(inherited.read(&mut [0]).unwrap(), 0, "nothing was written to it");
}

#[test]
fn a_broker_that_is_gone_is_an_error_for_those_who_inherited_its_socket() {
    let mut host = Host::new(&[]).with_pongd("pongd");
    let shared = UnixStream::connect(host.rundir().join("ipc")).unwrap();
    host.broker.crash();
    let mut command = Command::new(installed("env").unwrap());
    inherit(&mut command, shared.into());
    command.arg(program("ipc").get_program()).args(["--json", "connect", "pongd"]);
    let (code, _, said) = outcome(&mut command);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["retry"]), (69, &false.into()), "{said}");
    assert_eq!(told["why"], "the one has ended by way of which this program was started");
    assert_eq!(told["cure"], "start the program anew");
}

#[test]
fn a_kept_connection_serves_registered_services_by_connections_of_their_own() {
    let host = Host::new(&[]).with_registered_pongd("pong").with_pongd("own");
    let deadline = Instant::now() + PATIENCE;
    let mut broker = Broker::open(&host.directory(Instance::Private), deadline).unwrap();
    // The first of them asks in vain, the second knows; one with a socket comes in between.
    for service in ["pong", "pong", "own", "pong"] {
        let name = ServiceName::new(service).unwrap();
        let mut stream = broker.connect(&name, None, deadline).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping", "{service}");
    }
}

#[test]
fn a_run_directory_that_is_named_goes_before_an_inherited_broker() {
    let (near, far) = (Host::new(&[]).with_pongd("near"), Host::new(&[]).with_pongd("far"));
    let ask = |more: &[&str]| {
        let mut command = Command::new("env");
        inherit(&mut command, broker_socket(&near));
        command.arg(binaries().join("ipc")).args(["connect", "near"]).args(more);
        outcome(command.args(["--", "true"]).env("IPC_RUNDIR", far.rundir()))
    };
    assert_eq!(ask(&[]).0, 0, "what is inherited goes before the environment's");
    let (code, _, said) = ask(&["--rundir", far.rundir().to_str().unwrap()]);
    assert!(code == 69 && said.contains("unknown service"), "{said}");
}
