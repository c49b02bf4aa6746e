//! Units: what the running daemons can still do, read from the kernel.

use ipcd_tests::container::Container;

/// Tenths of what `systemd-analyze security` calls exposure, at most.
const EXPOSURE: [(&str, &str); 5] = [
    ("ipcd.service", "5"),
    ("ipcd-tcpd.service", "13"),
    ("ipcd-tlsd.service", "5"),
    ("ipcd-authd.service", "5"),
    ("pongd@.service", "5"),
];

#[test]
fn units_are_valid_and_less_exposed_than_their_limits() {
    let Some(host) = Container::installed() else { return };
    let said = host.output(
        "for unit in /usr/lib/systemd/system/ipcd* /usr/lib/systemd/system/pongd@*; do \
         systemd-analyze verify --man=no $unit 2>&1; done; \
         for unit in /usr/lib/systemd/user/ipcd*; do \
         XDG_RUNTIME_DIR=/run systemd-analyze verify --user --man=no $unit 2>&1; done",
    );
    assert_eq!(said, "");
    for (unit, limit) in EXPOSURE {
        let analyse = format!(
            "systemd-analyze security --offline=true --threshold={limit} \
             /usr/lib/systemd/system/{unit}"
        );
        host.must(&analyse);
    }
}

/// What the kernel says of a running unit: a line of `/proc/PID/status`.
fn status(host: &Container, unit: &str, key: &str) -> String {
    let script = format!(
        "pid=$(systemctl show --value --property MainPID {unit}); \
         sed -n 's/^{key}:[[:space:]]*//p' /proc/$pid/status"
    );
    host.output(&script).trim().to_owned()
}

#[test]
fn running_daemons_have_no_rights_beyond_their_account() {
    let Some(host) = Container::installed() else { return };
    host.must("systemctl start ipcd ipcd-tcpd ipcd-tlsd pongd@pongd.service");
    for unit in ["ipcd.service", "ipcd-tcpd.service", "ipcd-tlsd.service", "pongd@pongd.service"] {
        for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&host, unit, key), "0000000000000000", "{unit} {key}");
        }
        assert_eq!(status(&host, unit, "NoNewPrivs"), "1", "{unit}");
        assert_eq!(status(&host, unit, "Seccomp"), "2", "{unit}");
        // The daemon has shut itself in besides.
        let own = if unit.starts_with("pongd") { 0 } else { 3 };
        let filters: usize = status(&host, unit, "Seccomp_filters").parse().unwrap();
        assert!(filters > own, "{unit}: {filters}");
        assert!(!status(&host, unit, "Uid").starts_with('0'), "{unit}");
    }
    assert_eq!(host.output("journalctl --grep sandbox-incomplete --quiet || true"), "");
}

#[test]
fn all_but_tcpd_are_in_a_network_namespace_of_their_own_with_nothing_in_it() {
    let Some(host) = Container::installed() else { return };
    host.must("systemctl start ipcd ipcd-tcpd ipcd-tlsd pongd@pongd.service");
    let devices = |unit: &str| {
        host.output(&format!(
            "pid=$(systemctl show --value --property MainPID {unit}); \
             nsenter --net --target $pid ip -brief link | cut -d' ' -f1; \
             [ /proc/$pid/ns/net -ef /proc/1/ns/net ] && echo shared || echo own"
        ))
    };
    assert_eq!(devices("ipcd.service"), "lo\nown\n");
    assert_eq!(devices("ipcd-tlsd.service"), "lo\nown\n");
    assert_eq!(devices("pongd@pongd.service"), "lo\nown\n");
    assert_eq!(devices("ipcd-tcpd.service"), "lo\nshared\n");
}

/// A program in the place of a daemon tries what that daemon has no business with.
const CANARY: &str = r"
import os, socket
def tried(name, what):
    try:
        what()
        print(name, 'works')
    except OSError as error:
        print(name, 'fails', error.errno)
for family in ('AF_UNIX', 'AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_PACKET'):
    tried(family, lambda: socket.socket(getattr(socket, family), socket.SOCK_DGRAM))
tried('shadow', lambda: open('/etc/shadow'))
tried('etc', lambda: open('/etc/canary', 'w'))
tried('run', lambda: open('/run/ipc/canary', 'w'))
tried('home', lambda: os.listdir('/root'))
tried('root', lambda: os.setuid(0))
tried('owner', lambda: os.chown('/tmp', 0, 0))
tried('init', lambda: os.kill(1, 0))
tried('memory', lambda: open('/proc/kcore'))
tried('root-directory', lambda: os.chroot('/'))
";

#[test]
fn a_daemon_that_is_taken_over_reaches_nothing_that_is_not_its_own() {
    let Some(host) = Container::installed() else { return };
    host.write("/usr/local/lib/canary.py", CANARY);
    let outcome = |unit: &str| {
        // The unit as it is, with another program.
        host.must(&format!(
            "sed -e 's,^ExecStart=.*,ExecStart=/usr/bin/python3 /usr/local/lib/canary.py,' \
             -e 's,^Type=.*,Type=oneshot,' -e 's,^Restart=.*,,' -e 's,^WatchdogSec=.*,,' \
             /usr/lib/systemd/system/{unit}.service >/run/systemd/system/canary-{unit}.service; \
             systemctl daemon-reload; systemctl start canary-{unit}"
        ));
        host.output(&format!("journalctl --output cat _SYSTEMD_UNIT=canary-{unit}.service"))
    };
    let refused = "AF_NETLINK fails 97\nAF_PACKET fails 97\nshadow fails 13\netc fails 30\n\
         run fails 13\nhome fails 13\nroot fails 1\nowner fails 1\ninit fails 1\n";
    let without_network = ["ipcd", "ipcd-tlsd"].map(outcome);
    for said in &without_network {
        assert!(said.starts_with("AF_UNIX works\nAF_INET fails 97\nAF_INET6 fails 97\n"), "{said}");
        assert!(said.contains(refused), "{said}");
    }
    let network = outcome("ipcd-tcpd");
    assert!(network.starts_with("AF_UNIX works\nAF_INET works\nAF_INET6 works\n"), "{network}");
    assert!(network.contains(refused), "{network}");
    for said in without_network.into_iter().chain([network]) {
        assert!(
            said.contains("memory fails") && said.contains("root-directory fails 1\n"),
            "{said}"
        );
    }
}
