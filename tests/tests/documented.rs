//! What the documentation shows works as it stands there.

use std::fs::{self, File};
use std::process::Command;

use ipcd_tests::{Host, free_port, outcome, program};

/// The client in plain Python of `docs/protocol.md`.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/client.py");

#[test]
fn the_client_is_short_and_shown_as_it_is() {
    let text = fs::read_to_string(CLIENT).unwrap();
    assert!(text.lines().count() <= 40);
    let protocol = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    assert!(fs::read_to_string(protocol).unwrap().contains(&text), "it is shown verbatim");
}

#[test]
fn the_client_reaches_services_of_every_kind() {
    let port = free_port();
    let rule = "allow in far tcp:127.0.0.1";
    let _far = Host::new(&["--rule", rule]).with_tcpd(Some(port)).with_registered_pongd("far");
    let near = Host::new(&["--rule", &format!("allow out far tcp:127.0.0.1:{port}")]);
    let near = near.with_tcpd(None).with_pongd("own").with_registered_pongd("registered");
    let text = fs::read_to_string(CLIENT).unwrap();
    let network = format!("x tcp://127.0.0.1:1; far tcp://127.0.0.1:{port}/far;far2 x");
    for service in ["own", "registered", "far"] {
        let mut command = Command::new("python3");
        command.args([CLIENT, service]).env("IPC_RUNDIR", near.rundir());
        command.env("IPC_NETWORK", &network).stdin(File::open(CLIENT).unwrap());
        let (code, said, errors) = outcome(&mut command);
        assert_eq!((code, &said), (0, &text), "{service}: {errors}");
    }
    let mut command = Command::new("python3");
    command.args([CLIENT, "nobody"]).env("IPC_RUNDIR", near.rundir());
    let (code, _, errors) = outcome(command.stdin(File::open(CLIENT).unwrap()));
    assert_eq!(code, 1);
    assert!(errors.contains("PermissionError: org.ipcd.Broker.UnknownService"), "{errors}");
}

#[test]
fn the_template_for_services_ends_as_it_means_to_though_nobody_reads_why() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = program("pongd").arg("no/name").stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(64));
}
