//! What a daemon cannot do once it has shut itself in, without any service manager.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use ipcd_tests::{Daemon, Host, free_port};

/// What the probe could do and what not, of what it tried.
fn probed(sockets: &str) -> BTreeMap<String, String> {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for directory in ["readable", "bindable"] {
        fs::create_dir(path(directory)).unwrap();
    }
    fs::write(path("readable/file"), "").unwrap();
    fs::write(path("foreign"), "").unwrap();
    let mut probe = Command::new(env!("CARGO_BIN_EXE_probe"));
    probe.arg(sockets).arg(path("readable")).arg(path("bindable"));
    let (code, stdout, stderr) = ipcd_tests::outcome(&mut probe);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let lines = stdout.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(what, said)| (what.to_owned(), said.to_owned())).collect()
}

#[test]
fn nothing_is_left_but_what_the_daemon_needs() {
    let refused = [
        ("netlink", "EAFNOSUPPORT"),
        ("packet", "EAFNOSUPPORT"),
        ("vsock", "EAFNOSUPPORT"),
        ("alg", "EAFNOSUPPORT"),
        ("thread-netlink", "EAFNOSUPPORT"),
        ("write-own", "EACCES"),
        ("read-foreign", "EACCES"),
        ("write-foreign", "EACCES"),
        ("bind-elsewhere", "EACCES"),
        ("link", "EPERM"),
        ("write-etc", "EACCES"),
        ("exec", "EPERM"),
        ("setuid", "EPERM"),
        ("setgid", "EPERM"),
        ("unshare", "EPERM"),
        ("kill", "EPERM"),
        ("ptrace", "EPERM"),
        ("chroot", "EPERM"),
        ("mount", "EPERM"),
        ("hostname", "EPERM"),
        ("memory-file", "EPERM"),
    ];
    let allowed = ["unix", "pair", "read-own", "bind", "unbind", "read-accounts", "seek", "write"];
    for (sockets, internet) in [("unix", "EAFNOSUPPORT"), ("internet", "works")] {
        let mut found = probed(sockets);
        let inet = [("inet", internet), ("inet6", internet)];
        let works = allowed.map(|what| (what, "works"));
        for (what, expected) in refused.into_iter().chain(inet).chain(works) {
            assert_eq!(found.remove(what).as_deref(), Some(expected), "{sockets}: {what}");
        }
        assert!(found.is_empty(), "{found:?}");
    }
}

/// The lines `key` of all threads of a process.
fn of_threads(daemon: &Daemon, key: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    // One that looked a name up may have ended since it was listed.
    let status = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("status")).ok();
    let line = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    threads.filter_map(|entry| status(entry.unwrap())).map(line).collect()
}

#[test]
fn every_thread_of_a_running_daemon_is_shut_in() {
    let port = free_port();
    let host = Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")])
        .with_tcpd(Some(port))
        .with_tlsd("")
        .with_authd(&[("alice", "right", &[])]);
    // A name, so that it is looked up on a thread.
    let _refused = host.ping("pongd", &format!("pongd tcp://localhost:{port}/pongd"));
    for daemon in std::iter::once(&host.broker).chain(&host.others) {
        for (key, expected) in [
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("Seccomp_filters", "3"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
        ] {
            let found = of_threads(daemon, key);
            assert!(found.len() >= 2, "a daemon and its log");
            assert!(found.iter().all(|one| one == expected), "{key}: {found:?}");
        }
        if ipcd_tests::is_root() {
            let found = of_threads(daemon, "CapBnd");
            assert!(found.iter().all(|one| one == "0000000000000000"), "{found:?}");
        }
    }
}
