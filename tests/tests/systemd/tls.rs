//! Installed hosts that know each other by their keys, and daemons that nobody manages.

use ipcd_tests::container::Container;
use ipcd_tests::packages;

const NAMES: &str = "192.0.2.10 db1.example.com db1\n192.0.2.11 web1.example.com web1\n";

fn boot() -> Option<(Container, Container)> {
    let (db1, web1) = (Container::boot()?, Container::boot()?);
    db1.join("192.0.2.10/24", &web1, "192.0.2.11/24", "lan0");
    for host in [&db1, &web1] {
        host.must(&format!("printf '{NAMES}' >>/etc/hosts"));
        host.add_packages(packages::built());
    }
    Some((db1, web1))
}

/// The lines that are printed behind one that begins so, and what stands behind that beginning.
fn printed_behind<'p>(printed: &'p str, before: &str) -> (&'p str, String) {
    let mut lines = printed.lines().skip_while(|line| !line.starts_with(before));
    let rest = lines.next().unwrap().strip_prefix(before).unwrap().trim_end_matches(':');
    let block: Vec<_> = lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect();
    (rest, block.join("\n") + "\n")
}

/// Writes what is printed behind that line into the file that it names, for the service `pongd`.
fn write_as_printed(host: &Container, printed: &str, before: &str) {
    let (path, text) = printed_behind(printed, before);
    host.write(&path.replace("SERVICE", "pongd"), &text.replace("SERVICE", "pongd"));
}

#[test]
fn what_tls_init_prints_works_beside_the_files_of_the_packages() {
    let Some((db1, web1)) = boot() else { return };
    let pin =
        |printed: &str| printed.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let first = web1.output("ipc tls init");
    let second = db1.output(&format!("ipc tls init --peer web1.example.com={}", pin(&first)));
    let third = web1.output(&format!("ipc tls init --peer db1.example.com={}", pin(&second)));
    db1.must("systemctl enable --now pongd@pongd.socket");
    write_as_printed(&db1, &second, "To offer a service to web1.example.com, in ");
    db1.must(&printed_behind(&second, "and to listen on port 9001").1);
    db1.must(&printed_behind(&second, "Then").1);
    write_as_printed(&web1, &third, "To use one of db1.example.com, in ");
    web1.must(&printed_behind(&third, "Then").1);
    web1.until("echo hello | ipc connect pongd | grep -qx hello");
}

#[test]
fn the_doctor_finds_keys_where_the_service_manager_has_them() {
    let Some(host) = Container::installed() else { return };
    host.must("ipc tls init");
    let unit = "[Service]\nLoadCredential=own.key:/etc/ipcd/tls/host.key\n";
    host.write("/etc/systemd/system/ipcd-tlsd.service.d/key.conf", unit);
    let file = "/etc/ipcd/tlsd.toml";
    host.must(&format!("sed -i 's#\"/etc/ipcd/tls/host.key\"#\"credential:own.key\"#' {file}"));
    host.must("systemctl daemon-reload; systemctl restart ipcd-tlsd");
    host.until("ipc doctor --format table | grep -qx 'nothing is wrong'");
    host.must(&format!("chmod 666 {file}"));
    let said = host.run("ipc doctor --format table");
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.stdout.contains("tlsd.toml: others could have written it"), "{said:?}");
    // What goes on goes on, and whoever reads of errors alone reads of this.
    let errors = "journalctl --unit ipcd-tlsd --priority err --output cat";
    host.must(&format!("! {errors} | grep -q not-reloaded; systemctl reload ipcd-tlsd"));
    host.until(&format!("{errors} | grep -q not-reloaded"));
    host.must("systemctl --quiet is-active ipcd-tlsd");
}

#[test]
fn daemons_that_root_starts_by_hand_are_found_by_a_broker_that_has_given_up_root() {
    let Some(host) = Container::installed() else { return };
    host.must("systemctl stop 'ipcd*.socket' 'ipcd*.service'");
    for daemon in ["/usr/bin/ipcd", "/usr/libexec/ipcd/tcpd", "/usr/libexec/ipcd/tlsd"] {
        host.must(&format!("setsid {daemon} --rundir /run/ipc </dev/null >/dev/null 2>&1 &"));
        // The run directory is the first one's to make.
        host.until("test -S /run/ipc/ipc");
    }
    for name in ["tcp", "tls"] {
        host.until(&format!(
            "ipc --json status | grep -q '\"name\":\"{name}\",\"available\":true'"
        ));
    }
    let users = host.output("ps -o user= -C ipcd,tcpd,tlsd");
    assert!(users.lines().count() == 3 && !users.contains("root"), "{users}");
}
