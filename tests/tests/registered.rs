//! Services that register: who may, who comes to them, and what is left of those that are gone.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

use std::cell::RefCell;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ipcd_tests::raw::Raw;
use ipcd_tests::users::{as_user, has_users};
use ipcd_tests::{Daemon, Host, PATIENCE, accept, free_port, is_root, outcome, program, until};
use libipc::connector::Connector;
use libipc::identity::{Identity, LocalIdentity};
use libipc::rundir::Instance;
use libipc::{Listener, ServiceName, Stream};
use serde_json::{Value, json};

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// A service of this process, registered with a private broker.
fn register(host: &Host, service: &str) -> Listener {
    Listener::bind_in(&host.directory(Instance::Private), &name(service)).unwrap()
}

/// A call that asks for the connection itself, with what follows it.
fn upgrade(service: &str, take: &[&str], behind: &[u8]) -> Vec<u8> {
    let parameters = json!({"service": service, "take": take});
    let method = "org.ipcd.Broker.Connect";
    let call = json!({"method": method, "parameters": parameters, "upgrade": true});
    [call.to_string().as_bytes(), b"\0", behind].concat()
}

fn call_with_more(client: &mut Raw, method: &str, parameters: &Value) {
    let call = json!({"method": method, "parameters": parameters, "more": true});
    client.say(format!("{call}\0").as_bytes()).unwrap();
}

/// A service that registers and from then on does nothing.
fn stuck(host: &Host, service: &str) -> Raw {
    let mut stuck = Raw::to(host);
    call_with_more(&mut stuck, "org.ipcd.Broker.Register", &json!({"service": service}));
    assert_eq!(stuck.answer().unwrap()["parameters"], json!({}));
    stuck
}

fn read_all(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_registered_service_sees_the_true_client_in_the_handoff_and_in_the_socket() {
    if !has_users() {
        return;
    }
    let host = Host::new(&["--instance", "system", "--rule", "allow local who"]);
    let listener = Listener::bind_in(&host.directory(Instance::System), &name("who")).unwrap();
    for (id, groups) in [(4711, vec![4713, 4714]), (4712, vec![]), (0, vec![0])] {
        let mut client = as_user(id, &groups);
        client.arg(program("ipc").get_program()).args(["connect", "who", "--rundir"]);
        let mut client = Daemon::start(client.arg(host.rundir()));
        let stream = accept(&listener);
        let Some(Identity::Local(told)) = stream.peer().cloned() else { panic!("no peer") };
        let mut seen = LocalIdentity::of_peer(stream.as_fd()).unwrap();
        for facts in [&told, &seen] {
            assert_eq!((facts.uid, facts.gid), (Some(id), Some(id)));
            assert_eq!(facts.pid, Some(client.pid()));
        }
        seen.groups.as_mut().unwrap().sort_unstable();
        let mut told = told.groups.unwrap();
        told.sort_unstable();
        assert_eq!((Some(&told), &told), (seen.groups.as_ref(), &groups));
        drop(stream);
        assert!(client.0.wait().unwrap().success());
    }
}

#[test]
fn bytes_written_right_behind_the_call_reach_the_service() {
    let host = Host::new(&[]);
    let listener = register(&host, "echo");
    let early = vec![b'e'; 100_000];
    let mut client = Raw::to(&host);
    client.say(&upgrade("echo", &["upgrade"], &early)).unwrap();
    let mut service = accept(&listener);
    let answer = client.answer().unwrap();
    assert_eq!(answer["parameters"]["handoff"], "upgrade");
    assert_eq!(answer["parameters"]["target"], "unix:echo");
    client.say(b" and later").unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    service.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, [early.as_slice(), b" and later"].concat());
    // And the other way, when the client has said all.
    service.write_all(b"heard").unwrap();
    drop(service);
    assert_eq!(read_all(&client.0), "heard");
}

