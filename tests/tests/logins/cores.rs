//! Daemons that have secrets leave none of them behind when they break.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ipcd_tests::users::{as_user, has_users};
use ipcd_tests::{Daemon, binaries, has, installed, until};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::Signal;

use crate::hosts::{AUTHD, Hosts};

/// A user with no rights.
const SOMEBODY: u32 = 60_666;

/// Ends it as a failed assertion of its own would; whether its memory was written somewhere.
fn dumps(daemon: &mut Daemon) -> bool {
    daemon.signal(Signal::SIGABRT);
    let status = daemon.0.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    status.core_dumped()
}

/// Whether other programs leave their memory here, as they would on a careless host.
fn others_dump() -> bool {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("sleep");
    let child = command.arg("60").current_dir(place.path()).stdin(Stdio::null()).spawn().unwrap();
    dumps(&mut Daemon(child))
}

#[test]
fn a_daemon_that_breaks_while_it_has_secrets_leaves_no_core() {
    // Children have as much.
    let is_raised = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).is_ok();
    if !has("core of any program", is_raised && others_dump()) {
        return;
    }
    let mut hosts = Hosts::new("allow in pongd tls:* for login:alice", AUTHD);
    hosts.far = hosts.far.with_authd(&[("alice", "right", &[])]);
    let mut stream = hosts.near.connect("pongd", &hosts.network("alice:right")).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut dumped = Vec::new();
    let mut checked = 0;
    for host in [&mut hosts.near, &mut hosts.far] {
        for daemon in std::iter::once(&mut host.broker).chain(&mut host.others) {
            let name = fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
            if !["ipcd", "tlsd", "authd"].contains(&name.trim()) {
                continue;
            }
            checked += 1;
            if dumps(daemon) {
                dumped.push(name);
            }
        }
    }
    assert_eq!(checked, 5, "two brokers, two of tlsd, and authd");
    assert!(dumped.is_empty(), "{dumped:?}");
}

/// A program that runs as an ordinary user; the user whom the kernel lets look into it.
fn owner_of_memory(program: &Path, arguments: &[&str], place: &Path) -> u32 {
    let mut command = as_user(SOMEBODY, &[]);
    command.arg(program).args(arguments).current_dir(place);
    let daemon = Daemon::start(&mut command);
    let place = format!("/proc/{}", daemon.pid());
    let name = program.file_name().unwrap().to_str().unwrap();
    // It says so itself when it has begun; before that it is setpriv, or has not come so far.
    until("it waits for something to do", || {
        let is_it = fs::read_to_string(format!("{place}/comm")).is_ok_and(|it| it.trim() == name);
        let state = fs::read_to_string(format!("{place}/stat")).unwrap_or_default();
        is_it && state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    });
    fs::metadata(format!("{place}/mem")).unwrap().uid()
}

#[test]
fn its_own_user_looks_into_no_daemon_that_has_secrets() {
    if !has_users() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    chown(place.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let owner = |name: &str, arguments: &[&str]| {
        let rundir = place.path().join(name);
        let rundir = ["--rundir", rundir.to_str().unwrap()];
        owner_of_memory(&binaries().join(name), &[&rundir[..], arguments].concat(), place.path())
    };
    let sleep = installed("sleep").unwrap();
    assert_eq!(owner_of_memory(&sleep, &["60"], place.path()), SOMEBODY);
    assert_eq!(owner("ipcd", &[]), 0);
    assert_eq!(owner("tlsd", &[]), 0);
}
