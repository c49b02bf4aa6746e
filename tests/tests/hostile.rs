//! Clients that misbehave: they hurt themselves, and leave nothing behind.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use ipcd_tests::black_hole::BlackHole;
use ipcd_tests::machine::Watch;
use ipcd_tests::raw::Raw;
use ipcd_tests::{Daemon, Host, Setup, has, installed, may_look, until};
use serde_json::json;

/// Short waits, so that they are over while a test looks.
const SHORT: &str = "[limits]\nrequest-timeout-ms = 500\ncollect-timeout-ms = 500\n";

/// Longer than a test takes: what is not collected yet stays with its client.
const UNCOLLECTED: &str = "[limits]\ncollect-timeout-ms = 60000\n";

/// How soon a well-behaved client is served beside any other.
const PROMPT: Duration = Duration::from_secs(1);

fn host(config: &str) -> Host {
    let host = Host::of(&Setup { config, logs: true, ..Setup::default() });
    host.with_pongd("pongd")
}

fn is_served(host: &Host) {
    let began = Watch::of(host);
    assert_eq!(host.ping("pongd", ""), "ping");
    let took = began.elapsed(host);
    assert!(took < PROMPT, "{took:?}");
}

/// Descriptors of a broker that has served somebody and serves nobody.
fn baseline(host: &Host) -> usize {
    is_served(host);
    host.at_rest()
}

fn is_back(host: &Host, baseline: usize) {
    is_served(host);
    host.until_back("all are gone", baseline);
}

#[test]
fn who_says_nothing_or_half_delays_nobody_and_half_is_cut() {
    let host = host(SHORT);
    let before = baseline(&host);
    let silent: Vec<_> = (0..50).map(|_| Raw::to(&host)).collect();
    let mut half: Vec<_> = (0..50).map(|_| Raw::to(&host)).collect();
    for (index, client) in half.iter_mut().enumerate() {
        let half: &[u8] =
            if index % 2 == 0 { b"{\"method\":\"org.ipcd.Bro" } else { b"\0\0\0\x64pong" };
        client.say(half).unwrap();
    }
    is_served(&host);
    for client in &mut half {
        assert_eq!(client.error(), "end");
    }
    assert!(silent.iter().all(|client| !client.is_closed()), "silence alone is no fault");
    drop(silent);
    is_back(&host, before);
}

#[test]
fn who_never_collects_is_closed_and_holds_nothing() {
    let host = host(SHORT);
    let before = baseline(&host);
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = Raw::to(&host);
            client.ask_for("pongd", None).unwrap();
            client
        })
        .collect();
    is_served(&host);
    until("they are closed", || clients.iter().all(Raw::is_closed));
    is_back(&host, before);
}

#[test]
fn who_asks_without_end_and_reads_nothing_is_closed() {
    let host = host(SHORT);
    let before = baseline(&host);
    for method in ["org.varlink.service.GetInfo", "org.ipcd.Broker.Connect"] {
        let mut client = Raw::to(&host);
        let parameters = json!({"service": "pongd", "take": ["door"]});
        let closed = (0..1_000_000).any(|_| client.ask(method, &parameters).is_err());
        assert!(closed, "{method}");
        is_back(&host, before);
    }
}

/// A client that has not collected one connection gets no second: else one user could fill what
/// the kernel lets the broker have under way, and nobody would be served.
#[test]
fn one_connection_at_a_time_is_under_way_to_a_client() {
    let host = host(UNCOLLECTED);
    let given = || {
        let status = host.ipc(&["--json", "status"]).output().unwrap();
        counter(&serde_json::from_slice(&status.stdout).unwrap(), "allowed")
    };
    let mut client = Raw::to(&host);
    for _ in 0..5 {
        client.ask_for("pongd", None).unwrap();
    }
    until("the first is on its way", || given() == 1);
    for turn in 0..10 {
        is_served(&host);
        assert_eq!(given(), 2 + turn, "one for that client, the others for its neighbour");
    }
    for _ in 0..5 {
        assert_eq!(client.error(), "none");
    }
    assert_eq!(given(), 15, "what was collected made room for the next");
}