#[test]
fn nothing_of_the_brokers_is_left_on_a_connection_that_it_gives_away() {
    let host = Host::new(&[]);
    let listener = register(&host, "echo");
    let client = host.connect("echo", "").unwrap();
    let service = accept(&listener);
    for end in [&client, &service] {
        assert!(!sys::socket::is_nonblocking(end.as_fd()).unwrap());
        let noting = nix::sys::socket::sockopt::PassCred;
        assert!(!nix::sys::socket::getsockopt(end, noting).unwrap());
        let timeout = nix::sys::socket::sockopt::ReceiveTimeout;
        let timeout = nix::sys::socket::getsockopt(end, timeout).unwrap();
        assert_eq!((timeout.tv_sec(), timeout.tv_usec()), (0, 0));
    }
    let inode = nix::sys::stat::fstat(&service).unwrap().st_ino;
    until("it keeps no copy", || !host.broker.holds(inode));
    drop(service);
    assert_eq!(read_all(client), "", "the end is seen at once");
}

#[test]
fn an_error_closes_what_is_followed_by_bytes_and_nothing_else() {
    let host = Host::new(&["--rule", "deny local closed"]);
    let _listener = register(&host, "closed");
    for (service, error) in [("closed", "Denied"), ("nobody", "UnknownService"), ("a/b", "Invalid")]
    {
        let mut followed = Raw::to(&host);
        followed.say(&upgrade(service, &["upgrade"], b"{\"method\":\"x\"}\0")).unwrap();
        let said = followed.error();
        assert!(said.starts_with(error), "{said}");
        assert_eq!(followed.error(), "end", "bytes for a service are never read as calls");

        let mut alone = Raw::to(&host);
        alone.say(&upgrade(service, &["upgrade"], b"")).unwrap();
        assert!(alone.error().starts_with(error));
        alone.ask("org.varlink.service.GetInfo", &json!({})).unwrap();
        assert_eq!(alone.answer().unwrap()["parameters"]["product"], "ipcd");
    }
}

#[test]
fn an_answer_with_another_handoff_leaves_the_connection_as_it_was() {
    let host = Host::new(&[]).with_pongd("door");
    let mut client = Raw::to(&host);
    client.say(&upgrade("door", &["upgrade", "door"], b"")).unwrap();
    assert_eq!(client.answer().unwrap()["parameters"]["handoff"], "door");
    client.ask("org.varlink.service.GetInfo", &json!({})).unwrap();
    assert_eq!(client.answer().unwrap()["parameters"]["product"], "ipcd");
}

#[test]
fn a_client_that_cannot_use_what_there_is_hears_what_would_do() {
    let host = Host::new(&[]).with_pongd("door");
    let _listener = register(&host, "registered");
    let mut client = Raw::to(&host);
    client.ask_for("registered", None).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer["error"], "org.ipcd.Broker.NoHandoff");
    assert_eq!(answer["parameters"]["possible"], json!(["upgrade"]));
    // "upgrade" counts only in a call with varlink's own flag.
    client
        .ask("org.ipcd.Broker.Connect", &json!({"service": "registered", "take": ["upgrade"]}))
        .unwrap();
    assert_eq!(client.error(), "NoHandoff");
    client.say(&upgrade("door", &["upgrade", "carrier-pigeon"], b"")).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer["error"], "org.ipcd.Broker.NoHandoff");
    assert_eq!(answer["parameters"]["possible"], json!(["door"]));
}

