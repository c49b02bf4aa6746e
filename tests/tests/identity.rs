//! Who a client is: what the kernel says, whatever the client does; and what is not known helps
//! nobody.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipcd_tests::raw::Raw;
use ipcd_tests::users::{as_user, has_users};
use ipcd_tests::{
    Daemon, Host, PATIENCE, accept, has, installed, is_root, outcome, program, until,
    until_broker_answers,
};
use libipc::identity::{Identity, LocalIdentity};
use libipc::rundir::{Instance, RunDirectory};
use libipc::{Listener, ServiceName};
use serde_json::{Value, json};

fn system(rules: &str) -> Host {
    let config = format!("rules = '''\n{rules}\n'''\n");
    Host::with_config(&config, &["--instance", "system"])
}

fn register(host: &Host, service: &str) -> Listener {
    let name = ServiceName::new(service).unwrap();
    Listener::bind_in(&host.directory(Instance::System), &name).unwrap()
}

/// `ipc connect`, as what `outer` starts: its exit code and its words.
fn ask(host: &Host, mut outer: Command, service: &str) -> (i32, String) {
    outer.arg(program("ipc").get_program()).args(["connect", service, "--rundir"]);
    let (code, _, said) = outcome(outer.arg(host.rundir()).args(["--", "true"]));
    (code, said)
}

fn local(stream: &libipc::Stream) -> LocalIdentity {
    let Some(Identity::Local(peer)) = stream.peer() else { panic!("no local peer") };
    peer.clone()
}

#[test]
fn a_service_with_a_socket_of_its_own_sees_the_true_client_too() {
    if !has_users() {
        return;
    }
    let host = system("allow local who");
    let name = ServiceName::new("who").unwrap();
    let listener = Listener::own_socket_in(&host.directory(Instance::System), &name).unwrap();
    for (id, groups) in [(4711, vec![4713, 4714]), (0, vec![])] {
        let mut client = as_user(id, &groups);
        client.arg(program("ipc").get_program()).args(["connect", "who", "--rundir"]);
        let mut client = Daemon::start(client.arg(host.rundir()));
        let stream = accept(&listener);
        let peer = local(&stream);
        assert_eq!((peer.uid, peer.gid, peer.pid), (Some(id), Some(id), Some(client.pid())));
        let mut seen = peer.groups.unwrap();
        seen.sort_unstable();
        assert_eq!(seen, groups);
        drop(stream);
        assert!(client.0.wait().unwrap().success());
    }
}

#[test]
fn the_largest_numbers_are_users_like_others_and_never_root() {
    if !has_users() {
        return;
    }
    let host = system("allow local roots for user:0\nallow local who for user:4294967293");
    let listener = register(&host, "who");
    let _roots = register(&host, "roots");
    for id in [2_147_483_647, 2_147_483_648, 4_294_967_293, 4_294_967_294] {
        let (code, said) = ask(&host, as_user(id, &[]), "roots");
        assert_eq!(code, 50, "{id}: {said}");
    }
    let mut client = as_user(4_294_967_293, &[]);
    client.arg(program("ipc").get_program()).args(["connect", "who", "--rundir"]);
    let _client = Daemon::start(client.arg(host.rundir()));
    assert_eq!(local(&accept(&listener)).uid, Some(4_294_967_293));
}

/// attacks.md E3. What a daemon does with callers that its socket lets in: `relay`.
#[test]
fn daemons_listen_to_the_broker_and_to_nobody_else() {
    if !has_users() {
        return;
    }
    let host = system("allow local *").with_tcpd(None);
    let socket = host.rundir().join("transport/tcp");
    until("tcpd is there", || socket.exists());
    for uid in [4711, 65534] {
        let mut stranger = as_user(uid, &[]);
        stranger.arg(program("ipc").get_program()).arg("send").arg(&socket);
        let (code, _, said) = outcome(&mut stranger);
        assert_eq!(code, 50, "{said}");
        assert!(said.contains("not permitted: Permission denied"), "{said}");
    }
}