fn counter(status: &serde_json::Value, name: &str) -> u64 {
    let counters = status["counters"].as_array().unwrap().iter();
    // In all directions.
    let of_it = |counter: &&serde_json::Value| {
        counter["name"].as_str().unwrap().split(' ').next() == Some(name)
    };
    counters.filter(of_it).map(|counter| counter["value"].as_u64().unwrap()).sum()
}

/// Connections that one kept client asks for in a row, for longer than the time to collect one.
#[test]
fn who_asks_all_the_time_is_not_taken_for_one_that_never_collects() {
    let host = host("[limits]\ncollect-timeout-ms = 1000\n");
    let mut client = Raw::to(&host);
    let end = Instant::now() + Duration::from_secs(2);
    let mut count = 0;
    while Instant::now() < end || count <= 50 {
        client.ask_for("pongd", None).unwrap();
        assert_eq!(client.error(), "none", "connection {count}");
        count += 1;
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed_with_their_client() {
    let host = host("");
    let before = baseline(&host);
    let zero = File::open("/dev/zero").unwrap();
    let many = vec![zero.as_fd(); sys::ancillary::DESCRIPTORS_MOST];
    for round in 0..64 {
        let mut clients: Vec<_> = (0..4).map(|_| Raw::to(&host)).collect();
        for client in &clients {
            // The broker may have closed it behind the first of them.
            let _gone = (0..8).all(|_| client.hand(b"{", &many).is_ok());
        }
        for client in &mut clients {
            assert_eq!(client.error(), "end");
        }
        assert!(host.broker.descriptors() <= before + 4, "round {round}");
    }
    let mut two = Raw::to(&host);
    two.hand(b"{}\0", &[zero.as_fd(), zero.as_fd()]).unwrap();
    assert_eq!(two.error(), "end", "one more than a message may have");
    let mut one = Raw::to(&host);
    one.hand(b"{\"method\":\"org.varlink.service.GetInfo\"}\0", &[zero.as_fd()]).unwrap();
    assert_eq!(one.error(), "none", "one that is not needed is closed");
    for _ in 0..64 {
        // A connection that is under way through itself.
        let own = Raw::to(&host);
        own.hand(b"{", &[own.0.as_fd()]).unwrap();
    }
    let mut middle = Raw::to(&host);
    middle.say(b"{\"method\":").unwrap();
    is_served(&host);
    middle.hand(b"\"org.varlink.service.GetInfo\"}\0", &[zero.as_fd()]).unwrap();
    assert_eq!(middle.error(), "end", "in the middle of a message");
    drop((two, one, middle));
    is_back(&host, before);
}

#[test]
fn what_is_no_request_is_an_error_or_an_end() {
    let host = host(SHORT);
    let before = baseline(&host);
    let padded = |length: usize| {
        let start = b"{\"method\":\"org.varlink.service.GetInfo\"".to_vec();
        let mut bytes = start;
        bytes.resize(length - 1, b' ');
        bytes.push(b'}');
        bytes.push(0);
        bytes
    };
    let deep = |open: &str, close: &str| {
        let inside = open.repeat(10_000) + &close.repeat(10_000);
        format!("{{\"method\":\"org.ipcd.Broker.Connect\",\"parameters\":{inside}}}\0").into_bytes()
    };
    let most = libipc::varlink::MESSAGE_BYTES_MOST;
    let cases: [(&str, Vec<u8>, &[&str]); 16] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0".to_vec(), &["InvalidRequest"]),
        ("HTTP without a NUL", b"GET / HTTP/1.1\r\n\r\n".to_vec(), &["end"]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &["InvalidRequest"]),
        ("no object", b"[]\0".to_vec(), &["InvalidRequest"]),
        ("null", b"null\0".to_vec(), &["InvalidRequest"]),
        ("no method", b"{}\0".to_vec(), &["InvalidRequest"]),
        ("not UTF-8", b"{\"method\":\"\xff\xfe\"}\0".to_vec(), &["InvalidRequest"]),
        ("a lone surrogate", b"{\"method\":\"\\ud800\"}\0".to_vec(), &["InvalidRequest"]),
        ("a byte order mark", b"\xef\xbb\xbf{\"method\":\"a.b\"}\0".to_vec(), &["InvalidRequest"]),
        (
            "two of a key",
            b"{\"method\":\"a.b\",\"method\":\"c.d\"}\0".to_vec(),
            &["InvalidRequest"],
        ),
        ("deep arrays", deep("[", "]"), &["InvalidRequest"]),
        ("deep objects", deep("{\"a\":", "}"), &["InvalidRequest"]),
        ("a lone frame of nothing", b"\0\0\0\0".to_vec(), &["end"]),
        ("a frame of 4 GiB", b"\0\xff\xff\xff".to_vec(), &["end"]),
        ("the longest message", padded(most), &["none"]),
        ("one byte more", padded(most + 1), &["end"]),
    ];
    for (what, bytes, expected) in cases {
        let mut client = Raw::to(&host);
        // The broker may close before it has read everything.
        let _cut = client.say(&bytes).is_err();
        let heard = client.error();
        assert!(expected.contains(&heard.as_str()), "{what}: {heard}");
        is_served(&host);
    }
    is_back(&host, before);
    assert!(host.log().len() < 4096, "{}", host.log());
}

#[test]
fn parameters_that_do_not_fit_are_errors_that_say_so() {
    let host = host("");
    let mut client = Raw::to(&host);
    let connect = "org.ipcd.Broker.Connect";
    let long = "x y;".repeat(20_000);
    for (method, parameters, expected) in [
        (connect, json!({"service": 1, "take": []}), "InvalidRequest"),
        (connect, json!({"service": "../run/x", "take": ["door"]}), "InvalidRequest"),
        (connect, json!({"service": "x\u{0}y", "take": ["door"]}), "InvalidRequest"),
        (connect, json!({"service": "p\u{430}y", "take": ["door"]}), "InvalidRequest"),
        (connect, json!({"service": "ipc", "take": ["door"]}), "InvalidRequest"),
        (connect, json!({"service": "x".repeat(65), "take": ["door"]}), "InvalidRequest"),
        (connect, json!({"service": "x", "network": "x", "take": ["door"]}), "InvalidRequest"),
        (
            connect,
            json!({"service": "x", "network": "x tcp://$(id):1", "take": []}),
            "InvalidRequest",
        ),
        (
            connect,
            json!({"service": "x", "network": "x tcp://-oX:1", "take": []}),
            "InvalidRequest",
        ),
        (
            connect,
            json!({"service": "x", "network": "x tcp://a%0ab:1", "take": []}),
            "InvalidRequest",
        ),
        (connect, json!({"service": "x", "network": "x tcp://h:0", "take": []}), "InvalidRequest"),
        (
            connect,
            json!({"service": "x", "network": "x tcp://h:65536", "take": []}),
            "InvalidRequest",
        ),
        (
            connect,
            json!({"service": "x", "network": "x unix:///../etc/x", "take": []}),
            "InvalidRequest",
        ),
        (connect, json!({"service": "x", "network": long[..60_000], "take": []}), "InvalidRequest"),
        (connect, json!({"service": "x", "timeoutMs": -1, "take": ["door"]}), "InvalidRequest"),
        (connect, json!({"service": "pongd", "take": ["carpet"]}), "NoHandoff"),
        (connect, json!({"service": "pongd", "take": ["door"], "uid": 0}), "none"),
        ("org.ipcd.Broker.Nothing", json!({}), "MethodNotFound"),
        ("org.ipcd.Nothing.Nothing", json!({}), "InterfaceNotFound"),
        ("nothing", json!({}), "InterfaceNotFound"),
    ] {
        client.ask(method, &parameters).unwrap();
        assert_eq!(client.error(), expected, "{method} {parameters}");
    }
    is_served(&host);
}

/// Clients of one user that there may be in these tests.
const MOST: usize = 500;

#[test]
fn a_thousand_at_once_at_a_limit_of_500_are_served_or_told_which_limit() {
    raise_limit();
    let host = host(&format!("{UNCOLLECTED}clients-per-user = {MOST}\n"));
    let before = baseline(&host);
    let mut clients: Vec<_> = (0..2 * MOST)
        .map(|_| {
            let mut client = Raw::to(&host);
            // Who is turned away may be so before it has asked.
            let _closed = client.ask_for("pongd", None).is_err();
            client
        })
        .collect();
    let answers: Vec<_> = clients.iter_mut().map(|client| client.answer().unwrap()).collect();
    let served = answers.iter().filter(|answer| answer["error"].is_null()).count();
    assert_eq!(served, MOST);
    for answer in answers.iter().filter(|answer| !answer["error"].is_null()) {
        assert_eq!(answer["error"], "org.ipcd.Broker.Busy", "{answer}");
        assert_eq!(answer["parameters"]["limit"], "clients-per-user");
        assert_eq!(answer["parameters"]["most"], MOST);
        assert_eq!(answer["parameters"]["retry"], true);
    }
    let said = host.ping("pongd", "");
    assert_eq!(said, format!("busy: the limit clients-per-user ({MOST}) is reached"));
    drop(clients);
    until("there is room again", || host.ping("pongd", "") == "ping");
    is_back(&host, before);
}

#[test]
fn the_limit_of_all_clients_names_itself_too() {
    let host = host("[limits]\nclients = 5\n");
    let clients: Vec<_> = (0..5).map(|_| Raw::to(&host)).collect();
    assert_eq!(host.ping("pongd", ""), "busy: the limit clients (5) is reached");
    drop(clients);
    until("there is room again", || host.ping("pongd", "") == "ping");
}

#[test]
fn a_black_hole_delays_nobody_else() {
    let hole = BlackHole::new();
    let wish = format!("hole tcp://{}", hole.address);
    let config = "[limits]\ndials-per-user = 40\nqueue-per-user = 2\n";
    let rule = format!("allow out * tcp:{}", hole.address);
    let arguments = ["--rule", rule.as_str()];
    let setup = Setup { config, arguments: &arguments, logs: true, ..Setup::default() };
    let host = Host::of(&setup).with_tcpd(None).with_pongd("pongd");
    let before = baseline(&host);
    let mut swallowed: Vec<_> = (0..42).map(|_| Raw::to(&host)).collect();
    for client in &mut swallowed {
        client.ask_for("hole", Some(&wish)).unwrap();
    }
    is_served(&host);
    let mut last = Raw::to(&host);
    last.ask_for("hole", Some(&wish)).unwrap();
    let answer = last.answer().unwrap();
    assert_eq!(answer["parameters"]["limit"], "queue-per-user", "{answer}");
    assert_eq!(answer["parameters"]["most"], 2);
    let hurried = host.connect_within(Duration::from_secs(2), "hole", &wish).unwrap_err();
    assert!(hurried.to_string().contains("queue-per-user"), "{hurried}");
    drop((swallowed, last));
    until("their turns are given back", || {
        let patience = Duration::from_millis(100);
        let error = host.connect_within(patience, "hole", &wish).unwrap_err().to_string();
        error.starts_with("timed out")
    });
    is_back(&host, before);
}

#[test]
fn a_dial_lasts_no_longer_than_its_request_may() {
    let hole = BlackHole::new();
    let wish = format!("hole tcp://{}", hole.address);
    let config = "[limits]\ntimeout-ms = 2000\ndials = 1\n";
    let rule = format!("allow out * tcp:{}", hole.address);
    let host = Host::with_config(config, &["--rule", &rule]).with_tcpd(None);
    let mut first = Raw::to(&host);
    first.ask_for("hole", Some(&wish)).unwrap();
    let mut second = Raw::to(&host);
    second.ask_for("hole", Some(&wish)).unwrap();
    let busy = second.answer().unwrap();
    assert_eq!(busy["parameters"]["limit"], "dials", "{busy}");
    assert_eq!(first.error(), "TimedOut");
}

/// Requests that are denied in these tests.
const DENIED: u64 = 3_000;

/// How many of so many events were written down, once all others have been counted as left out.
fn written_of(host: &Host, event: &str, all: u64) -> u64 {
    let counts = || {
        let log = host.log();
        let written = log.lines().filter(|line| line.contains(&format!("event=\"{event}\"")));
        let written = u64::try_from(written.count()).unwrap();
        let left_out = log.lines().filter_map(|line| line.split("lines=").nth(1));
        let left_out: u64 = left_out.filter_map(|count| count.trim().parse::<u64>().ok()).sum();
        (written, left_out)
    };
    until("all are written or counted", || {
        // The count of a second is written when the next has something to do.
        let _served = host.ipc(&["status"]).output().is_ok();
        let (written, left_out) = counts();
        written + left_out == all
    });
    counts().0
}

#[test]
fn registrations_fill_no_log_and_are_counted_exactly() {
    const REGISTERED: u64 = 300;
    let host = host("[limits]\nlog-lines-per-second = 10\n");
    let call = json!({
        "method": "org.ipcd.Broker.Register", "parameters": {"service": "often"}, "more": true,
    });
    let began = Instant::now();
    for _ in 0..REGISTERED {
        let mut service = Raw::to(&host);
        service.say(format!("{call}\0").as_bytes()).unwrap();
        assert_eq!(service.error(), "none");
    }
    let seconds = began.elapsed().as_secs() + 2;
    assert!(written_of(&host, "registered", REGISTERED) <= seconds * 10);
}

#[test]
fn denials_fill_no_log_and_are_counted_exactly() {
    let config = "rules = 'deny local pongd'\n[limits]\nlog-lines-per-second = 10\n";
    let host = host(config);
    let mut client = Raw::to(&host);
    let began = Instant::now();
    for _ in 0..DENIED {
        client.ask_for("pongd", None).unwrap();
        assert_eq!(client.error(), "Denied");
    }
    let seconds = began.elapsed().as_secs() + 2;
    assert!(written_of(&host, "denied", DENIED) <= seconds * 10);
    let status = host.ipc(&["--json", "status"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(counter(&status, "denied"), DENIED);
}

/// How long the machine as a whole is out of descriptors, in attempts to accept.
const SHORTAGE: &str = "inject=accept4:error=ENFILE:when=1..20";

#[test]
fn a_machine_without_descriptors_delays_accepting_and_nothing_spins() {
    if !may_look() || !has("strace", installed("strace").is_some()) {
        return;
    }
    let host = host("");
    let mut early = Raw::to(&host);
    early.ask("org.varlink.service.GetInfo", &json!({})).unwrap();
    assert_eq!(early.error(), "none");
    let mut strace = Command::new("strace");
    let pid = host.broker.pid().to_string();
    let calls = tempfile::NamedTempFile::new().unwrap();
    strace.args(["-qq", "-e", "trace=accept4", "-e", SHORTAGE, "-p", &pid, "-o"]).arg(calls.path());
    let strace = Daemon::start(&mut strace);
    let status = format!("/proc/{pid}/status");
    let is_traced = || !std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n");
    until("strace is there", is_traced);
    let worked = cpu_time(&host);
    let began = Instant::now();
    let mut late = Raw::to(&host);
    late.ask_for("pongd", None).unwrap();
    early.ask_for("pongd", None).unwrap();
    assert_eq!(early.error(), "none", "who was there first is served meanwhile");
    assert_eq!(late.error(), "none", "who came is served when the shortage is over");
    let (worked, took) = (cpu_time(&host).saturating_sub(worked), began.elapsed());
    assert!(worked <= took / 4, "{worked:?} of {took:?}");
    strace.signal(nix::sys::signal::Signal::SIGINT);
    until("strace is gone", || !is_traced());
    let calls = std::fs::read_to_string(calls.path()).unwrap().lines().count();
    assert!(calls < 60, "{calls} attempts");
    is_served(&host);
}

/// Processor time of the broker so far.
fn cpu_time(host: &Host) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.broker.pid())).unwrap();
    // Fields 14 and 15 count from 1, behind the name in parentheses; 100 ticks are a second.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn raise_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[test]
fn claims_of_length_cost_no_memory() {
    raise_limit();
    let host = host("");
    is_served(&host);
    let before = resident(&host);
    let claims: Vec<_> = (0..900)
        .map(|_| {
            let mut client = Raw::to(&host);
            client.say(b"\0\x01\x86\x98x").unwrap();
            client
        })
        .collect();
    is_served(&host);
    let more = resident(&host).saturating_sub(before);
    assert!(more < 16 << 20, "{more} bytes for {} claims of 99,992", claims.len());
}

/// Memory of the broker, in bytes.
fn resident(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
