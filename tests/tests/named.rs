//! Broker sockets with a name of their own: whoever comes in there is that name's, whoever it is.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use ipcd_tests::raw::Raw;
use ipcd_tests::users::{as_user, has_users, inherit};
use ipcd_tests::{Daemon, Host, Setup, outcome, program, until};
use serde_json::json;

const RULES: &str = "rules = '''
deny local closed for socket:agents
allow local open,closed for socket:agents
allow local other for socket:builders
'''
[log]
decisions = 'all'
";

/// A system's broker with a socket for agents, whose file is called as a broker's is.
fn host() -> Host {
    Host::of(&Setup {
        config: RULES,
        arguments: &["--instance", "system"],
        logs: true,
        sockets: &[("agents", "agents/ipc")],
        ..Setup::default()
    })
    .with_pongd("open")
    .with_pongd("closed")
    .with_pongd("other")
}

#[test]
fn whoever_comes_in_there_has_its_rules_and_even_root_has() {
    if !has_users() {
        return;
    }
    let host = host();
    let mut root = Raw::at(&host.place("agents/ipc")).unwrap();
    for (service, error) in [("open", "none"), ("closed", "Denied"), ("other", "none")] {
        root.ask_for(service, None).unwrap();
        // Root may ask for every service of this host: by the rule behind all others.
        assert_eq!(root.error(), error, "{service}");
    }
    let ask = |place: &str, service: &str| {
        let mut command = as_user(4711, &[]);
        let socket = if place.is_empty() { host.rundir().join("ipc") } else { host.place(place) };
        // The process connects by itself, and is who asks.
        command.arg("/usr/bin/python3").args(["-c", ASK]).arg(socket).arg(service);
        outcome(&mut command).1.trim().to_owned()
    };
    assert_eq!(ask("agents/ipc", "open"), "door");
    assert_eq!(ask("agents/ipc", "closed"), "org.ipcd.Broker.Denied");
    assert_eq!(ask("agents/ipc", "other"), "org.ipcd.Broker.Denied");
    // By the broker's own socket nobody is an agent.
    assert_eq!(ask("", "open"), "org.ipcd.Broker.Denied");
    until("the record names the socket", || {
        let log = host.log();
        let mut lines = log.lines().filter(|line| line.contains("client_uid=4711"));
        lines.any(|line| line.contains("client_socket=\"agents\""))
    });
}

const ASK: &str = "
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
call = {'method': 'org.ipcd.Broker.Connect',
        'parameters': {'service': sys.argv[2], 'take': ['door']}}
s.sendall(json.dumps(call).encode() + b'\\0')
answer = b''
while not answer.endswith(b'\\0'):
    answer += socket.recv_fds(s, 1, 1)[0]
answer = json.loads(answer[:-1])
print(answer.get('error') or answer['parameters']['handoff'])
";

#[test]
fn nothing_is_offered_or_controlled_there_even_by_root() {
    if !has_users() {
        return;
    }
    let host = host();
    let agent = Raw::at(&host.place("agents/ipc")).unwrap();
    for mut agent in [agent.adopted(), agent] {
        for method in ["Status", "Reload", "Services", "Connections", "Kill", "Metrics", "Monitor"]
        {
            let call = json!({"method": format!("org.ipcd.Control.{method}"),
                "parameters": {"id": 1}, "more": true});
            agent.say(format!("{call}\0").as_bytes()).unwrap();
            let answer = agent.answer().unwrap();
            assert_eq!(answer["error"], "org.ipcd.Control.NotPermitted", "{method}");
        }
        let call = json!({"method": "org.ipcd.Broker.Register",
            "parameters": {"service": "open"}, "more": true});
        agent.say(format!("{call}\0").as_bytes()).unwrap();
        let answer = agent.answer().unwrap();
        assert_eq!(answer["error"], "org.ipcd.Broker.Denied");
    }
}

#[test]
fn what_is_inherited_from_there_stays_there() {
    if !has_users() {
        return;
    }
    let host = host();
    for (service, code) in [("open", 0), ("closed", 50), ("other", 50)] {
        let socket = OwnedFd::from(UnixStream::connect(host.place("agents/ipc")).unwrap());
        let mut command = as_user(4711, &[]);
        inherit(&mut command, socket);
        command.arg(program("ipc").get_program()).args(["connect", service, "--", "true"]);
        let (said, _, errors) = outcome(&mut command);
        assert_eq!(said, code, "{service}: {errors}");
    }
}

/// Whoever has bound a socket for the broker, its clients see the broker at the other end.
#[test]
fn the_kernel_names_the_broker_as_the_other_end_of_a_socket_that_it_inherited() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("ipc");
    let listener = UnixListener::bind(&at).unwrap();
    let peer =
        |stream: &UnixStream| sys::credentials::peer_credentials(stream.as_fd()).unwrap().pid;
    // In the line before there is a broker.
    let early = UnixStream::connect(&at).unwrap();
    assert_eq!(peer(&early), Some(std::process::id()));
    let mut broker = Command::new("sh");
    broker.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    broker.arg(program("ipcd").get_program()).arg("--rundir").arg(place.path());
    broker.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "ipc").stdin(OwnedFd::from(listener));
    let broker = Daemon(broker.spawn().unwrap());
    until("it listens", || peer(&UnixStream::connect(&at).unwrap()) == Some(broker.pid()));
}
