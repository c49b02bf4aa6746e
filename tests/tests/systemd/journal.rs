//! Under systemd every event is an entry of the journal, with a field for each fact.

use ipcd_tests::container::Container;
use serde_json::Value;

#[test]
fn decisions_are_found_in_the_journal_by_their_fields() {
    let Some(host) = Container::installed() else { return };
    host.must("echo 'rules = \"deny local secret\"' >/etc/ipcd/ipcd.toml && ipc reload");
    let denied = host.run("systemd-run --quiet --wait --unit=shop --uid=games ipc connect secret");
    assert_eq!(denied.code, 50, "{}", denied.stderr);
    let find = "journalctl --output=json --no-pager IPCD_VERDICT=denied IPCD_SERVICE=secret";
    host.until(&format!("{find} | grep -q MESSAGE"));
    let entry: Value = serde_json::from_str(host.output(find).lines().next().unwrap()).unwrap();
    let user = host.output("id --user games").trim().to_owned();
    for (field, expected) in [
        ("MESSAGE_ID", "2d9554c876c66234aec5eca49743bd60"),
        ("SYSLOG_IDENTIFIER", "ipcd"),
        ("_SYSTEMD_UNIT", "ipcd.service"),
        ("PRIORITY", "6"),
        ("IPCD_EVENT", "denied"),
        ("IPCD_TARGET", "unix:secret"),
        ("IPCD_RULE", "deny local secret (/etc/ipcd/ipcd.toml:1)"),
        ("IPCD_CLIENT_UID", &user),
        ("IPCD_CLIENT_UNIT", "shop.service"),
        ("IPCD_REVISION", "2"),
    ] {
        assert_eq!(entry[field], expected, "{field} of {entry}");
    }
    assert!(entry["IPCD_CLIENT_PID"].is_string(), "{entry}");
    let message = entry["MESSAGE"].as_str().unwrap();
    assert!(message.starts_with("denied service=secret target=unix:secret "), "{message}");
    let reloaded = host.output("journalctl --output=cat --no-pager IPCD_EVENT=reloaded");
    assert_eq!(reloaded, "reloaded revision=2 would_be_denied=0 ended=0\n");
}