#[test]
fn nobody_squats_a_name_and_its_owner_may_have_it() {
    if !has_users() {
        return;
    }
    let config = "[services.shop]\nowner = \"4711\"\n";
    let host =
        Host::with_config(config, &["--instance", "system", "--rule", "allow local shop,other"]);
    for (id, service) in [(4712, "shop"), (4711, "other"), (65534, "shop")] {
        let mut squatter = as_user(id, &[]);
        squatter.arg("/usr/bin/python3").args(["-c", REGISTER]).arg(host.rundir()).arg(service);
        let (code, said, errors) = outcome(&mut squatter);
        assert_eq!(code, 0, "{errors}");
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(answer["error"], "org.ipcd.Broker.Denied", "{id} {service}: {said}");
        let reason = answer["parameters"]["reason"].as_str().unwrap();
        assert_eq!(reason, "only root and the service's owner may offer it");
        if id != 65534 {
            let cure = answer["parameters"]["cure"].as_str().unwrap();
            assert_eq!(cure, format!("[services.{service}] owner = \"{id}\""));
        }
    }
    let mut owner = as_user(4711, &[]);
    owner.arg("/usr/bin/python3").args(["-c", REGISTER]).arg(host.rundir()).arg("shop");
    let (_, said, errors) = outcome(&mut owner);
    assert_eq!(said.trim(), r#"{"parameters":{},"continues":true}"#, "{errors}");
}

/// What clients were given stays with them.
#[test]
fn an_owner_who_is_one_no_more_loses_the_name_at_the_reload() {
    if !has_users() {
        return;
    }
    let config =
        |owner: &str| format!("rules = 'allow local shop'\nservices.shop.owner = '{owner}'\n");
    let host = Host::with_config(&config("4711"), &["--instance", "system"]);
    let mut owner = as_user(4711, &[]);
    owner.arg(program("ipc").get_program()).args(["serve", "shop", "--rundir"]).arg(host.rundir());
    let _owner = Daemon(owner.args(["--", "cat"]).spawn().unwrap());
    until("it serves", || host.ping("shop", "") == "ping");
    let mut before = host.connect("shop", "").unwrap();
    echo(&mut before);
    // Nobody knows today who that is: nothing is taken from anybody.
    for name in ["nobody-has-this-name", "4711"] {
        host.configure(&config(name));
        assert_eq!(outcome(&mut host.ipc(&["reload"])).0, 0);
        assert_eq!(host.ping("shop", ""), "ping");
    }
    host.configure(&config("4712"));
    assert_eq!(outcome(&mut host.ipc(&["reload"])).0, 0);
    until("its name is free", || host.ping("shop", "").contains("has stopped"));
    echo(&mut before);
    let mut next = as_user(4712, &[]);
    next.arg("/usr/bin/python3").args(["-c", REGISTER]).arg(host.rundir()).arg("shop");
    assert_eq!(outcome(&mut next).1.trim(), r#"{"parameters":{},"continues":true}"#);
}

/// Registers a service; the first answer to it.
const REGISTER: &str = "
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1] + '/ipc')
call = {'method': 'org.ipcd.Broker.Register', 'parameters': {'service': sys.argv[2]}, 'more': True}
s.sendall(json.dumps(call).encode() + b'\\0')
answer = b''
while not answer.endswith(b'\\0'):
    answer += s.recv(1)
print(answer[:-1].decode())
";

#[test]
fn a_name_that_another_user_serves_is_not_taken_over_even_by_root() {
    if !has_users() {
        return;
    }
    let config = "[services.shop]\nowner = \"4711\"\n";
    let host = Host::with_config(config, &["--instance", "system", "--rule", "allow local shop"]);
    let script = format!("{REGISTER}\nsys.stdout.flush()\ns.recv(1)");
    let mut owner = as_user(4711, &[]);
    owner.arg("/usr/bin/python3").args(["-c", &script]).arg(host.rundir()).arg("shop");
    let mut owner = Daemon(owner.stdout(Stdio::piped()).spawn().unwrap());
    let mut first = [0; 4];
    owner.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let error = Listener::bind_in(&host.directory(Instance::System), &name("shop")).unwrap_err();
    let expected = format!("another user's process serves it (pid {})", owner.pid());
    assert!(error.to_string().contains(&expected), "{error}");
    // Its owner's next process may.
    let mut next = as_user(4711, &[]);
    next.arg("/usr/bin/python3").args(["-c", REGISTER]).arg(host.rundir()).arg("shop");
    assert_eq!(outcome(&mut next).1.trim(), r#"{"parameters":{},"continues":true}"#);
}

#[test]
fn a_service_is_replaced_and_a_client_is_served_at_every_moment() {
    const GENERATIONS: u8 = 30;
    let host = Host::new(&[]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serve = |generation: u8, listener: Listener| {
            move || loop {
                match listener.accept() {
                    Ok(mut stream) => stream.write_all(&[generation]).unwrap(),
                    Err(error) => return error.kind(),
                }
            }
        };
        let mut serving = scope.spawn(serve(0, register(&host, "shop")));
        let clients = [(); 3].map(|()| {
            scope.spawn(|| {
                let mut served = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    let mut stream = host.connect("shop", "").unwrap();
                    let mut generation = [0];
                    stream.read_exact(&mut generation).unwrap();
                    served += 1;
                }
                served
            })
        });
        for generation in 1..GENERATIONS {
            let next = scope.spawn(serve(generation, register(&host, "shop")));
            // The old one hears that it is replaced when it has served all who came to it.
            assert_eq!(serving.join().unwrap(), ErrorKind::AddrInUse);
            serving = next;
        }
        done.store(true, Ordering::Relaxed);
        let served = clients.map(std::thread::ScopedJoinHandle::join);
        let _last = register(&host, "shop");
        assert_eq!(serving.join().unwrap(), ErrorKind::AddrInUse);
        assert!(served.into_iter().all(|served| served.unwrap() > 0));
    });
}

