use super::*;

const GOOD: &str = r#"
drain-seconds = 5

[listen.fleet]
certificate = "host"
clients = "fleet"

[listen.web]
certificate = "host"
clients = "none"
service = "shop"
tls12 = true

[certificate.host]
chain = "/etc/ipcd/tls/host.crt"
key = "credential:host.key"

[trust.fleet]
ca = "/etc/ipcd/tls/fleet-ca.crt"
crl = "/etc/ipcd/tls/fleet-ca.crl"

[trust.pinned]
pins = ["sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
raw-public-keys = true

[dial]
certificate = "host"
trust = "system"
"#;

fn problems(text: &str) -> Vec<String> {
    let problems = Config::parse("tlsd.toml", text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_file_says_who_we_are_whom_we_believe_and_what_we_offer() {
    let config = Config::parse("tlsd.toml", GOOD).unwrap();
    let fleet = &config.listen["fleet"];
    assert_eq!((fleet.certificate.as_str(), fleet.clients.as_deref()), ("host", Some("fleet")));
    assert_eq!((fleet.service.as_ref(), fleet.tls12), (None, false));
    let web = &config.listen["web"];
    assert_eq!((web.clients.as_ref(), web.tls12), (None, true));
    assert_eq!(web.service.as_ref().map(ServiceName::as_str), Some("shop"));
    assert_eq!(config.certificates["host"].key, SecretPlace::Credential("host.key".to_owned()));
    assert!(config.trusts["pinned"].is_raw);
    assert_eq!(config.dial.trust.as_deref(), Some(SYSTEM));
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(Config::parse("tlsd.toml", ""), Ok(Config::default()));
}

#[test]
fn what_a_table_refers_to_has_to_be_there() {
    let text = "[listen.fleet]\ncertificate = \"hst\"\nclients = \"system\"\n\
                [certificate.host]\nkey = \"/k\"\n[dial]\ntrust = \"fleet\"\n";
    let said = problems(text);
    let begins = [
        "tlsd.toml:2:15: there is no table [certificate.hst]",
        "tlsd.toml:3:11: clients are believed by a trust of their own",
        "tlsd.toml:7:9: there is no table [trust.fleet]",
    ];
    assert_eq!(said.len(), begins.len(), "{said:#?}");
    for (said, begin) in said.iter().zip(begins) {
        assert!(said.starts_with(begin), "{said}");
    }
}

#[test]
fn a_listener_says_whom_it_lets_in() {
    let text = "[listen.fleet]\ncertificate = \"host\"\n[certificate.host]\nkey = \"/k\"\n";
    assert_eq!(problems(text), ["tlsd.toml:1:1: needs the key `clients`"]);
}

#[test]
fn a_trust_that_believes_nobody_or_too_much_is_a_mistake() {
    let pin = "pins = \"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"";
    let cases = [
        ("[trust.a]\n".to_owned(), "needs `ca`, `pins`, or both"),
        (
            format!("[trust.a]\nca = \"/ca\"\nraw-public-keys = true\n{pin}\n"),
            "a key without a certificate has no `ca`",
        ),
        (format!("[trust.a]\ncrl = \"/crl\"\n{pin}\n"), "`crl` means nothing without `ca`"),
        (format!("[trust.pin]\n{pin}\n"), "this name has a meaning of its own"),
        ("[trust.a]\nca = \"ca.crt\"\n".to_owned(), "wants an absolute path"),
        ("[trust.a]\npins = \"sha256-x\"\n".to_owned(), "wants sha256- and 44 characters"),
        (
            "[certificate.a]\nkey = \"credential:../x\"\n".to_owned(),
            "wants credential:NAME, as the service manager has it",
        ),
        ("[trust.a]\nca = \"/ca\"\nverify = false\n".to_owned(), "unknown key `verify`"),
    ];
    for (text, expected) in cases {
        let said = problems(&text);
        assert!(said.iter().any(|said| said.contains(expected)), "{said:#?}");
    }
}
