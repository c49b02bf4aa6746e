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

/// The processes of all daemons, each with what a script says for its number: the first one of
/// tlsd, which starts the other, apart.
const PROCESSES: [(&str, &str); 6] = [
    ("ipcd", "$(pidof ipcd)"),
    ("tcpd", "$(pidof tcpd)"),
    ("tlsd", "$(pgrep --parent $(systemctl show --value --property MainPID ipcd-tlsd))"),
    ("tlsd first", "$(systemctl show --value --property MainPID ipcd-tlsd)"),
    ("authd", "$(pidof authd)"),
    ("pongd", "$(pidof pongd)"),
];

/// A system with all of them running.
fn with_daemons() -> Option<Container> {
    let host = Container::installed()?;
    host.must(
        "echo secret | /usr/libexec/ipcd/authd add somebody; \
         systemctl start ipcd ipcd-tcpd ipcd-tlsd ipcd-authd pongd@pongd.service; ipc status",
    );
    // Its unit is active before it is itself.
    host.until("pidof pongd");
    Some(host)
}

/// What the kernel says of a process: a line of `/proc/PID/status`.
fn status(host: &Container, process: &str, key: &str) -> String {
    let script = format!("sed -n 's/^{key}:[[:space:]]*//p' /proc/{process}/status");
    host.output(&script).trim().to_owned()
}

#[test]
fn running_daemons_have_no_rights_beyond_their_account() {
    let Some(host) = with_daemons() else { return };
    let filters =
        |process: &str| -> usize { status(&host, process, "Seccomp_filters").parse().unwrap() };
    // The units have as many each; pongd has none of its own.
    let of_the_unit = filters("$(pidof pongd)");
    for (name, process) in PROCESSES {
        for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&host, process, key), "0000000000000000", "{name} {key}");
        }
        assert_eq!(status(&host, process, "NoNewPrivs"), "1", "{name}");
        assert_eq!(status(&host, process, "Seccomp"), "2", "{name}");
        // The daemon has shut itself in besides.
        let own = if ["pongd", "tlsd first"].contains(&name) { 0 } else { 3 };
        assert_eq!(filters(process), of_the_unit + own, "{name}");
        assert!(!status(&host, process, "Uid").starts_with('0'), "{name}");
        let core = format!("grep '^Max core' /proc/{process}/limits | tr -s ' '");
        assert_eq!(host.output(&core), "Max core file size 0 0 bytes \n", "{name}");
    }
    assert_eq!(host.output("ps -o nice= -p $(pidof ipcd) | tr -d ' '"), "-10\n");
    assert_eq!(host.output("journalctl --grep sandbox-incomplete --quiet || true"), "");
}

/// What the sandbox of a unit leaves to a process that has no layer of its own: the first one of tlsd
/// starts the others, and pongd is a template. Whom a signal may go to, the account says.
#[cfg(target_arch = "x86_64")]
const LEFT_BY_UNITS: [&str; 4] = ["execve", "execveat", "memfd_create", "kill"];

#[test]
#[cfg(target_arch = "x86_64")]
fn no_running_daemon_can_do_what_it_has_no_business_with() {
    use ipcd_tests::forbidden::{CANARIES, FOREIGN, INTERNET, SECRETS, threads};
    use ipcd_tests::puppet::Puppet;
    use nix::errno::Errno;
    let Some(host) = with_daemons() else { return };
    // By the unit, by the account, or by the daemon itself.
    let refused = [Errno::EPERM, Errno::EACCES, Errno::EROFS, Errno::EAFNOSUPPORT, Errno::ENOSYS];
    let mut wrong = Vec::new();
    for (name, process) in PROCESSES {
        let number = host.output(&format!("echo {process}")).trim().parse().unwrap();
        for thread in threads(host.process(number)) {
            let puppet = Puppet::of(thread);
            for canary in CANARIES.iter().chain(INTERNET).chain([&FOREIGN, &SECRETS]) {
                let may = match name {
                    "tcpd" => INTERNET.iter().any(|one| one.what == canary.what),
                    "tlsd first" | "pongd" => LEFT_BY_UNITS.contains(&canary.what),
                    _ => false,
                };
                let said = canary.tried_by(&puppet);
                let is_refused = said.is_some_and(|error| refused.contains(&error));
                if is_refused == may {
                    wrong.push(format!("{name}: {}: {said:?}", canary.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    host.must("ipc status; echo ping | ipc connect pongd | grep -q ping");
}

#[test]
fn running_daemons_hold_no_descriptor_but_what_they_need() {
    let Some(host) = with_daemons() else { return };
    let loops = ["anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:[signalfd]"];
    for (name, process) in PROCESSES {
        let more: &[&str] = match name {
            // What it waits with for a place to write requests on, and where doors are.
            "ipcd" => &["/memfd:ipc (deleted)", "/run/ipc/services"],
            "tlsd" | "tlsd first" => &["pipe"],
            _ => &[],
        };
        let kinds = host.output(&format!(
            "for one in /proc/{process}/fd/*; do readlink $one; done | \
             sed -E 's/^(socket|pipe):.*/\\1/' | sort -u"
        ));
        for kind in kinds.lines() {
            let is_needed = ["/dev/null", "socket"].contains(&kind)
                || loops.contains(&kind)
                || more.contains(&kind);
            assert!(is_needed, "{name} holds {kind}");
        }
        if name == "tlsd first" {
            // The others inherit its sockets.
            continue;
        }
        // None but the first three goes on to another program.
        let left = host.output(&format!(
            "cd /proc/{process}/fdinfo; for one in *; do [ $one -lt 3 ] || \
             grep -q '^flags:.*2[0-7]\\{{6\\}}$' $one || echo $one; done"
        ));
        assert_eq!(left, "", "{name}");
    }
}

#[test]
fn all_but_tcpd_are_in_a_network_namespace_of_their_own_with_nothing_in_it() {
    let Some(host) = with_daemons() else { return };
    let devices = |unit: &str| {
        host.output(&format!(
            "pid=$(systemctl show --value --property MainPID {unit}); \
             nsenter --net --target $pid ip -brief link | cut -d' ' -f1; \
             [ /proc/$pid/ns/net -ef /proc/1/ns/net ] && echo shared || echo own"
        ))
    };
    assert_eq!(devices("ipcd.service"), "lo\nown\n");
    assert_eq!(devices("ipcd-tlsd.service"), "lo\nown\n");
    assert_eq!(devices("ipcd-authd.service"), "lo\nown\n");
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
    let without_network = ["ipcd", "ipcd-tlsd", "ipcd-authd"].map(outcome);
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