#[test]
fn everybody_who_waits_hears_that_the_service_is_replaced_and_so_does_who_asks_again() {
    let host = Host::new(&[]);
    let old = Arc::new(register(&host, "shop"));
    let (tells, told) = mpsc::channel();
    for _ in 0..4 {
        let (old, tells) = (Arc::clone(&old), tells.clone());
        std::thread::spawn(move || {
            let answers = [(); 2].map(|()| old.accept().unwrap_err().kind());
            tells.send(answers)
        });
    }
    let _new = register(&host, "shop");
    for _ in 0..4 {
        assert_eq!(told.recv_timeout(PATIENCE), Ok([ErrorKind::AddrInUse; 2]));
    }
    assert_eq!(old.try_accept().unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn who_is_replaced_serves_those_who_have_come_and_ends() {
    let host = Host::new(&[]);
    let mut pongd = program("pongd");
    pongd.arg("shop").env("IPC_RUNDIR", host.rundir());
    let ipc = |arguments: &[&str]| host.ipc(arguments);
    for mut command in [
        pongd,
        ipc(&["serve", "shop", "--", "cat"]),
        ipc(&["echo", "shop", "--log-level", "error"]),
        ipc(&["listen", "shop"]),
    ] {
        let mut old = Daemon::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        let held = Connector::new(&host.environment(""), PATIENCE).unwrap().wait_for_service();
        let held = held.connect(&name("shop")).unwrap();
        let _new = register(&host, "shop");
        let mut said = BufReader::new(old.0.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("another process of this user serves shop from now on"), "{line}");
        assert!(old.0.try_wait().unwrap().is_none(), "{command:?} serves the one who has come");
        drop(held);
        let old = RefCell::new(old);
        until(&format!("{command:?} ends"), || {
            old.borrow_mut().0.try_wait().unwrap().is_some_and(|status| status.success())
        });
    }
}

#[test]
fn the_name_of_a_service_that_was_killed_says_so() {
    let mut host = Host::new(&[]).with_registered_pongd("shop");
    assert_eq!(host.ping("shop", ""), "ping");
    let pid = host.others[0].pid();
    host.others[0].crash();
    let said = RefCell::new(String::new());
    until("the broker has heard of it", || {
        let answer = host.connect("shop", "").map(drop);
        answer.is_err_and(|error| {
            *said.borrow_mut() = error.to_string();
            !said.borrow().contains("closed")
        })
    });
    let said = said.into_inner();
    assert!(
        said.contains(&format!("its service (pid {pid}) has stopped: start it again")),
        "{said}"
    );
    let (code, _, said) = outcome(&mut host.ipc(&["--json", "connect", "shop"]));
    assert_eq!(code, 3, "{said}");
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["retry"], true, "{said}");
    // One that never was there is another matter.
    assert!(host.ping("nobody", "").starts_with("unknown service"));
    let host = host.with_registered_pongd("shop");
    assert_eq!(host.ping("shop", ""), "ping");
}

/// Connections that are listed, as `ipc connections` tells.
fn listed(host: &Host) -> usize {
    let all = host.ipc(&["--json", "connections"]).output().unwrap();
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    all["connections"].as_array().unwrap().len()
}

#[test]
fn a_client_that_cannot_hear_its_yes_leaves_nothing_behind() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in pong tcp:127.0.0.1"]).with_tcpd(Some(port));
    let _far = far.with_registered_pongd("pong");
    let rule = format!("allow out pong tcp:127.0.0.1:{port}");
    let near = Host::new(&["--rule", &rule]).with_tcpd(None).with_registered_pongd("here");
    let before = listed(&near);
    let tcpd = near.others[0].descriptors();
    for _ in 0..20 {
        for (service, network) in
            [("here", None), ("pong", Some(format!("pong tcp://127.0.0.1:{port}/pong")))]
        {
            let mut deaf = Raw::to(&near);
            deaf.0.shutdown(Shutdown::Read).unwrap();
            let take = ["upgrade"];
            let parameters = json!({"service": service, "take": take, "network": network});
            let method = "org.ipcd.Broker.Connect";
            let call = json!({"method": method, "parameters": parameters, "upgrade": true});
            deaf.say(format!("{call}\0").as_bytes()).unwrap();
            until("it is over", || deaf.is_closed());
        }
    }
    until("nothing is listed", || listed(&near) == before);
    until("tcpd has let go of everything", || near.others[0].descriptors() <= tcpd);
    // Nobody else is hurt.
    assert_eq!(near.ping("pong", &format!("pong tcp://127.0.0.1:{port}/pong")), "ping");
}

