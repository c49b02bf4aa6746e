//! What a broker leaves to the next one, in the hands of its service manager, at the limit.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use ipcd_tests::{Daemon, PATIENCE, program, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sys::ancillary::{self, DESCRIPTORS_MOST, Wait};

/// What a service manager hears: the text, and what it is to keep.
fn heard(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut text = [0; 4096];
    let heard =
        ancillary::receive(manager.as_fd(), &mut text, DESCRIPTORS_MOST, Wait::Block).unwrap();
    (String::from_utf8_lossy(&text[..heard.bytes]).into_owned(), heard.descriptors)
}

fn call(client: &mut UnixStream, method: &str, parameters: &Value) {
    let call = json!({ "method": method, "parameters": parameters });
    client.write_all(format!("{call}\0").as_bytes()).unwrap();
}

#[test]
fn as_many_clients_are_left_to_the_next_broker_as_the_limit_and_the_others_hear_the_end() {
    let place = tempfile::tempdir().unwrap();
    let (rundir, config) = (place.path().join("ipc"), place.path().join("ipcd.toml"));
    std::fs::write(&config, "").unwrap();
    let manager = UnixDatagram::bind(place.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = program("ipcd");
    command.arg("--config").arg(&config).arg("--rundir").arg(&rundir).args(["--log-level", "warn"]);
    let mut broker = Daemon::start(command.env("NOTIFY_SOCKET", place.path().join("notify")));
    while !heard(&manager).0.starts_with("READY=1") {}

    let connect = || UnixStream::connect(rundir.join("ipc")).unwrap();
    let mut clients: Vec<_> = (0..=500).map(|_| connect()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = json!({ "service": "later", "wait": true, "timeoutMs": 600_000, "take": [] });
        call(client, "org.ipcd.Broker.Connect", &asked);
    }
    until("the broker has read what all of them want", || {
        clients.iter().all(|client| sys::socket::uncollected(client.as_fd()).unwrap() == 0)
    });
    broker.signal(Signal::SIGTERM);
    let mut kept = Vec::new();
    loop {
        match heard(&manager) {
            (text, sockets) if text == "FDSTORE=1\nFDNAME=kept.clients" => kept.extend(sockets),
            (text, _) if text == "STOPPING=1" => break,
            _ => {}
        }
    }
    assert_eq!(kept.len(), 500);
    assert!(broker.0.wait().unwrap().success());
    let is_over = |client: &UnixStream| {
        client.set_nonblocking(true).unwrap();
        matches!((&*client).read(&mut [0]), Ok(0))
    };
    assert_eq!(clients.iter().filter(|client| is_over(client)).count(), 1);
    drop(kept);
    assert!(clients.iter().all(is_over), "and nobody else holds any of them");
}
