//! Programs that know nothing of us, as Debian has them: redis, a web server, PostgreSQL.

use std::fs;
use std::process::Command;

use ipcd_tests::namespace::{FAR_HOSTS, FAR_NAME, FAR_V4, FAR_V6, Pair, has_namespaces};
use ipcd_tests::unmodified::{Dialogue, Servers};
use ipcd_tests::{Host, Setup, installed, outcome, program};

/// Their sockets, as services of their host.
fn offer(servers: &Servers) -> String {
    format!(
        "[services.redis]\nsocket = '{}'\n[services.db]\nsocket = '{}'\nowner = 'postgres'\n",
        servers.redis_socket().display(),
        servers.db_socket().display()
    )
}

#[test]
fn they_are_reached_on_another_host_by_name() {
    if !has_namespaces() {
        return;
    }
    let pair = Pair::new();
    let Some(servers) = Servers::start(Some(&pair.far)) else { return };
    let rule = format!("allow out * tcp:{FAR_V4}:*,tcp:[{FAR_V6}]:*,tcp:{FAR_NAME}:*");
    let arguments = ["--rule", rule.as_str()];
    let near =
        Host::of(&Setup { arguments: &arguments, namespace: Some(&pair.near), ..Setup::default() });
    let near = near.with_tcpd_at(&[]);
    for dialogue in Dialogue::all() {
        let (name, port) = (dialogue.name, servers.port(&dialogue));
        for host in FAR_HOSTS {
            dialogue.hold(near.connect(name, &format!("{name} tcp://{host}:{port}")).unwrap());
        }
    }
}

#[test]
fn they_are_services_of_the_far_host_though_they_listen_on_local_sockets() {
    if !has_namespaces() {
        return;
    }
    let pair = Pair::new();
    let Some(servers) = Servers::start(Some(&pair.far)) else { return };
    let arguments = ["--rule", "allow in redis,db tcp:10.77.0.1,tcp:[fd77::1]"];
    let _far = Host::of(&Setup {
        config: &offer(&servers),
        arguments: &arguments,
        namespace: Some(&pair.far),
        ..Setup::default()
    })
    .with_tcpd_at(&[&format!("{FAR_V4}:9000"), &format!("[{FAR_V6}]:9000")]);
    let config = format!("[[redirect]]\nfrom = '*'\nto = 'tcp://{FAR_NAME}/{{name}}'\n");
    let arguments = ["--rule", "allow out redis,db tcp:far.example"];
    let near = Host::of(&Setup {
        config: &config,
        arguments: &arguments,
        namespace: Some(&pair.near),
        ..Setup::default()
    });
    let near = near.with_tcpd_at(&[]);
    for dialogue in [Dialogue::redis(), Dialogue::db()] {
        dialogue.hold(near.connect(dialogue.name, "").unwrap());
    }
    let web = near.ping("web", "");
    assert!(web.starts_with("denied"), "{web}");
}

#[test]
fn they_are_services_of_this_host() {
    let Some(servers) = Servers::start(None) else { return };
    let host = Host::with_config(&offer(&servers), &[]);
    for dialogue in [Dialogue::redis(), Dialogue::db()] {
        dialogue.hold(host.connect(dialogue.name, "").unwrap());
    }
}

/// PostgreSQL asks the kernel who its client is. It would see the broker's user if the broker
/// connected.
#[test]
fn postgresql_knows_its_client_by_the_kernels_word() {
    let Some(servers) = Servers::start(None) else { return };
    let setpriv = installed("setpriv").unwrap();
    let arguments = ["--instance", "system", "--rule", "allow local db"];
    let config = offer(&servers);
    let host = Host::of(&Setup { config: &config, arguments: &arguments, ..Setup::default() });
    let place = tempfile::tempdir().unwrap();
    let opening = place.path().join("opening");
    fs::write(&opening, Dialogue::db().opening()).unwrap();
    let ask = |user: &str| {
        let mut command = Command::new(&setpriv);
        command.args([&format!("--reuid={user}"), "--clear-groups"]);
        command.arg(program("ipc").get_program()).args(["connect", "db", "--rundir"]);
        outcome(command.arg(host.rundir()).stdin(fs::File::open(&opening).unwrap())).1
    };
    let (postgres, nobody) = (ask("postgres"), ask("nobody"));
    assert!(postgres.contains("server_version"), "{postgres:?}");
    assert!(nobody.contains("Peer authentication failed for user \"postgres\""), "{nobody:?}");
}