#[test]
fn a_call_that_wants_no_answer_gets_none() {
    let host = Host::new(&[]).with_pongd("pong");
    let mut client = Raw::to(&host);
    for method in [
        "org.varlink.service.GetInfo",
        "org.ipcd.Control.Status",
        "org.ipcd.No.Such",
        "org.ipcd.Broker.Connect",
        "org.ipcd.Control.Reload",
    ] {
        let parameters = json!({"service": "pong", "take": ["door"]});
        let call = json!({"method": method, "parameters": parameters, "oneway": true});
        client.say(format!("{call}\0").as_bytes()).unwrap();
    }
    let call = json!({"method": "org.ipcd.Broker.Restrict", "parameters": {"services": ["pong"]},
        "oneway": true});
    client.say(format!("{call}\0").as_bytes()).unwrap();
    // The first answer is that to the first call that wants one; what was done holds.
    client.ask_for("other", None).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer["error"], "org.ipcd.Broker.Denied", "{answer}");
    client.ask_for("pong", None).unwrap();
    assert_eq!(client.answer().unwrap()["parameters"]["handoff"], "door");
}

#[test]
fn a_service_that_collects_nothing_has_64_clients_and_no_more() {
    let host = Host::new(&[]).with_registered_pongd("other");
    let mut stuck = stuck(&host, "stuck");
    let ask = || {
        let mut client = Raw::to(&host);
        client.say(&upgrade("stuck", &["upgrade"], b"")).unwrap();
        let answer = client.answer().unwrap();
        (client, answer)
    };
    let mut clients = Vec::new();
    for number in 1..=64 {
        let (client, answer) = ask();
        assert_eq!(answer["parameters"]["handoff"], "upgrade", "client {number}: {answer}");
        clients.push(client);
    }
    let (_client, busy) = ask();
    assert_eq!(busy["error"], "org.ipcd.Broker.Busy");
    assert_eq!(busy["parameters"]["limit"], "uncollected-per-service");
    assert_eq!(
        (&busy["parameters"]["most"], &busy["parameters"]["retry"]),
        (&64.into(), &true.into())
    );
    assert_eq!(host.ping("other", ""), "ping", "it hurts nobody else");
    // One is collected: there is room for one.
    assert_eq!(stuck.answer().unwrap()["parameters"]["id"], 1);
    assert_eq!(ask().1["parameters"]["handoff"], "upgrade");
    assert_eq!(ask().1["error"], "org.ipcd.Broker.Busy");
}

