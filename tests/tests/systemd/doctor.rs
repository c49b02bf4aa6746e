//! `ipc doctor` on installations that were broken, and what it says to do.

use ipcd_tests::container::Container;

/// Ways to break an installation, and what is said about each.
const BROKEN: [(&str, &str); 12] = [
    ("systemctl stop ipcd.socket ipcd.service", "/run/ipc/ipc is not there"),
    ("systemctl stop ipcd-tcpd.socket", "ipcd-tcpd.socket is enabled and not active"),
    ("chmod 755 /run/ipc/services", "/run/ipc/services has mode 755, not 710"),
    ("chown 7 /run/ipc/transport", "/run/ipc/transport belongs to uid 7, not to root"),
    ("chown 7 /run/ipc/transport/tcp", "/run/ipc/transport/tcp belongs to uid 7"),
    ("chown 7 /run/ipc/transport/tls", "/run/ipc/transport/tls belongs to uid 7"),
    (
        // It starts while the socket is somebody else's.
        "chown root /run/ipc/transport/tcp; systemctl restart ipcd-tcpd",
        "/run/ipc/transport/tcp belongs to uid 0",
    ),
    ("chmod 777 /run/ipc", "the run directory /run/ipc"),
    (
        "kill -9 $(systemctl show --value --property MainPID ipcd); \
      systemctl stop ipcd.service ipcd.socket; systemctl reset-failed ipcd.service; python3 -c 'import socket; \
      socket.socket(socket.AF_UNIX).bind(\"/run/ipc/ipc\")'",
        "nobody listens at /run/ipc/ipc",
    ),
    ("systemctl stop ipcd; systemctl mask --quiet ipcd.service", "ipcd.service is masked"),
    (
        "kill -STOP $(systemctl show --value --property MainPID ipcd)",
        "the broker at /run/ipc/ipc does not answer",
    ),
    (
        "ipc status; echo >/etc/ipcd/ipcd.d/50-mine.toml; chmod 600 /etc/ipcd/ipcd.d/50-mine.toml",
        "/etc/ipcd/ipcd.d/50-mine.toml: the broker cannot read it: it runs as ipcd",
    ),
];

/// What only a reader can mend, with what is said about it, and what he does. An attempt to start
/// that is on its way may have read what is wrong: then it takes another one.
const FAILING: [(&str, &str, &str); 5] = [
    (
        "mkdir /etc/systemd/system/ipcd.service.d; \
         printf '[Service]\nPrivateUsers=yes\n' >/etc/systemd/system/ipcd.service.d/50.conf; \
         systemctl daemon-reload; systemctl restart ipcd || true",
        "ipcd.service does not run (exit-code, exit code 78)",
        "rm -r /etc/systemd/system/ipcd.service.d; systemctl daemon-reload; \
         until systemctl restart ipcd; do :; done",
    ),
    (
        "echo '[nonsense]' >>/etc/ipcd/tcpd.toml; systemctl restart ipcd-tcpd || true",
        "ipcd-tcpd.service does not run",
        "sed -i '/nonsense/d' /etc/ipcd/tcpd.toml; \
         until systemctl restart ipcd-tcpd; do :; done",
    ),
    (
        // Started again and again, for ever.
        "mkdir /etc/systemd/system/ipcd-tcpd.service.d; \
         printf '[Service]\nExecStart=\nExecStart=/bin/false\n' \
         >/etc/systemd/system/ipcd-tcpd.service.d/50.conf; \
         systemctl daemon-reload; systemctl restart ipcd-tcpd || true",
        "ipcd-tcpd.service does not run",
        "rm -r /etc/systemd/system/ipcd-tcpd.service.d; systemctl daemon-reload; \
         until systemctl restart ipcd-tcpd; do :; done",
    ),
    (
        "ipc status; mkfifo /etc/ipcd/ipcd.d/50-pipe.toml",
        "/etc/ipcd/ipcd.d/50-pipe.toml: is no file",
        "rm /etc/ipcd/ipcd.d/50-pipe.toml",
    ),
    (
        "ipc status; echo >/etc/ipcd/ipcd.d/50-all.toml; chmod 666 /etc/ipcd/ipcd.d/50-all.toml; \
         if ipc reload; then exit 1; fi; if ipc check; then exit 1; fi",
        "/etc/ipcd/ipcd.d/50-all.toml: others could have written it",
        "rm /etc/ipcd/ipcd.d/50-all.toml; ipc reload",
    ),
];

