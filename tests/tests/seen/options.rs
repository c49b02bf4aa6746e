//! What the daemons say of themselves, and how they end.

use std::fs::File;

use ipcd_tests::raw::Raw;
use ipcd_tests::{Daemon, outcome, program, until, until_broker_answers};
use nix::sys::signal::Signal;

/// The daemons, each with what it needs to start, and the socket that it then has.
const DAEMONS: [(&str, &str); 3] =
    [("ipcd", "ipc"), ("tcpd", "transport/tcp"), ("tlsd", "transport/tls")];

#[test]
fn every_daemon_tells_its_options_and_takes_no_others() {
    for name in ["ipcd", "tcpd", "tlsd", "authd"] {
        let (code, help, _) = outcome(program(name).arg("--help"));
        assert_eq!(code, 0, "{name}");
        let usage = format!("Usage: {name} ");
        let parts = ["--rundir <DIR>", "--user", "--log-format <", "--log-level <", "Examples:"];
        for part in parts.into_iter().chain([&*usage, "Exit codes: 0 "]) {
            assert!(help.contains(part), "{name} --help without {part}: {help}");
        }
        let (code, version, _) = outcome(program(name).arg("--version"));
        assert_eq!((code, version), (0, format!("{name} {}\n", env!("CARGO_PKG_VERSION"))));
        let (code, _, said) = outcome(program(name).arg("--nonsense"));
        assert!(code == 64 && said.contains("--nonsense"), "{name}: {code}, {said}");
    }
}

#[test]
fn a_signal_ends_every_daemon_with_success_and_it_leaves_no_socket() {
    for (name, socket) in DAEMONS {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let place = tempfile::tempdir().unwrap();
            let rundir = place.path().join("ipc");
            let mut daemon = program(name);
            let mut daemon = Daemon::start(daemon.arg("--rundir").arg(&rundir));
            until("it listens", || rundir.join(socket).exists());
            daemon.signal(signal);
            assert_eq!(daemon.0.wait().unwrap().code(), Some(0), "{name} after {signal}");
            assert!(!rundir.join(socket).exists(), "{name} after {signal}");
        }
    }
}

#[test]
fn what_is_for_developers_is_logged_at_the_level_debug_alone() {
    for (level, is_there) in [("debug", true), ("info", false)] {
        let place = tempfile::tempdir().unwrap();
        let (rundir, log) = (place.path().join("ipc"), place.path().join("log"));
        let mut ipcd = program("ipcd");
        ipcd.arg("--rundir").arg(&rundir).args(["--log-level", level]);
        let mut ipcd = Daemon::start(ipcd.stderr(File::create(&log).unwrap()));
        until_broker_answers(&rundir);
        let mut client = Raw::at(&rundir.join("ipc")).unwrap();
        // One byte more than a call may have.
        client.say(&vec![b'{'; 65_537]).unwrap();
        until("it is closed", || client.is_closed());
        ipcd.signal(Signal::SIGTERM);
        ipcd.0.wait().unwrap();
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(log.contains("DEBUG event=\"client-error\""), is_there, "{log}");
    }
}