#[test]
fn a_service_that_is_stuck_for_10_seconds_loses_its_name() {
    let host = Host::new(&[]).with_registered_pongd("other");
    let stuck = stuck(&host, "stuck");
    let mut client = Raw::to(&host);
    client.say(&upgrade("stuck", &["upgrade"], b"")).unwrap();
    assert_eq!(client.answer().unwrap()["parameters"]["handoff"], "upgrade");
    let began = std::time::Instant::now();
    stuck.0.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    let others = std::cell::Cell::new(0);
    while !stuck.is_closed() {
        assert!(began.elapsed() < 2 * PATIENCE);
        assert_eq!(host.ping("other", ""), "ping");
        others.set(others.get() + 1);
    }
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    assert!(others.get() > 100, "others were served {} times", others.get());
    let said = host.ping("stuck", "");
    assert!(said.contains("has stopped: start it again"), "{said}");
    // Its client gets an end with it.
    drop(stuck);
    assert_eq!(read_all(&client.0), "");
}

#[test]
fn a_service_registers_again_with_a_broker_that_comes_back() {
    let mut host = Host::new(&[]).with_registered_pongd("shop");
    let mut before = host.connect("shop", "").unwrap();
    echo(&mut before);
    for _ in 0..3 {
        host.broker.crash();
        host.restart(&[]);
        let asked = Connector::new(&host.environment(""), PATIENCE).unwrap().wait_for_service();
        let mut stream = asked.connect(&name("shop")).unwrap();
        echo(&mut stream);
    }
    echo(&mut before);
}

fn echo(stream: &mut Stream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"again").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"again");
}

#[test]
fn a_client_that_waits_is_served_when_the_service_comes() {
    let host = Host::new(&[]);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let asked = Connector::new(&host.environment(""), PATIENCE).unwrap();
            asked.wait_for_service().connect(&name("late"))
        });
        until("the broker has heard the client", || {
            let status = host.ipc(&["--json", "status"]).output().unwrap();
            let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            status["clients"] == 2
        });
        let listener = register(&host, "late");
        accept(&listener).write_all(b"here").unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(read_all(waiting.unwrap()), "here");
    // In vain it waits no longer than it said.
    let brief = Connector::new(&host.environment(""), Duration::from_millis(500)).unwrap();
    let error = brief.wait_for_service().connect(&name("never")).unwrap_err().to_string();
    assert!(error.starts_with("unknown service"), "{error}");
}

#[test]
fn a_remote_peer_arrives_as_the_tcp_socket_itself_with_its_identity() {
    let port = free_port();
    let rule = "allow in shop tcp:127.0.0.0/8";
    let far = Host::new(&["--rule", rule]).with_tcpd(Some(port));
    let listener = register(&far, "shop");
    let near = Host::new(&["--rule", &format!("allow out shop tcp:127.0.0.1:{port}")]);
    let near = near.with_tcpd(None);
    let network = format!("shop tcp://127.0.0.1:{port}/shop");
    let client = near.connect("shop", &network).unwrap();
    let service = accept(&listener);
    let Some(Identity::Remote(peer)) = service.peer() else { panic!("{:?}", service.peer()) };
    let address = sys::socket::local_address(client.as_fd()).unwrap().unwrap();
    assert_eq!((peer.scheme.as_str(), peer.address), ("tcp", address.ip()));
    assert!(peer.names.is_empty(), "over TCP nothing is proven");
    assert_eq!(sys::socket::peer_address(service.as_fd()).unwrap(), Some(address));
    let inode = nix::sys::stat::fstat(&service).unwrap().st_ino;
    for daemon in [&far.broker, &far.others[0], &near.broker, &near.others[0]] {
        until("no daemon keeps a copy", || !daemon.holds(inode));
    }
    drop(service);
    assert_eq!(read_all(client), "");
}

