//! A newer systemd: `varlinkctl` finds its way about the broker, and says what `ipc` says.

use ipcd_tests::container::Container;
use serde_json::Value;

/// The broker's socket, as `varlinkctl` takes it.
const BROKER: &str = "unix:/run/ipc/ipc";

fn json(host: &Container, script: &str) -> Value {
    serde_json::from_str(&host.output(script)).unwrap()
}

#[test]
fn varlinkctl_lists_introspects_and_calls_what_ipc_calls() {
    let Some(host) = Container::newer() else { return };
    host.must("systemctl start pongd@pongd.socket");
    host.must("systemd-run --quiet --unit=registered /usr/libexec/ipcd/pongd registered");
    host.until("echo ping | ipc connect registered | grep -q ping");
    let info = json(&host, &format!("varlinkctl info --json=short {BROKER}"));
    assert_eq!(info["product"], "ipcd", "{info}");
    let listed = host.output(&format!("varlinkctl list-interfaces {BROKER}"));
    for interface in ["org.ipcd.Broker", "org.ipcd.Control", "org.varlink.service"] {
        assert!(listed.lines().any(|line| line == interface), "{listed}");
        // It reads our files with a parser of its own.
        let text = host.output(&format!("varlinkctl introspect {BROKER} {interface}"));
        assert!(text.contains(&format!("interface {interface}")), "{text}");
    }
    let call = |method: &str, parameters: &str| {
        json(&host, &format!("varlinkctl call --json=short {BROKER} {method} '{parameters}'"))
    };
    let ipc = |words: &str| json(&host, &format!("ipc --json {words}"));
    // What counts time and clients is another moment's.
    let lasting = ["version", "instance", "revision", "transports"];
    let (theirs, ours) = (call("org.ipcd.Control.Status", "{}"), ipc("status"));
    for key in lasting {
        assert_eq!(theirs[key], ours[key], "{key}");
        assert!(!theirs[key].is_null(), "{key}");
    }
    // `ipc` run by root adds those that the broker may not list.
    let registered = |all: &Value| -> Vec<Value> {
        let all = all["services"].as_array().unwrap().iter();
        all.filter(|one| one["kind"] == "registered").cloned().collect()
    };
    let services = registered(&call("org.ipcd.Control.Services", "{}"));
    assert_eq!((services.len(), &services), (1, &registered(&ipc("services"))));
    let resolved = call("org.ipcd.Broker.Resolve", r#"{"service":"pongd"}"#);
    assert_eq!(resolved["candidates"], ipc("why pongd")["candidates"], "{resolved}");
    let denied = host.run(&format!(
        "setpriv --reuid=nobody --clear-groups \
         varlinkctl call {BROKER} org.ipcd.Control.Status '{{}}' 2>&1"
    ));
    assert!(denied.code != 0 && denied.stdout.contains("NotPermitted"), "{denied:?}");
    // The units are those for an older systemd, and nothing in them is unknown to this one.
    let said = host.output(
        "for unit in /usr/lib/systemd/system/ipcd* /usr/lib/systemd/system/pongd@*; do \
         systemd-analyze verify --man=no $unit 2>&1; done; journalctl --quiet --grep 'Unknown key' || true",
    );
    assert_eq!(said, "");
}

#[test]
fn under_a_newer_systemd_registered_services_outlive_the_broker_too() {
    let Some(host) = Container::newer() else { return };
    host.must("systemd-run --quiet --unit=registered /usr/libexec/ipcd/pongd registered");
    host.until("echo ping | ipc connect registered | grep -q ping");
    let socket = "pid=$(systemctl show --value --property MainPID registered); \
         readlink /proc/$pid/fd/* | grep ^socket: | sort";
    let before = host.output(socket);
    host.must("systemctl restart ipcd; echo ping | ipc connect registered | grep -q ping");
    host.must("systemctl kill --signal=KILL ipcd");
    host.until("echo ping | ipc connect registered | grep -q ping");
    assert_eq!(host.output(socket), before);
}