#[test]
fn groups_are_those_of_the_process_and_not_of_its_user() {
    if !has_users() {
        return;
    }
    let host = system("deny local who for group:4714\nallow local who for group:4713");
    let _listener = register(&host, "who");
    assert_eq!(ask(&host, as_user(4711, &[4713]), "who").0, 0);
    assert_eq!(ask(&host, as_user(4713, &[]), "who").0, 0, "its own group is one of them");
    assert_eq!(ask(&host, as_user(4711, &[]), "who").0, 50, "it has dropped the group");
    assert_eq!(ask(&host, as_user(4711, &[4713, 4714]), "who").0, 50);
}

/// What a kernel without a number for somebody says is also the number of the user `nobody`.
#[test]
fn an_unknown_user_matches_every_denial_and_no_allowance() {
    if !has_users() {
        return;
    }
    let host = system(
        "deny local a for user:4711\nallow local a,open\nallow local b for user:65534\n\
         allow local c for user:4711",
    );
    let _listeners = ["a", "b", "c", "open"].map(|service| register(&host, service));
    assert_eq!(ask(&host, as_user(65_534, &[]), "a").0, 50, "it may be 4711");
    assert_eq!(ask(&host, as_user(65_534, &[]), "b").0, 50, "it may be somebody else");
    assert_eq!(ask(&host, as_user(65_534, &[]), "c").0, 50);
    assert_eq!(ask(&host, as_user(65_534, &[]), "open").0, 0);
    assert_eq!(ask(&host, as_user(4712, &[]), "a").0, 0);
}

#[test]
fn who_is_root_in_a_namespace_of_his_own_is_himself() {
    if !has_users() || !has("unshare", installed("unshare").is_some()) {
        return;
    }
    let host = system("allow local roots for user:0\nallow local who for user:4711");
    let listener = register(&host, "who");
    let _roots = register(&host, "roots");
    let script = "
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
call = {'method': 'org.ipcd.Broker.Connect', 'upgrade': True,
        'parameters': {'service': sys.argv[2], 'take': ['upgrade']}}
s.sendall(json.dumps(call).encode() + b'\\0')
print(s.recv(4096))
";
    let own_pid = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    for arguments in [&own_pid[..2], &own_pid] {
        let ask = |service: &str| {
            let mut command = as_user(4711, &[]);
            command.arg(installed("unshare").unwrap()).args(arguments);
            command.args(["/usr/bin/python3", "-c", script]).arg(host.rundir().join("ipc"));
            outcome(command.arg(service)).1
        };
        let said = ask("roots");
        assert!(said.contains("org.ipcd.Broker.Denied"), "{said}");
        let said = ask("who");
        assert!(said.contains("upgrade"), "{said}");
        let peer = local(&accept(&listener));
        assert_eq!((peer.uid, peer.gid), (Some(4711), Some(4711)));
        // In a pid namespace of its own it is number 1 or 2; here it has ours.
        assert!(peer.pid.is_some_and(|pid| pid > 2), "{:?}", peer.pid);
    }
}

#[test]
fn a_broker_that_sees_only_some_users_refuses_to_start() {
    if !has("root and unshare", is_root() && installed("unshare").is_some()) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed("unshare").unwrap());
    command.args(["--user", "--map-root-user"]).arg(program("ipcd").get_program());
    let (code, _, said) = outcome(command.arg("--rundir").arg(place.path().join("ipc")));
    assert_eq!(code, 78);
    let expected = "ipcd: this user namespace does not map all users, so that clients cannot be \
        told apart: run without PrivateUsers= and outside rootless containers\n";
    assert_eq!(said, expected);
    assert!(!place.path().join("ipc").exists(), "nothing was made");
}

