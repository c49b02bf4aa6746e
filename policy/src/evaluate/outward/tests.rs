use super::super::tests::{out, reaches};
use super::super::{Query, evaluate};
use super::*;
use crate::fixture::{name, remote, rules, user};

#[test]
fn special_addresses_are_reached_only_by_a_rule_that_names_them() {
    // attacks.md E1: every spelling of what is not to be reached by accident.
    let special = [
        "tcp://127.0.0.1:80",
        "tcp://2130706433:80",
        "tcp://0x7f.1:80",
        "tcp://[::1]:80",
        "tcp://[::ffff:127.0.0.1]:80",
        "tcp://[64:ff9b::7f00:1]:80",
        "tcp://[2002:7f00:1::]:80",
        "tcp://[::127.0.0.1]:80",
        "tcp://0.0.0.0:80",
        "tcp://[::]:80",
        "tcp://169.254.169.254:80",
        "tcp://[64:ff9b::a9fe:a9fe]:80",
        "tcp://[fe80::1]:80",
        "tcp://224.0.0.1:80",
        "tcp://[ff02::1]:80",
        "tcp://255.255.255.255:80",
    ];
    let broad = "allow out x *\nallow out x tcp:0.0.0.0/0:*\nallow out x tcp:[::/0]:*\n\
                 allow out x tcp:126.0.0.0/7:*\nallow out x tcp:[::/1]:*";
    for target in special {
        assert!(!reaches(broad, target, None), "{target}");
        let exact = format!("allow out x {}", remote(target).address());
        assert!(reaches(&exact, target, None), "{exact}");
        assert!(reaches(&format!("{broad}\n{exact}"), target, None), "{exact} behind the others");
    }
    for (text, target, address, allowed) in [
        ("allow out x tcp:127.0.0.0/8:80", "tcp://127.0.0.1:80", None, true),
        ("allow out x tcp:localhost:80", "tcp://127.0.0.1:80", None, true),
        ("allow out x tcp:localhost:80", "tcp://[::1]:80", None, true),
        ("allow out x tcp:localhost:80", "tcp://localhost:80", Some("127.0.0.1"), true),
        ("allow out x tcp:localhost:80", "tcp://localhost:80", Some("::ffff:127.0.0.1"), true),
        // A name that resolves there does not get there.
        ("allow out x tcp:*", "tcp://localhost:80", Some("127.0.0.1"), false),
        ("allow out x tcp:evil.example:80", "tcp://evil.example:80", Some("127.0.0.1"), false),
        ("allow out x tcp:evil.example:80", "tcp://evil.example:80", Some("10.0.0.1"), true),
        // And localhost opens nothing else, whatever it resolves to.
        ("allow out x tcp:localhost:80", "tcp://localhost:80", Some("10.0.0.1"), false),
        // Private ranges are ordinary.
        ("allow out x *", "tcp://10.0.0.1:80", None, true),
        ("allow out x *", "tcp://[fd00::1]:80", None, true),
        // A broad deny is as broad as it looks.
        (
            "deny out x tcp:0.0.0.0/0:*\nallow out x tcp:127.0.0.1:80",
            "tcp://127.0.0.1:80",
            None,
            false,
        ),
        (
            "deny out x tcp:localhost:*\nallow out x *",
            "tcp://localhost:80",
            Some("10.0.0.1"),
            false,
        ),
    ] {
        assert_eq!(reaches(text, target, address), allowed, "{text} {target} {address:?}");
    }
}

#[test]
fn why_a_special_address_is_refused_is_said() {
    let (service, target, asker) = (&name("x"), &remote("tcp://127.0.0.1:80"), &user(998));
    let query = Query::Out { service, target, address: None, asker };
    let verdict = evaluate(&rules("allow out x *"), &query);
    let expected = Verdict::Deny {
        rule: None,
        reason: "127.0.0.1 is a loopback address, and no rule names it".to_owned(),
        cure: "allow out x tcp:127.0.0.1:80 for user:998".to_owned(),
    };
    assert_eq!(verdict, expected);
}

fn list(text: &str, target: &str) -> Vec<String> {
    match out(text, "x", &remote(target), &user(998)) {
        Verdict::Allow { addresses, .. } => addresses
            .iter()
            .filter(|entry| entry.rule.source() != &Source::BuiltIn)
            .map(|entry| format!("{}{}", if entry.allow { '+' } else { '-' }, entry.network))
            .collect(),
        Verdict::Deny { .. } => vec!["denied".to_owned()],
    }
}