#[test]
fn what_the_doctor_says_to_do_heals() {
    let Some(host) = Container::installed() else { return };
    // Less than the watchdog takes to heal a broker that hangs.
    let healthy = "ipc doctor --timeout 3 --format table";
    // What was just started is there in a moment.
    let is_healthy = |host: &Container| {
        host.until(&format!("{healthy} | grep -qx 'nothing is wrong'"));
        let said = host.run(healthy);
        assert_eq!(said.code, 0, "{said:?}");
    };
    is_healthy(&host);
    for (breaking, expected) in BROKEN {
        host.must(breaking);
        let said = host.run(healthy);
        assert_eq!(said.code, 78, "{breaking}: {said:?}");
        assert!(said.stdout.contains(expected), "{breaking}: {said:?}");
        // All that it says to do, in its order.
        for cure in said.stdout.lines().filter_map(|line| line.strip_prefix("  to do  ")) {
            for step in cure.split(", then: ") {
                host.must(step);
            }
        }
        is_healthy(&host);
    }
    for (breaking, expected, mending) in FAILING {
        host.must(breaking);
        let said = host.run(healthy);
        assert_eq!(said.code, 78, "{breaking}: {said:?}");
        assert!(said.stdout.contains(expected), "{breaking}: {said:?}");
        host.must(&format!("timeout 20 sh -c \"{mending}\""));
        is_healthy(&host);
    }
}

#[test]
fn a_file_that_the_broker_cannot_read_is_told_before_the_broker_is_restarted() {
    let Some(host) = Container::installed() else { return };
    host.must("echo >/etc/ipcd/ipcd.d/50-mine.toml; chmod 600 /etc/ipcd/ipcd.d/50-mine.toml");
    for check in ["ipcd --check", "ipc check"] {
        let said = host.run(check);
        assert_eq!(said.code, 78, "{said:?}");
        assert!(said.stderr.contains("50-mine.toml"), "{said:?}");
    }
}

#[test]
fn the_doctor_names_the_line_that_the_broker_does_not_take() {
    let Some(host) = Container::installed() else { return };
    host.must("ipc status; echo 'rules = \"allow\"' >/etc/ipcd/ipcd.d/50-wrong.toml");
    assert_eq!(host.run("ipc reload").code, 78);
    let said = host.run("ipc doctor --format table");
    assert_eq!(said.code, 78);
    assert!(said.stdout.contains("/etc/ipcd/ipcd.d/50-wrong.toml:1:"), "{said:?}");
    assert!(said.stdout.contains("which is still in force"), "{said:?}");
    let said = host.output("ipc --json doctor || true");
    assert!(said.contains("\"broken\":true"), "{said}");
}

#[test]
fn a_first_configuration_is_one_that_works() {
    let Some(host) = Container::installed() else { return };
    host.must("useradd --create-home alice");
    let as_alice = "setpriv --reuid=alice --regid=alice --clear-groups env HOME=/home/alice";
    let said = host.output(&format!("{as_alice} ipc init"));
    assert!(said.starts_with("/home/alice/.config/ipcd/ipcd.toml: written\n"), "{said}");
    host.must(&format!("{as_alice} ipc check"));
    let said = host.output("ipc init");
    assert!(said.contains("/etc/ipcd/ipcd.toml: there already, and left as it is"), "{said}");
}