/// For languages that cannot receive descriptors: a daemon moves the bytes, and the connection on
/// which the client asked is the stream.
#[test]
fn who_can_take_nothing_but_its_own_connection_reaches_other_hosts_too() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in shop tcp:127.0.0.0/8"]).with_tcpd(Some(port));
    let listener = register(&far, "shop");
    let rules = format!("allow out shop tcp:127.0.0.1:{port},tcp:127.0.0.1:1");
    let near = Host::new(&["--rule", &rules]).with_tcpd(None);
    let ask = |port: u16, behind: &[u8]| {
        let parameters = json!({"service": "shop", "take": ["upgrade"],
            "network": format!("shop tcp://127.0.0.1:{port}/shop")});
        let call = json!({"method": "org.ipcd.Broker.Connect", "parameters": parameters,
            "upgrade": true});
        let mut client = Raw::to(&near);
        client.say(&[call.to_string().as_bytes(), b"\0", behind].concat()).unwrap();
        client
    };
    let early = vec![b'e'; 50_000];
    let mut client = ask(port, &early);
    let answer = client.answer().unwrap();
    assert_eq!(answer["parameters"]["handoff"], "upgrade", "{answer}");
    let mut service = accept(&listener);
    client.say(b" late").unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    service.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, [early.as_slice(), b" late"].concat());
    service.write_all(b"heard").unwrap();
    let listed = outcome(&mut near.ipc(&["--json", "connections"])).1;
    assert!(listed.contains("tcpd"), "{listed}");
    drop(service);
    assert_eq!(read_all(&client.0), "heard");
    until("the relay is listed no longer", || {
        !outcome(&mut near.ipc(&["--json", "connections"])).1.contains("tcpd")
    });

    let mut client = ask(1, b"");
    let refused = client.answer().unwrap();
    assert_eq!(refused["error"], "org.ipcd.Broker.Unreachable", "{refused}");
    client.ask("org.varlink.service.GetInfo", &json!({})).unwrap();
    assert_eq!(client.error(), "none", "it is as it was");
}

#[test]
fn a_connection_has_one_long_call_and_serves_nothing_else() {
    let host = Host::new(&[]);
    let mut service = stuck(&host, "shop");
    service.ask("org.ipcd.Control.Status", &json!({})).unwrap();
    let answer = service.answer().unwrap();
    assert_eq!(answer["error"], "org.ipcd.Broker.InvalidRequest");
    let reason = answer["parameters"]["reason"].as_str().unwrap();
    assert_eq!(reason, "this connection serves; ask on another one");
    assert_eq!(service.error(), "end");
    // Without "more" nobody could be told of clients.
    let mut service = Raw::to(&host);
    service.ask("org.ipcd.Broker.Register", &json!({"service": "shop"})).unwrap();
    let answer = service.answer().unwrap();
    assert_eq!(answer["parameters"]["field"], "more");
    call_with_more(&mut service, "org.ipcd.Broker.Register", &json!({"service": "../x"}));
    assert_eq!(service.answer().unwrap()["parameters"]["field"], "service");
}

#[test]
fn programs_of_the_first_libipc_reach_registered_services_of_ones_own_instance() {
    let host = Host::new(&[]);
    let listener = register(&host, "pong");
    let ask = |host: &Host| {
        let mut client = Raw::to(host);
        let text = b"pong;";
        client.say(&[&5_u32.to_be_bytes()[..], text].concat()).unwrap();
        let mut answer = [0; 2];
        let received =
            sys::ancillary::receive(client.0.as_fd(), &mut answer, 1, sys::ancillary::Wait::Block);
        received.ok().and_then(|received| received.descriptors.into_iter().next())
    };
    let client = ask(&host).unwrap();
    accept(&listener).write_all(b"here").unwrap();
    assert_eq!(read_all(std::os::unix::net::UnixStream::from(client)), "here");

    if !is_root() {
        return;
    }
    // In the system's the service would take the broker's word for the kernel's: if it says so.
    let rule = ["--instance", "system", "--rule", "allow local pong"];
    for (config, served) in [("", false), ("[services.pong]\ntrusts-broker = true\n", true)] {
        let host = Host::with_config(config, &rule);
        let _listener =
            Listener::bind_in(&host.directory(Instance::System), &name("pong")).unwrap();
        assert_eq!(ask(&host).is_some(), served);
    }
}