#[test]
fn a_name_is_answered_with_what_the_rules_say_of_each_network() {
    let ten = "allow out x tcp:10.0.0.0/8:80";
    for (text, expected) in [
        ("allow out x tcp:h:80", vec!["+0.0.0.0/0", "+::/0"]),
        ("allow out x tcp:10.0.0.0/8:80", vec!["+10.0.0.0/8"]),
        (
            "deny out x tcp:10.0.0.0/8:80\nallow out x tcp:h:80",
            vec!["-10.0.0.0/8", "+0.0.0.0/0", "+::/0"],
        ),
        ("allow out x tcp:10.0.0.0/8:80,tcp:10.1.0.0/16:80", vec!["+10.1.0.0/16", "+10.0.0.0/8"]),
        (
            "allow out x tcp:10.0.0.0/8:80\ndeny out * *\nallow out x tcp",
            vec!["+10.0.0.0/8", "-0.0.0.0/0", "-::/0"],
        ),
        // What names a special range stands before the refusal of all of them.
        (
            "allow out x tcp\nallow out x tcp:127.0.0.1:80",
            vec!["+127.0.0.1/32", "+0.0.0.0/0", "+::/0"],
        ),
        (
            "deny out x tcp:127.0.0.1:80\nallow out x tcp:localhost:80",
            vec!["-127.0.0.1/32", "+::1/128", "+127.0.0.0/8"],
        ),
        // Only denies in it: denied at once.
        ("deny out x tcp:10.0.0.0/8:80", vec!["denied"]),
        ("deny out * *\nallow out x tcp:h:80", vec!["denied"]),
        ("allow out x tcp:other:80\nallow out x tcp:10.0.0.0/8:81", vec!["denied"]),
    ] {
        assert_eq!(list(text, "tcp://h:80"), expected, "{text}");
    }
    assert_eq!(list(ten, "tls://h:80"), ["denied"], "another scheme");
}

#[test]
fn the_special_ranges_are_refused_before_what_speaks_of_all_addresses() {
    let verdict = out("allow out x *", "x", &remote("tcp://h:80"), &user(998));
    let Verdict::Allow { addresses, .. } = verdict else { panic!("{verdict:?}") };
    let ranges = special::ranges().len();
    assert_eq!(addresses.len(), ranges + 2);
    assert!(addresses[..ranges].iter().all(|entry| !entry.allow));
    assert_eq!(
        addresses[0].rule.to_string(),
        "loopback, link-local, metadata, multicast and \
        unspecified addresses are reached only by a rule that names them"
    );
}

#[test]
fn a_broad_deny_closes_the_special_ranges_for_what_stands_behind_it() {
    let text = "allow out x tcp:h:80\ndeny out x tcp:0.0.0.0/0:80\n\
                allow out x tcp:127.0.0.1:80,tcp:[::1]:80";
    let verdict = out(text, "x", &remote("tcp://h:80"), &user(998));
    let Verdict::Allow { addresses, .. } = verdict else { panic!("{verdict:?}") };
    for (address, allowed) in [("127.0.0.1", false), ("::1", true), ("10.0.0.1", true)] {
        let address: IpAddr = address.parse().unwrap();
        let entry = addresses.iter().find(|entry| entry.network.contains(&address)).unwrap();
        assert_eq!(entry.allow, allowed, "{address}");
    }
}

#[test]
fn an_address_carries_the_network_that_let_it_pass() {
    let network = |text: &str| list(text, "tcp://192.0.2.5:80");
    assert_eq!(network("allow out x tcp"), ["+0.0.0.0/0"]);
    assert_eq!(network("allow out x tcp:192.0.2.0/24:80"), ["+192.0.2.0/24"]);
    assert_eq!(network("allow out x tcp,tcp:192.0.2.5:80,tcp:192.0.2.0/24:80"), ["+192.0.2.5/32"]);
}

/// What the one who connects is told has an end.
#[test]
fn ten_thousand_networks_are_named_for_a_target_and_one_more_is_not() {
    let most = 10_000;
    let list = |count: usize| {
        let networks: Vec<_> =
            (0..count).map(|n| format!("tcp:10.{}.{}.0/24:1", n / 250, n % 250)).collect();
        rules(&format!("allow out x {}", networks.join(",")))
    };
    let (service, target, asker) = (&name("x"), &remote("tcp://h:1"), &user(1));
    let query = Query::Out { service, target, address: None, asker };
    assert!(evaluate(&list(most), &query).is_allow());
    let Verdict::Deny { reason, .. } = evaluate(&list(most + 1), &query) else { panic!() };
    assert_eq!(reason, "the rules name more than 10000 networks for it; name its host instead");
}

#[test]
fn what_a_special_address_is_and_that_no_rule_names_it_is_told() {
    let rules = rules("allow out * *");
    let (service, asker) = (name("x"), user(1));
    for (host, what) in [
        ("0.1.2.3", "an unspecified address, which means this host"),
        ("127.0.0.9", "a loopback address"),
        ("169.254.1.1", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "a broadcast address"),
        ("100.100.100.200", "a metadata address of the cloud"),
        ("[64:ff9b:1::1]", "an address of a local NAT64"),
    ] {
        let target = remote(&format!("tcp://{host}:80/x"));
        let query = Query::Out { service: &service, target: &target, address: None, asker: &asker };
        let Verdict::Deny { reason, .. } = evaluate(&rules, &query) else { panic!("{host}") };
        let host = host.trim_matches(['[', ']']);
        assert_eq!(reason, format!("{host} is {what}, and no rule names it"));
    }
}
