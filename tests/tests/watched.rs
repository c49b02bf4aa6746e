//! What clients are told of services: whether they are there, and which ones there are.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;

use ipcd_tests::raw::Raw;
use ipcd_tests::{Host, accept, free_port, outcome, until};
use libipc::rundir::Instance;
use libipc::{Listener, ServiceName};
use serde_json::{Value, json};

/// A client that watches, and what it was told last of each name.
struct Watcher {
    connection: Raw,
    told: BTreeMap<String, bool>,
}

impl Watcher {
    fn of(host: &Host, services: &[&str]) -> Self {
        let mut connection = Raw::to(host);
        watch(&mut connection, &json!(services), true);
        let mut this = Self { connection, told: BTreeMap::new() };
        for _ in services {
            this.hear();
        }
        this
    }

    /// The next thing that it is told, as `NAME+` or `NAME-`.
    fn hear(&mut self) -> String {
        let answer = self.connection.answer().unwrap();
        assert_eq!(answer["continues"], true, "{answer}");
        let service = answer["parameters"]["service"].as_str().unwrap().to_owned();
        let available = answer["parameters"]["available"].as_bool().unwrap();
        let changes = self.told.insert(service.clone(), available) != Some(available);
        assert!(changes, "told twice: {answer}");
        format!("{service}{}", if available { '+' } else { '-' })
    }
}

fn watch(connection: &mut Raw, services: &Value, more: bool) {
    let parameters = json!({"services": services});
    let call = json!({"method": "org.ipcd.Broker.Watch", "parameters": parameters, "more": more});
    connection.say(format!("{call}\0").as_bytes()).unwrap();
}

fn register(host: &Host, service: &str) -> Listener {
    let name = ServiceName::new(service).unwrap();
    Listener::bind_in(&host.directory(Instance::Private), &name).unwrap()
}

#[test]
fn who_watches_is_told_what_is_there_and_each_change_of_it() {
    let port = free_port();
    let config = |rules: &str| {
        let out = format!("allow out far tcp:127.0.0.1:{port}");
        let redirects = format!("[redirects]\nfar = 'tcp://127.0.0.1:{port}'\n");
        format!("rules = '''{rules}\n{out}'''\n{redirects}")
    };
    let host = Host::with_config(&config("deny local hidden"), &[]);
    let _hidden = register(&host, "hidden");
    let mut watcher = Watcher::of(&host, &["told", "own", "far", "hidden"]);
    // What one may not reach is not there for one.
    assert!(watcher.told.values().all(|available| !available), "{:?}", watcher.told);
    let listener = register(&host, "told");
    assert_eq!(watcher.hear(), "told+");
    drop(listener);
    assert_eq!(watcher.hear(), "told-");
    let socket = host.rundir().join("services/own");
    let listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(watcher.hear(), "own+");
    fs::remove_file(&socket).unwrap();
    assert_eq!(watcher.hear(), "own-");
    drop(listener);
    let mut host = host.with_tcpd(None);
    assert_eq!(watcher.hear(), "far+");
    // A rule that allows is a change too.
    host.configure(&config(""));
    assert_eq!(outcome(&mut host.ipc(&["reload"])).0, 0);
    assert_eq!(watcher.hear(), "hidden+");
    host.others.clear();
    assert_eq!(watcher.hear(), "far-");
}

#[test]
fn what_cannot_be_watched_is_an_error_that_says_why() {
    let host = Host::new(&[]);
    let names = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
    for (services, more, why) in [
        (json!(["a"]), false, "call it with more"),
        (json!(names(65)), true, "at most 64 names"),
        (json!(["a b"]), true, "a service name"),
    ] {
        let mut connection = Raw::to(&host);
        watch(&mut connection, &services, more);
        let answer = connection.answer().unwrap();
        assert_eq!(answer["error"], "org.ipcd.Broker.InvalidRequest", "{answer}");
        let reason = answer["parameters"]["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{reason}");
    }
    let all = names(64);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(Watcher::of(&host, &all).told.len(), 64);
}

#[test]
fn an_unknown_name_is_answered_with_those_that_one_may_reach() {
    let config = "rules = 'deny local secret'\n[redirects]\n'alias' = 'shop'\n'web*' = 'shop'\n";
    let host = Host::with_config(config, &[]);
    let _services = ["shop", "secret"].map(|service| register(&host, service));
    let mut connection = Raw::to(&host);
    connection.ask_for("shpo", None).unwrap();
    let answer = connection.answer().unwrap();
    assert_eq!(answer["error"], "org.ipcd.Broker.UnknownService", "{answer}");
    assert_eq!(answer["parameters"]["known"], json!(["alias", "shop"]), "{answer}");
    let (code, _, said) = outcome(&mut host.ipc(&["connect", "shpo"]));
    assert_eq!(code, 69);
    assert!(said.contains("shop") && !said.contains("secret"), "{said}");
}

#[test]
fn a_command_that_waits_is_served_by_a_socket_that_comes_later() {
    let host = Host::new(&[]);
    let (host, said) = std::thread::scope(|scope| {
        let mut waiting =
            host.ipc(&["connect", "late", "--wait", "--", "sh", "-c", "echo hi; cat"]);
        let waiting = scope.spawn(move || outcome(&mut waiting));
        until("the broker has heard the client", || {
            let status = host.ipc(&["--json", "status"]).output().unwrap();
            let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            status["clients"] == 2
        });
        let listener = UnixListener::bind(host.rundir().join("services/late")).unwrap();
        let listener = Listener::from_socket(listener.into()).unwrap();
        let mut client = accept(&listener);
        let mut heard = [0; 3];
        client.read_exact(&mut heard).unwrap();
        drop(client);
        (heard, waiting.join().unwrap())
    });
    assert_eq!((&host, said.0), (b"hi\n", 0), "{said:?}");
}

#[test]
fn a_walk_through_ports_is_stopped_and_says_which_limit() {
    let config = "rules = 'allow out * tcp:127.0.0.1:*'\n[limits]\nnew-targets-per-user = 3\n";
    let host = Host::with_config(config, &[]).with_tcpd(None);
    let ask = |port: u16| {
        let mut connection = Raw::to(&host);
        connection.ask_for("scan", Some(&format!("scan tcp://127.0.0.1:{port}"))).unwrap();
        connection.answer().unwrap()
    };
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    for port in &ports[..3] {
        // Nobody listens there, which is an answer of the far side.
        assert_eq!(ask(*port)["error"], "org.ipcd.Broker.Unreachable");
    }
    let busy = ask(ports[3]);
    assert_eq!(busy["error"], "org.ipcd.Broker.Busy", "{busy}");
    assert_eq!(busy["parameters"]["limit"], "new-targets-per-user", "{busy}");
    // Where one has been one may go.
    assert_eq!(ask(ports[0])["error"], "org.ipcd.Broker.Unreachable");
}