#[test]
fn clients_of_a_foreign_pid_namespace_are_served_and_have_no_unit() {
    if !has("root and unshare", is_root() && installed("unshare").is_some()) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let rundir = place.path().join("ipc");
    let mut command = Command::new(installed("unshare").unwrap());
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(program("ipcd").get_program()).args(["--log-level", "warn"]);
    for rule in
        ["deny local a for unit:shop.service", "allow local a,b", "allow local c for unit:*"]
    {
        command.args(["--rule", rule]);
    }
    let _broker = Daemon::start(command.args(["--instance", "system", "--rundir"]).arg(&rundir));
    until_broker_answers(&rundir);
    let directory = RunDirectory::new(rundir.clone(), Instance::System);
    let [a, b, c] = ["a", "b", "c"]
        .map(|name| Listener::bind_in(&directory, &ServiceName::new(name).unwrap()).unwrap());
    let connect = |service: &str| {
        let mut client = as_user(4711, &[]);
        client.arg(program("ipc").get_program()).args(["connect", service, "--rundir"]);
        outcome(client.arg(&rundir).args(["--", "true"])).0
    };
    assert_eq!(connect("a"), 50, "it may be that unit");
    assert_eq!(connect("c"), 50, "it may be none");
    assert_eq!(connect("b"), 0);
    let peer = local(&accept(&b));
    assert_eq!((peer.pid, peer.uid, peer.unit), (None, Some(4711), None));
    assert!(a.try_accept().unwrap().is_none() && c.try_accept().unwrap().is_none());
}

#[test]
fn what_a_request_says_about_its_client_is_not_even_read() {
    if !has_users() {
        return;
    }
    let host = system("allow local who for user:4711");
    let listener = register(&host, "who");
    let claims = json!({"service": "who", "take": ["upgrade"], "uid": 4711, "pid": 1, "gid": 0,
        "groups": [0], "unit": "shop.service", "client": {"uid": 4711}, "as": {"user": "4711"}});
    let call = json!({"method": "org.ipcd.Broker.Connect", "parameters": claims,
        "upgrade": true, "uid": 4711});
    let script = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b'\\0')
print(s.recv(4096))
";
    for (id, served) in [(4712, false), (4711, true)] {
        let mut client = as_user(id, &[]);
        client.arg("/usr/bin/python3").args(["-c", script]).arg(host.rundir().join("ipc"));
        let (_, said, errors) = outcome(client.arg(call.to_string()));
        assert_eq!(said.contains("org.ipcd.Broker.Denied"), !served, "{said}{errors}");
    }
    assert_eq!(local(&accept(&listener)).uid, Some(4711));
    assert!(listener.try_accept().unwrap().is_none());
}

/// An error on the way to an identity must never end as somebody's.
#[test]
fn a_client_that_dies_at_any_moment_becomes_nobody_else() {
    if !has_users() {
        return;
    }
    let host = system("allow local roots for user:0\nallow local who for user:4711");
    let (roots, who) = (register(&host, "roots"), register(&host, "who"));
    let script = "
import json, os, socket, sys
while True:
    if os.fork() == 0:
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[1])
        for name in 'roots', 'who':
            call = {'method': 'org.ipcd.Broker.Connect', 'upgrade': True,
                    'parameters': {'service': name, 'take': ['upgrade']}}
            s.sendall(json.dumps(call).encode() + b'\\0')
        os.kill(os.getpid(), 9)
    os.wait()
";
    let mut client = as_user(4711, &[]);
    client.arg("/usr/bin/python3").args(["-c", script]).arg(host.rundir().join("ipc"));
    let dying = Daemon::start(&mut client);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        if let Some(stream) = who.try_accept().unwrap() {
            assert_eq!(local(&stream).uid, Some(4711));
        }
        assert!(roots.try_accept().unwrap().is_none());
    }
    drop(dying);
    // Those that were under way are dead by now, or soon.
    let served = || {
        while let Some(stream) = who.try_accept().unwrap() {
            assert_eq!(local(&stream).uid, Some(4711));
        }
        ask(&host, as_user(4711, &[]), "who").0 == 0
    };
    until("the living are served", served);
    assert!(roots.try_accept().unwrap().is_none());

    let status = host.ipc(&["--json", "status"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["instance"], "system");
}

