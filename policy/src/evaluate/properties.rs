//! The evaluator against a naive one, over generated rules and requests.

use std::net::IpAddr;

use libipc::identity::LocalIdentity;
use proptest::prelude::*;

use super::*;
use crate::fixture::{name, peer, remote, rules};
use crate::query::AddressRule;
use crate::sampling::{Asked, query_with};

const SERVICES: [&str; 4] = ["a", "ab", "b", "ba"];
const ADDRESSES: [&str; 8] = [
    "10.0.0.1",
    "10.1.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "192.0.2.1",
    "2001:db8::1",
    "169.254.169.254",
];

fn service() -> impl Strategy<Value = &'static str> {
    prop::sample::select(SERVICES.to_vec())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(ADDRESSES.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn asker() -> impl Strategy<Value = LocalIdentity> {
    let id = prop::option::of(0_u32..3);
    let groups = prop::option::of(proptest::collection::vec(0_u32..3, 0..2));
    let name = |names: &[&'static str]| {
        prop::option::of(prop::sample::select(names.to_vec()).prop_map(str::to_owned))
    };
    let unit = name(&["a.service", "ab.service", "user@1.service"]);
    let logins = proptest::collection::vec(prop::sample::select(vec!["bob", "eve"]), 0..3);
    let names = (name(&["a.service", "b.scope"]), name(&["s", "t"]), logins);
    let all = (id.clone(), id, groups, unit, names);
    all.prop_map(|(uid, gid, groups, unit, (user_unit, socket, logins))| LocalIdentity {
        pid: None,
        uid,
        gid,
        groups,
        unit,
        user_unit,
        socket,
        logins: logins.into_iter().map(str::to_owned).collect(),
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let hosts = vec!["h", "a.h", "localhost", "10.0.0.1", "127.0.0.1", "[::1]", "192.0.2.1"];
    let target = (
        prop::sample::select(vec!["tcp", "tls"]),
        prop::sample::select(hosts),
        prop::sample::select(vec![9000, 9001, 80]),
    );
    let target = target.prop_map(|(scheme, host, port)| format!("{scheme}://{host}:{port}"));
    let names = vec!["dns:h", "dns:A.h", "dns:*.h", "uri:spiffe://x/y", "login:bob"];
    let names = prop::sample::subsequence(names, 0..4);
    let scheme = prop::sample::select(vec!["tcp", "tls"]);
    prop_oneof![
        (target, address(), asker()).prop_map(|(target, address, asker)| Asked::Out {
            target,
            address,
            asker
        }),
        (scheme, address(), names).prop_map(|(scheme, address, names)| {
            Asked::In { peer: peer(scheme, &address.to_string(), &names) }
        }),
        (service(), asker(), prop::option::of(0_u32..3)).prop_map(|(target, asker, owner)| {
            Asked::Local { target: target.to_owned(), asker, owner }
        }),
    ]
}

/// Subjects of programs that ask for what is on another host.
const LOGINS: [&str; 3] = [" for login:bob", " for login:eve,login:bob", " for user:1,login:bob"];

fn rule_line() -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["allow", "allow", "deny", "permissive"]);
    let services = vec!["a", "b", "ab", "*", "a*", "*a", "a,b", "b*,ab"];
    let hosts = vec![
        "",
        ":*",
        ":h",
        ":*.h",
        ":localhost",
        ":10.0.0.0/8",
        ":127.0.0.0/8",
        ":0.0.0.0/0",
        ":[::/0]",
        ":10.0.0.1",
        ":127.0.0.1",
        ":[::1]",
        ":192.0.2.1",
        ":169.254.0.0/16",
    ];
    let place = (prop::sample::select(vec!["tcp", "tls", "*"]), prop::sample::select(hosts));
    let ports = prop::sample::select(vec!["", ":*", ":80", ":80-9000"]);
    let outward = (place.clone(), ports).prop_map(|((scheme, hosts), ports)| {
        let hosts = if hosts.is_empty() && !ports.is_empty() { ":*" } else { hosts };
        format!("{scheme}{hosts}{ports}")
    });
    let subject = vec![
        "",
        "",
        " for user:0",
        " for user:1,user:2",
        " for group:1",
        " for user:1,group:2",
        " for unit:a*.service",
        " for unit:ab.service,group:1",
        " for user:1,user-unit:*.scope",
        " for user:1,user:0,user-unit:a.service",
        " for socket:s",
    ];
    let from = vec![
        "",
        "",
        " for anonymous",
        " for net:10.0.0.0/8",
        " for anonymous,net:127.0.0.0/8",
        " for dns:*.h",
        " for dns:h,login:bob",
        " for uri:spiffe://x/*",
        " for uri:spiffe://*,net:10.0.0.0/8",
    ];
    let outward_subject = [subject.as_slice(), &LOGINS].concat();
    let rest = prop_oneof![
        (proptest::collection::vec(outward, 1..3), prop::sample::select(outward_subject),)
            .prop_map(|(places, subject)| ("out", format!("{}{subject}", places.join(",")))),
        (place, prop::sample::select(from))
            .prop_map(|((scheme, hosts), from)| ("in", format!("{scheme}{hosts}{from}"))),
        (prop::sample::select(vec!["", "unix:a*", "unix:b"]), prop::sample::select(subject))
            .prop_map(|(place, subject)| ("local", format!("{place}{subject}"))),
    ];
    (action, prop::sample::select(services), rest).prop_map(
        |(action, services, (direction, rest))| format!("{action} {direction} {services} {rest}"),
    )
}

/// What a list says of `address`.
fn list_allows(addresses: &[AddressRule], address: IpAddr) -> bool {
    let first = addresses.iter().find(|entry| entry.network.contains(&address));
    first.is_some_and(|entry| entry.allow)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// attacks.md R7: the evaluator against a naive one.
    #[test]
    fn the_evaluator_says_what_a_naive_one_says(
        lines in proptest::collection::vec(rule_line(), 0..6), service in service(), asked in asked()
    ) {
        let rules = rules(&lines.join("\n"));
        let verdict = query_with(service, &asked, |query| evaluate(&rules, query));
        let expected = oracle::allows(&lines, service, &asked);
        prop_assert_eq!(verdict.is_allow(), expected, "{:?}", verdict);
    }

    /// The list for a name, and the verdict once its address is known, are one.
    #[test]
    fn the_list_of_a_name_says_of_each_address_what_the_rules_say(
        lines in proptest::collection::vec(rule_line(), 0..6), service in service(),
        asker in asker(), target in prop::sample::select(vec!["tcp://h:80", "tls://a.h:9001", "tcp://localhost:9000"]),
    ) {
        let rules = rules(&lines.join("\n"));
        let (service, target, asker) = (&name(service), &remote(target), &asker);
        let verdict = evaluate(&rules, &Query::Out { service, target, address: None, asker });
        for address in ADDRESSES.map(|text| text.parse().unwrap()) {
            let query = Query::Out { service, target, address: Some(address), asker };
            let listed = match &verdict {
                Verdict::Allow { addresses, .. } => list_allows(addresses, address),
                Verdict::Deny { .. } => false,
            };
            prop_assert_eq!(listed, evaluate(&rules, &query).is_allow(), "{} {:?}", address, verdict);
        }
    }

    /// The index finds what a walk through all rules finds, and the walk ends at its decision.
    #[test]
    fn recording_changes_no_verdict(
        lines in proptest::collection::vec(rule_line(), 0..6), service in service(), asked in asked()
    ) {
        let rules = rules(&lines.join("\n"));
        query_with(service, &asked, |query| {
            let mut outcomes = Vec::new();
            let recorded =
                evaluate_recording(&rules, query, &mut |_, outcome| outcomes.push(outcome));
            prop_assert_eq!(&recorded, &evaluate(&rules, query));
            let decided = outcomes.iter().filter(|outcome| **outcome == Outcome::Decides).count();
            let named = recorded.rule().is_some_and(|rule| rule.source() != &Source::BuiltIn);
            prop_assert_eq!(decided, usize::from(named), "{:?} {:?}", outcomes, recorded);
            prop_assert!(!named || outcomes.last() == Some(&Outcome::Decides));
            Ok(())
        })?;
    }

    /// The cure, where it says that it has to stand, else behind all rules, allows what was denied.
    #[test]
    fn the_cure_allows_what_was_denied(
        lines in proptest::collection::vec(rule_line(), 0..6), service in service(), asked in asked()
    ) {
        let text = lines.join("\n");
        query_with(service, &asked, |query| {
            if let Verdict::Deny { cure, .. } = evaluate(&rules(&text), query) {
                let place = cure.split_once("   # before ");
                let line = place.map(|(_, place)| place.rsplit_once(':').unwrap().1.parse::<usize>());
                let at = line.map_or(lines.len(), |line| line.unwrap() - 1);
                let mut cured = lines.clone();
                cured.insert(at, cure.clone());
                prop_assert!(evaluate(&rules(&cured.join("\n")), query).is_allow(), "{}", cure);
            }
            Ok(())
        })?;
    }
}
