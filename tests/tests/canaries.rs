//! What daemons that run cannot do, tried by their own threads: each of them is made to make calls
//! that its code never would, and the kernel has to refuse them. A program that has not shut itself
//! in makes the same calls, and is never refused so: that the calls can be made here at all.

#![cfg(target_arch = "x86_64")]

use std::process::Command;

use ipcd_tests::forbidden::{CANARIES, FOREIGN, INTERNET, threads};
use ipcd_tests::puppet::Puppet;
use ipcd_tests::{Daemon, Host, free_port, has, is_root};
use nix::errno::Errno;

#[test]
fn no_thread_of_a_running_daemon_can_do_what_it_has_no_business_with() {
    if !has("root, to trace daemons", is_root()) {
        return;
    }
    if !a_free_program_is_refused_nothing() {
        return;
    }
    let port = free_port();
    let out = format!("allow out pongd tcp:127.0.0.1:{port}");
    let host = Host::new(&["--rule", &out, "--rule", "allow in pongd tcp:127.0.0.1"])
        .with_pongd("pongd")
        .with_tcpd(Some(port))
        .with_tlsd("")
        .with_authd(&[("alice", "right", &[])]);
    let [_pongd, tcpd, tlsd, authd] = host.others.as_slice() else { panic!("four others") };
    for (name, daemon) in [("ipcd", &host.broker), ("tcpd", tcpd), ("tlsd", tlsd), ("authd", authd)]
    {
        let threads = threads(daemon.pid());
        assert!(threads.len() >= 2, "{name} and its log");
        for thread in threads {
            let puppet = Puppet::of(thread);
            let tried = CANARIES.iter().chain(INTERNET).chain([&FOREIGN]);
            for canary in tried {
                let may = (name == "tcpd" && INTERNET.iter().any(|one| one.what == canary.what))
                    || (name == "tlsd" && canary.what == FOREIGN.what);
                let expected = (!may).then_some(canary.refused);
                assert_eq!(canary.tried_by(&puppet), expected, "{name}: {}", canary.what);
            }
        }
    }
    // Each goes on as if nothing had been.
    assert_eq!(host.ping("pongd", ""), "ping");
    assert_eq!(host.ping("pongd", &format!("pongd tcp://127.0.0.1:{port}/pongd")), "ping");
    assert!(host.connect("authd", "").is_ok());
}

/// On a host that refuses calls to everybody it cannot be seen who refuses them to a daemon.
fn a_free_program_is_refused_nothing() -> bool {
    let free = Daemon::start(Command::new("sleep").arg("infinity"));
    let puppet = Puppet::of(free.pid());
    let canaries = CANARIES.iter().chain(INTERNET).chain([&FOREIGN]);
    let refused: Vec<_> = canaries
        .filter(|canary| {
            let said = canary.tried_by(&puppet);
            said.is_some_and(|error| [Errno::EPERM, canary.refused].contains(&error))
        })
        .map(|canary| canary.what)
        .collect();
    let what = format!("host that leaves a free program {}", refused.join(", "));
    has(&what, refused.is_empty())
}