/// The environment of a daemon is its service manager's, not its clients'.
#[test]
fn what_the_environment_says_to_daemons_leads_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let rundir = place.path().join("ipc");
    let network = "pong tcp://127.0.0.1:1/pong";
    let mut broker = program("ipcd");
    broker.args(["--log-level", "warn", "--rundir"]).arg(&rundir).env("IPC_NETWORK", network);
    let _broker = Daemon::start(&mut broker);
    until_broker_answers(&rundir);
    let mut service = program("pongd");
    let mut service =
        Daemon::start(service.arg("pong").env("IPC_RUNDIR", &rundir).env("IPC_NETWORK", network));
    let environment =
        libipc::environment::Environment { rundir: Some(rundir), ..Default::default() };
    let asked = libipc::connector::Connector::new(&environment, PATIENCE).unwrap();
    let mut stream = asked.wait_for_service().connect(&ServiceName::new("pong").unwrap()).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert!(service.is_running());
}

#[test]
fn a_program_with_raised_rights_listens_to_no_environment() {
    if !has_users() {
        return;
    }
    let host = system("allow local who");
    let _listener = register(&host, "who");
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let raised = place.path().join("ipc");
    std::fs::copy(program("ipc").get_program(), &raised).unwrap();
    let connect = || {
        let mut command = as_user(4711, &[]);
        command.arg(&raised).args(["--json", "connect", "who", "--", "true"]);
        outcome(command.env("IPC_RUNDIR", host.rundir()))
    };
    let (code, _, said) = connect();
    assert_eq!(code, 0, "{said}");
    std::fs::set_permissions(&raised, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let (code, _, said) = connect();
    assert_ne!(code, 0);
    assert!(!said.contains(host.rundir().to_str().unwrap()), "{said}");
}

#[test]
fn a_user_at_his_limits_is_in_nobodys_way() {
    if !has_users() {
        return;
    }
    let host = Host::with_config(
        "rules = 'allow local who'\n[limits]\nclients-per-user = 20\n",
        &["--instance", "system"],
    );
    let listener = register(&host, "who");
    let script = "
import json, socket, sys
call = {'method': 'org.ipcd.Broker.Connect', 'upgrade': True,
        'parameters': {'service': 'who', 'take': ['upgrade']}}
held = []
for number in range(30):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    held.append(s)
for s in held[20:]:
    print(s.recv(4096)[:-1].decode())
sys.stdout.flush()
held[0].recv(1)
";
    let mut hog = as_user(4711, &[]);
    hog.arg("/usr/bin/python3").args(["-c", script]).arg(host.rundir().join("ipc"));
    let mut hog = Daemon(hog.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(hog.0.stdout.take().unwrap()));
    for _ in 20..30 {
        let busy: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(busy["error"], "org.ipcd.Broker.Busy");
        assert_eq!(busy["parameters"]["limit"], "clients-per-user");
        assert_eq!(busy["parameters"]["most"], 20);
    }
    assert_eq!(ask(&host, as_user(4711, &[]), "who").0, 3, "he is told so");
    for id in [0, 4712, 4713] {
        assert_eq!(ask(&host, as_user(id, &[]), "who").0, 0, "{id}");
        assert_eq!(local(&accept(&listener)).uid, Some(id));
    }
    drop(lines);
    drop(hog);
    until("he may come again", || ask(&host, as_user(4711, &[]), "who").0 == 0);
    let mut root = Raw::to(&host);
    root.ask("org.ipcd.Control.Status", &json!({})).unwrap();
    assert_eq!(root.answer().unwrap()["parameters"]["instance"], "system");
}
