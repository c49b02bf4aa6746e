//! Clients that stay: `crowd RUNDIR FILE KIND=COUNT…` opens so many connections to the broker of that
//! run directory, each in a state that costs the broker as much as it can. When all are in it, that is
//! told; when FILE.more is there, those that can take still more; when FILE is there, they end.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]
#![expect(clippy::expect_used, reason = "tests: a broken premise ends them")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// How long any one answer may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of a request that is as long as it may be, but for its end.
const LONG: usize = 63 * 1024;

/// Bytes of an `IPC_NETWORK` that is nearly as long as it may be.
const NETWORK: usize = 47 * 1024;

fn main() {
    let mut words = std::env::args().skip(1);
    let place = PathBuf::from(words.next().expect("a directory")).join("ipc");
    let end = PathBuf::from(words.next().expect("a file"));
    let mut kept = Vec::new();
    for word in words {
        let (kind, count) = word.split_once('=').expect("KIND=COUNT");
        let count: usize = count.parse().expect("a number");
        kept.extend((0..count).filter_map(|turn| begin(&place, kind, turn)));
    }
    println!("there");
    let more = end.with_extension("more");
    wait_for(|| more.exists() || end.exists());
    for (socket, takes_more) in &mut kept {
        if *takes_more {
            // It has to be in time, and some may be cut before.
            let _cut = socket.write_all(&vec![b' '; LONG]).is_err();
        }
    }
    wait_for(|| end.exists());
}

fn wait_for(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// One connection, and whether it takes a long request later; none if it does not stay.
fn begin(place: &Path, kind: &str, turn: usize) -> Option<(UnixStream, bool)> {
    let mut socket = UnixStream::connect(place).expect("the broker listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    if let Some(message) = first(kind, turn) {
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        socket.write_all(&bytes).expect("the broker reads");
        if !["waiting", "dialling", "monitoring"].contains(&kind) {
            assert_eq!(error(&mut socket), Value::Null, "{kind}");
        }
        if kind == "logging-in" {
            socket.write_all(login(turn).as_bytes()).expect("authd reads");
        }
    }
    (kind != "gone").then_some((socket, kind == "narrowed"))
}

/// What a connection says first; nothing, if it is of no other kind.
fn first(kind: &str, turn: usize) -> Option<Value> {
    let call = |method: &str, parameters: Value| json!({"method": format!("org.ipcd.{method}"), "parameters": parameters});
    let calls_more = |method: &str, parameters: Value| json!({"method": format!("org.ipcd.{method}"), "parameters": parameters, "more": true});
    let connect = |service: &str, network: &str, wait: bool| {
        let network = format!("{network}{}", " ".repeat(NETWORK - network.len()));
        let take = ["door", "descriptor"];
        json!({"service": service, "network": network, "wait": wait, "take": take,
               "timeoutMs": 600_000})
    };
    let hole = || std::env::var("CROWD_HOLE").expect("where to dial");
    Some(match kind {
        "narrowed" => call("Broker.Restrict", json!({"services": vec!["x".repeat(64); 128]})),
        "waiting" => call("Broker.Connect", connect("late", "other tcp://127.0.0.1:1;", true)),
        "dialling" => {
            call("Broker.Connect", connect("hole", &format!("hole tcp://{}", hole()), false))
        }
        "watching" => {
            let names: Vec<_> = (0..64).map(|number| format!("{number:064}")).collect();
            calls_more("Broker.Watch", json!({"services": names}))
        }
        "monitoring" => calls_more("Control.Monitor", json!({})),
        "serving" | "gone" => {
            calls_more("Broker.Register", json!({"service": format!("{kind}-{turn}")}))
        }
        "logging-in" => json!({
            "method": "org.ipcd.Broker.Connect", "upgrade": true,
            "parameters": {"service": "authd", "take": ["upgrade"]},
        }),
        "uncollected" => json!({
            "method": "org.ipcd.Broker.Connect", "upgrade": true,
            "parameters": {"service": format!("serving-{}", turn / 64), "take": ["upgrade"]},
        }),
        _ => return None,
    })
}

/// A call to authd that is nearly as long as it may be.
fn login(turn: usize) -> String {
    let secret = "x".repeat(31 * 1024);
    let parameters = json!({"user": format!("user-{turn}"), "secret": secret, "peer": "here"});
    let call = json!({"method": "org.ipcd.Authenticator.Verify", "parameters": parameters});
    format!("{call}\0")
}

/// The error of the next answer, or null.
fn error(socket: &mut UnixStream) -> Value {
    let (mut text, mut byte) = (Vec::new(), [1]);
    while byte != [0] {
        assert_eq!(socket.read(&mut byte).expect("an answer in time"), 1, "the broker has closed");
        text.extend(byte);
    }
    text.pop();
    let answer: Value = serde_json::from_slice(&text).expect("the broker speaks JSON");
    answer.get("error").cloned().unwrap_or_default()
}
