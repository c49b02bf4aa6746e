//! Packages: what installing, upgrading and removing them leaves.

use std::collections::BTreeSet;

use ipcd_tests::container::Container;
use ipcd_tests::packages;

/// Sockets that listen for other hosts.
const PORTS: &str = "ss --no-header --listening --tcp --udp";

/// Every file that is no state of the system's own.
const FILES: &str = "find / -xdev \\( -path /var/lib/dpkg -o -path /var/log -o -path /run \
     -o -path /proc -o -path /sys -o -path /var/tmp \\) -prune -o -print";

fn files(host: &Container) -> BTreeSet<String> {
    host.output(FILES).lines().map(str::to_owned).collect()
}

#[test]
fn an_installation_answers_at_once_and_opens_no_port() {
    let Some(host) = Container::installed() else { return };
    let active = host.output("systemctl is-active ipcd.socket ipcd-tcpd.socket ipcd-tlsd.socket");
    assert_eq!(active, "active\nactive\nactive\n");
    for name in ["tcp", "tls"] {
        let script =
            format!("ipc --json status | grep -q '\"name\":\"{name}\",\"available\":true'");
        host.until(&script);
    }
    assert_eq!(host.output(PORTS), "");
    let listen = host.run("systemctl is-enabled ipcd-tcpd-listen.socket");
    assert_eq!(listen.stdout, "disabled\n");
    let modes = |host: &Container| {
        host.output(
            "stat --format='%a %U:%G %n' /run/ipc /run/ipc/ipc /run/ipc/services \
             /run/ipc/transport /run/ipc/transport/tcp /run/ipc/front /etc/ipcd/ipcd.toml",
        )
    };
    let expected = "755 root:root /run/ipc\n666 root:root /run/ipc/ipc\n\
        710 root:ipcd /run/ipc/services\n711 root:ipcd /run/ipc/transport\n\
        600 ipcd:ipcd /run/ipc/transport/tcp\n755 ipcd:ipcd /run/ipc/front\n\
        644 root:root /etc/ipcd/ipcd.toml\n";
    assert_eq!(modes(&host), expected);
    host.must("systemctl restart ipcd ipcd-tcpd; ipc status");
    assert_eq!(modes(&host), expected);
    host.must("systemctl kill --signal=KILL ipcd ipcd-tcpd; ipc status");
    assert_eq!(modes(&host), expected);
}

#[test]
fn a_removal_ends_everything_and_leaves_no_file_but_configuration_until_the_purge() {
    let Some(host) = Container::boot() else { return };
    let before = files(&host);
    let new = |host: &Container| files(host).difference(&before).cloned().collect::<Vec<_>>();
    host.add_packages(packages::built());
    host.must("systemctl start ipcd-tcpd-listen.socket pongd@pongd.socket; ipc status");
    host.must(
        "systemctl --quiet enable ipcd-tcpd-listen.socket ipcd-tlsd-listen.socket \
         ipcd-authd.socket pongd@pongd.socket ipcd-front@web.socket",
    );
    assert!(host.output(PORTS).contains(":9000"));
    host.must("dpkg --remove pongd ipcd-authd ipcd-tlsd ipcd-tcpd ipcd");
    assert_eq!(host.output(PORTS), "");
    assert_eq!(host.output("pgrep -a 'ipcd|tcpd|tlsd|authd|pongd' || true"), "");
    let configuration: Vec<_> =
        new(&host).into_iter().filter(|path| path.starts_with("/etc/ipcd/")).collect();
    assert_eq!(
        configuration,
        ["authd.toml", "ipcd.toml", "tcpd.toml", "tlsd.toml"]
            .map(|name| format!("/etc/ipcd/{name}"))
    );
    host.must("dpkg --purge ipcd ipcd-tcpd ipcd-tlsd ipcd-authd pongd");
    assert_eq!(new(&host), Vec::<String>::new());
    let units = "systemctl list-units --all --no-legend 'ipcd*' 'pongd@*'";
    assert_eq!(host.output(units), "");
    host.add_packages(packages::built());
    assert_eq!(host.output("systemctl is-active ipcd.socket"), "active\n");
    host.must("systemctl start sockets.target; ipc status");
    assert_eq!(host.output(PORTS), "");
}

#[test]
fn a_broker_of_ones_own_starts_the_daemons_of_the_packages() {
    let Some(host) = Container::installed() else { return };
    host.must(
        "useradd --create-home alice; install --directory --owner=alice --mode=700 /run/alice; \
         systemd-run --quiet --uid=alice --setenv=IPC_RUNDIR=/run/alice/ipc ipcd --with tcpd,tlsd",
    );
    for name in ["tcp", "tls"] {
        host.until(&format!(
            "setpriv --reuid=alice --clear-groups env IPC_RUNDIR=/run/alice/ipc ipc --json status | \
             grep -q '\"name\":\"{name}\",\"available\":true'"
        ));
    }
}

#[test]
fn an_upgrade_keeps_changed_files_connections_and_clients() {
    let Some(host) = Container::installed() else { return };
    host.must(
        "echo 'rules = \"allow local *\"' >/etc/ipcd/ipcd.toml; systemctl start pongd@pongd.socket",
    );
    host.must("ipc reload");
    let pid = "systemctl show --property MainPID ipcd";
    let before = host.output(pid);
    // A client that was connected before the upgrade, and asks its service after it.
    host.must(
        "mkfifo /run/words; systemd-run --quiet --unit=client sh -c \
         'setpriv --reuid=nobody ipc connect pongd </run/words >/run/heard'; \
         exec 9>/run/words; echo before >&9; until grep -q before /run/heard; do sleep 0.02; done; \
         (sleep 60 >&9) >/dev/null 2>&1 & echo $! >/run/holder",
    );
    host.add_packages(packages::built_later());
    assert_ne!(host.output(pid), before);
    assert_eq!(host.output("dpkg-query --show --showformat='${Version}' ipcd"), "0.1.1");
    host.must("echo after >/run/words; kill $(cat /run/holder)");
    host.until("grep -q after /run/heard");
    assert_eq!(host.output("cat /etc/ipcd/ipcd.toml"), "rules = \"allow local *\"\n");
    host.must("setpriv --reuid=nobody ipc connect pongd </dev/null");

    // One that could not start again is left alone, and says why.
    host.must("echo 'rules = \"allow\"' >/etc/ipcd/ipcd.toml");
    let before = host.output(pid);
    let script = "for p in /var/tmp/packages/ipcd_*; do dpkg --install $p 2>&1; done";
    let said = host.output(script);
    assert!(said.contains("ipcd.toml:1:") && said.contains("goes on with"), "{said}");
    assert_eq!(host.output(pid), before);
    host.must("setpriv --reuid=nobody ipc connect pongd </dev/null");
}
