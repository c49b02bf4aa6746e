//! What was handed over is listed for as long as it can last, and ended on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use ipcd_tests::raw::Raw;
use ipcd_tests::tls::Authority;
use ipcd_tests::{
    Daemon, Host, PATIENCE, free_port, has, installed, is_root, outcome, program, until,
};
use libipc::Stream;
use serde_json::{Value, json};
use sys::ancillary::{self, Wait};

/// What `ipc connections` lists, with these further arguments.
pub(crate) fn listed(host: &Host, further: &[&str]) -> Vec<Value> {
    let arguments = [&["--json", "connections"], further].concat();
    let (code, said, error) = outcome(&mut host.ipc(&arguments));
    assert_eq!(code, 0, "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    said["connections"].as_array().unwrap().clone()
}

fn kill(host: &Host, connection: &Value) -> (i32, String, String) {
    outcome(&mut host.ipc(&["kill", &connection["id"].to_string()]))
}

fn answers(stream: &mut (impl Read + Write)) -> bool {
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
}

/// A broker that allows what is asked for at a port of loopback where somebody listens.
struct Elsewhere {
    host: Host,
    listener: TcpListener,
    target: String,
}

impl Elsewhere {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let host = Host::new(&["--rule", &format!("allow out far tcp:{target}")]).with_tcpd(None);
        Self { host, listener, target }
    }

    fn connect(&self) -> (Stream, TcpStream) {
        let stream = self.host.connect("far", &format!("far tcp://{}", self.target)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (stream, self.listener.accept().unwrap().0)
    }
}

#[test]
fn a_socket_that_a_client_holds_alone_is_listed_until_nobody_has_it() {
    let elsewhere = Elsewhere::new();
    let (stream, _far) = elsewhere.connect();
    let all = listed(&elsewhere.host, &[]);
    let [connection] = all.as_slice() else { panic!("{all:?}") };
    let cookie = sys::diag::cookie(stream.as_fd()).unwrap();
    let namespace = sys::diag::namespace(stream.as_fd()).unwrap();
    for (fact, expected) in [
        ("kind", json!("socket")),
        ("service", json!("far")),
        ("target", json!(format!("tcp:{}", elsewhere.target))),
        ("direction", json!("out")),
        ("rule", json!(format!("allow out far tcp:{} (command line, rule 1)", elsewhere.target))),
        ("carrier", json!("direct")),
        ("stale", json!(false)),
        ("revision", json!(1)),
        ("times", json!(1)),
        ("cookie", json!(cookie)),
        ("namespace", json!(namespace)),
        ("pid", json!(std::process::id())),
    ] {
        assert_eq!(connection[fact], expected, "{fact}");
    }
    // Another process's goes with it.
    let mut command = elsewhere.host.ipc(&["connect", "far"]);
    command.env("IPC_NETWORK", format!("far tcp://{}", elsewhere.target));
    let mut client = Daemon::start(command.stdin(std::process::Stdio::piped()));
    let far = elsewhere.listener.accept().unwrap();
    let pids = || -> Vec<u64> {
        listed(&elsewhere.host, &[]).iter().map(|one| one["pid"].as_u64().unwrap()).collect()
    };
    let both = [u64::from(std::process::id()), u64::from(client.pid())];
    until("the client has it", || pids() == both);
    drop((client.0.stdin.take(), far));
    client.0.wait().unwrap();
    assert_eq!(pids(), [u64::from(std::process::id())]);
    // One of several of one process goes when that has closed it, and its copies.
    let (second, _other_far) = elsewhere.connect();
    let ids = || -> Vec<u64> {
        listed(&elsewhere.host, &[]).iter().map(|one| one["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(), [1, 3]);
    let copy = stream.as_fd().try_clone_to_owned().unwrap();
    drop(stream);
    assert_eq!(ids(), [1, 3]);
    drop(copy);
    until("nobody has the first", || ids() == [3]);
    drop(second);
    until("nobody has the second", || ids().is_empty());
}

#[test]
fn root_ends_a_socket_that_was_handed_over_whole_and_no_other_one() {
    if !has("root", is_root()) {
        return;
    }
    let elsewhere = Elsewhere::new();
    let (mut first, mut first_far) = elsewhere.connect();
    let (mut second, mut second_far) = elsewhere.connect();
    let all = listed(&elsewhere.host, &[]);
    let (code, said, error) = kill(&elsewhere.host, &all[0]);
    assert_eq!(code, 0, "{error}");
    assert!(said.ends_with("; both ends see a reset\n"), "{said}");
    assert_eq!(first.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(first_far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    second.write_all(b"x").unwrap();
    second_far.read_exact(&mut [0]).unwrap();
    second_far.write_all(b"y").unwrap();
    second.read_exact(&mut [0]).unwrap();
    assert_eq!(listed(&elsewhere.host, &[]).len(), 1);
    let (code, _, said) = kill(&elsewhere.host, &all[0]);
    assert_eq!(code, 69);
    assert!(said.contains("unknown connection: none has the number 1"), "{said}");
    assert!(said.ends_with("look for its number: ipc connections\n"), "{said}");
}

#[test]
fn root_ends_a_socket_in_a_network_namespace_that_it_is_not_in() {
    let can = is_root() && installed("nsenter").is_some();
    if !has("root and nsenter", can) {
        return;
    }
    // The command runs in an empty network namespace: the kernel finds no such TCP there, and the
    // socket is found where the client has it.
    let elsewhere = Elsewhere::new();
    let (mut stream, mut far) = elsewhere.connect();
    let (mut other, mut other_far) = elsewhere.connect();
    let id = listed(&elsewhere.host, &[])[0]["id"].to_string();
    let mut command = std::process::Command::new("unshare");
    command.arg("--net").arg(program("ipc").get_program()).args(["kill", &id, "--rundir"]);
    let (code, said, error) = outcome(command.arg(elsewhere.host.rundir()));
    assert_eq!(code, 0, "{error}");
    assert!(said.ends_with("; it was shut down where a process had it\n"), "{said}");
    assert_eq!((stream.read(&mut [0]).unwrap(), far.read(&mut [0]).unwrap()), (0, 0));
    other.write_all(b"x").unwrap();
    other_far.read_exact(&mut [0]).unwrap();
}

#[test]
fn whoever_may_not_end_it_is_told_who_may() {
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let config = format!("admin-groups = '4720'\nrules = 'allow out far tcp:{target}'");
    let host = Host::with_config(&config, &["--instance", "system"]).with_tcpd(None);
    let _stream = host.connect("far", &format!("far tcp://{target}")).unwrap();
    let (code, _, said) = outcome(
        std::process::Command::new("setpriv")
            .args(["--reuid=4711", "--regid=4720", "--clear-groups"])
            .arg(program("ipc").get_program())
            .args(["kill", "1", "--rundir"])
            .arg(host.rundir()),
    );
    assert_eq!(code, 50, "{said}");
    assert!(said.starts_with("ipc: 1: denied: the client holds this connection alone\n"), "{said}");
    assert!(said.ends_with("end it as root: ipc kill 1\n"), "{said}");
}

#[test]
fn the_right_to_connect_is_one_entry_and_cannot_be_taken_back() {
    let host = Host::new(&[]).with_pongd("pongd");
    for _ in 0..3 {
        assert_eq!(host.ping("pongd", ""), "ping");
    }
    let all = listed(&host, &[]);
    let [connection] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((&connection["kind"], &connection["times"]), (&json!("name"), &json!(3)));
    let (code, _, said) = kill(&host, connection);
    assert_eq!(code, 50);
    let why = "handed over: the client may connect to the service itself, and that cannot be taken";
    assert!(said.contains(why), "{said}");
    assert!(said.contains("may reach  unix:pongd"), "{said}");
    assert!(said.ends_with("end the client's process, or start the service anew\n"), "{said}");
    let (_, table, _) = outcome(&mut host.ipc(&["--format", "table", "connections"]));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID  KIND  AGE"), "{table}");
    assert!(lines[1].contains("direct, asked for 3 times"), "{table}");
}

#[test]
fn a_relay_is_listed_until_it_ends_and_the_broker_ends_it() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in pongd tcp:127.0.0.1"]).with_tcpd(Some(port));
    let far = far.with_pongd("pongd");
    let near = Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")]);
    let near = near.with_tcpd(None);
    let connect = || {
        let target = format!("pongd tcp://127.0.0.1:{port}/pongd");
        let mut stream = near.connect("pongd", &target).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(answers(&mut stream));
        stream
    };
    let (mut first, mut second, third) = (connect(), connect(), connect());
    let all = listed(&far, &[]);
    assert_eq!(all.len(), 3);
    let facts = ["kind", "service", "direction", "carrier", "scheme", "address", "client"];
    assert_eq!(
        facts.map(|fact| all[0][fact].as_str().unwrap()),
        ["relayed", "pongd", "in", "through ipcd-tcpd", "tcp", "127.0.0.1", "tcp from 127.0.0.1"]
    );
    let (code, said, error) = kill(&far, &all[0]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(said, "1 is over: pongd of tcp from 127.0.0.1; the broker had it ended\n");
    assert_eq!(first.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(answers(&mut second), "it is another one");
    assert_eq!(listed(&far, &[]).len(), 2);
    drop(third);
    until("its end is reported", || listed(&far, &[]).len() == 1);
    assert!(answers(&mut second));
    let (_, said, _) = outcome(&mut far.ipc(&["--json", "status"]));
    let status: Value = serde_json::from_str(&said).unwrap();
    let tcp = status["transports"].as_array().unwrap().iter().find(|one| one["name"] == "tcp");
    assert_eq!(tcp.unwrap()["relays"], 1);
    let mut far = far;
    far.others[0].crash();
    until("what a daemon relayed goes with it", || listed(&far, &[]).is_empty());
}

/// A service that has registered, and takes no more than the next message.
struct Registered(Raw);

impl Registered {
    fn new(host: &Host, name: &str) -> Self {
        let mut service = Raw::to(host);
        let call = json!({
            "method": "org.ipcd.Broker.Register", "parameters": {"service": name}, "more": true,
        });
        service.say(format!("{call}\0").as_bytes()).unwrap();
        assert_eq!(service.answer().unwrap()["parameters"], json!({}));
        Self(service)
    }

    /// The next message, with the connection that it brings.
    fn next(&self) -> (Value, Option<OwnedFd>) {
        let mut buffer = vec![0; 4096];
        let received = ancillary::receive(self.0.0.as_fd(), &mut buffer, 1, Wait::Block).unwrap();
        let text = buffer[..received.bytes].strip_suffix(&[0]).unwrap();
        let message: Value = serde_json::from_slice(text).unwrap();
        (message["parameters"].clone(), received.descriptors.into_iter().next())
    }
}

/// Asks for a registered service: the connection itself becomes the stream.
fn upgraded(host: &Host, name: &str) -> Raw {
    let mut client = Raw::to(host);
    let call = json!({
        "method": "org.ipcd.Broker.Connect", "upgrade": true,
        "parameters": {"service": name, "take": ["upgrade"]},
    });
    client.say(format!("{call}\0").as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap()["parameters"]["handoff"], "upgrade");
    client
}

#[test]
fn a_connection_at_a_registered_service_is_ended_by_telling_the_service() {
    let host = Host::new(&["--rule", "allow local authd"]);
    let service = Registered::new(&host, "authd");
    let mut clients = Vec::new();
    for number in 1..=2 {
        clients.push(upgraded(&host, "authd"));
        let (told, descriptor) = service.next();
        assert_eq!((&told["id"], descriptor.is_some()), (&json!(number), true));
    }
    let all = listed(&host, &[]);
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0]["kind"], &all[0]["carrier"]), (&json!("registered"), &json!("direct")));
    let (code, said, error) = kill(&host, &all[1]);
    assert_eq!(code, 0, "{error}");
    assert!(said.starts_with("2 is over: authd of uid "), "{said}");
    let (told, descriptor) = service.next();
    assert_eq!((told, descriptor.is_none()), (json!({"closed": 2}), true));
    assert_eq!(listed(&host, &[]).len(), 1);
    // A successor cannot end what the older one has; that goes with the older one.
    let successor = Registered::new(&host, "authd");
    let (code, _, said) = kill(&host, &all[0]);
    assert_eq!(code, 50);
    assert!(said.contains("the service has registered anew since"), "{said}");
    drop(service);
    until("it goes with the service's connection", || listed(&host, &[]).is_empty());
    drop(successor);
}

#[test]
fn a_peer_at_a_registered_service_is_listed_until_the_service_has_closed_it() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in shop tcp:127.0.0.0/8"]).with_tcpd(Some(port));
    let service = Registered::new(&far, "shop");
    let near = Host::new(&["--rule", &format!("allow out shop tcp:127.0.0.1:{port}")]);
    let near = near.with_tcpd(None);
    let connect = || {
        let client = near.connect("shop", &format!("shop tcp://127.0.0.1:{port}/shop")).unwrap();
        let (_, descriptor) = service.next();
        (client, descriptor.unwrap())
    };
    let ((first_client, first), (second_client, second)) = (connect(), connect());
    let ids = |host| -> Vec<u64> {
        listed(host, &[]).iter().map(|one| one["id"].as_u64().unwrap()).collect()
    };
    assert_eq!((ids(&near), ids(&far)), (vec![1, 2], vec![1, 2]));
    drop(first_client);
    until("the client has closed it", || ids(&near) == [2]);
    assert_eq!(ids(&far), [1, 2], "the service has it still");
    drop(first);
    until("the service has closed it too", || ids(&far) == [2]);
    // What the service has closed is over, though the peer may have it.
    drop(second);
    until("the service has closed it", || ids(&far).is_empty());
    assert_eq!(ids(&near), [2]);
    drop(second_client);
    until("the client has closed it too", || ids(&near).is_empty());
}

#[test]
fn no_more_than_the_limit_is_listed_and_nobody_is_refused_for_it() {
    let config = "limits.connections-listed-per-user = 3";
    let host = Host::with_config(config, &["--rule", "allow local authd"]);
    let service = Registered::new(&host, "authd");
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(upgraded(&host, "authd"));
        drop(service.next());
    }
    let ids: Vec<u64> = listed(&host, &[]).iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [3, 4, 5]);
    let (_, said, _) = outcome(&mut host.ipc(&["--format", "table", "status"]));
    let full = "nearly full";
    assert!(said.contains(full) && said.contains("connections-listed-per-user: 3 of 3"), "{said}");
}

#[test]
fn what_goes_through_tls_is_listed_and_ended_at_both_hosts() {
    let authority = Authority::new();
    let (ca, port) = (authority.certificate(), free_port());
    let trust = format!("[trust.fleet]\nca = \"{}\"\n", ca.display());
    let far_files = authority.issue("far", &["127.0.0.1"]);
    let far = Host::new(&["--rule", "allow in pongd tls:web1.example.com"]).with_pongd("pongd");
    let listens = "[listen.fleet]\ncertificate = 'host'\nclients = 'fleet'\n";
    let far = far.with_tlsd(&format!("{listens}{trust}{}", far_files.table("host")));
    let address = format!("address = '127.0.0.1:{port}'\nthen = 'tls'\n");
    let far = far.with_tcpd_of(&format!("[listen.fleet]\n{address}"));
    let near_files = authority.issue("near", &["web1.example.com"]);
    let near = Host::new(&["--rule", &format!("allow out pongd tls:127.0.0.1:{port}")]);
    let dials = "[dial]\ncertificate = 'host'\ntrust = 'fleet'\n";
    let near = near.with_tlsd(&format!("{dials}{trust}{}", near_files.table("host")));
    let near = near.with_tcpd(None);
    let connect = || {
        let target = format!("pongd tls://127.0.0.1:{port}/pongd");
        let mut stream = near.connect("pongd", &target).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(answers(&mut stream));
        stream
    };
    let facts = ["kind", "direction", "carrier", "client"];
    for (host, other, client) in
        [(&far, &near, Some("tls from 127.0.0.1 (dns:web1.example.com, ")), (&near, &far, None)]
    {
        let (mut ended, mut stays) = (connect(), connect());
        let all = listed(host, &[]);
        assert_eq!((all.len(), listed(other, &[]).len()), (2, 2));
        let [kind, direction, carrier, who] = facts.map(|fact| all[0][fact].as_str().unwrap());
        let expected = if client.is_some() { "in" } else { "out" };
        assert_eq!((kind, direction, carrier), ("relayed", expected, "through ipcd-tlsd"));
        assert!(client.is_none_or(|client| who.starts_with(client)), "{who}");
        let (code, _, error) = kill(host, &all[0]);
        assert_eq!(code, 0, "{error}");
        assert!(!answers(&mut ended));
        assert!(answers(&mut stays));
        until("both have heard", || listed(host, &[]).len() + listed(other, &[]).len() == 2);
        drop((ended, stays));
        until("both are over", || listed(host, &[]).is_empty() && listed(other, &[]).is_empty());
    }
}
