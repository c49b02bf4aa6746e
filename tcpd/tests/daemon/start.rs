//! Starting and ending.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::Tcpd;

#[test]
fn a_signal_to_stop_ends_it_with_success_and_leaves_no_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut tcpd = Tcpd::start();
        let pid = Pid::from_raw(tcpd.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        assert_eq!(tcpd.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!tcpd.directory.path().join("ipc/transport/tcp").exists());
    }
}

#[test]
fn usage_and_the_system_have_exit_codes_of_their_own() {
    let run = |arguments: &[&str]| {
        let mut tcpd = Command::new(env!("CARGO_BIN_EXE_tcpd"));
        let output = tcpd.args(arguments).env_remove("XDG_RUNTIME_DIR").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["--listen", "nowhere"]).0, Some(64));
    assert_eq!(run(&["--name", "../tcp"]).0, Some(64));
    let (code, said) = run(&["--user"]);
    let expected = "tcpd: XDG_RUNTIME_DIR is not set: name the run directory with --rundir DIR\n";
    assert_eq!((code, said.as_str()), (Some(64), expected));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, "[listen.fleet]\nadress = 1\n").unwrap();
    let (code, said) = run(&["--config", path]);
    assert_eq!(code, Some(78));
    assert!(said.starts_with(&format!("tcpd: {path}:2:1: ")), "{said}");
    std::fs::write(path, "[listen.fleet]\n").unwrap();
    let (code, said) = run(&["--config", path, "--rundir", "/nowhere/ipc"]);
    let expected = "tcpd: [listen.fleet] has no address, and no socket \"fleet\" was inherited\n";
    assert_eq!((code, said.as_str()), (Some(78), expected));
    let (code, said) = run(&["--config", "/nowhere/tcpd.toml"]);
    assert_eq!(code, Some(78));
    assert!(said.starts_with("tcpd: /nowhere/tcpd.toml: cannot be read: "), "{said}");
    let taken = Tcpd::start();
    let directory = tempfile::tempdir().unwrap();
    let rundir = directory.path().join("ipc");
    let address = taken.address.to_string();
    let (code, said) = run(&["--listen", &address, "--rundir", rundir.to_str().unwrap()]);
    assert_eq!(code, Some(71));
    assert!(said.contains(&format!("tcpd: cannot listen at {address}: ")), "{said}");
    let rundir = taken.directory.path().join("ipc");
    let (code, said) = run(&["--rundir", rundir.to_str().unwrap()]);
    assert_eq!(code, Some(71));
    assert!(said.contains("already"), "{said}");
}
