use libipc::identity::RemoteIdentity;

use super::*;
use crate::fixture::{name, peer, read_rules, remote, rules, user};
use crate::scheme::Schemes;
use crate::target::{Author, RemoteTarget, Target};

pub(super) fn out(
    text: &str,
    service: &str,
    target: &RemoteTarget,
    asker: &LocalIdentity,
) -> Verdict {
    let service = &name(service);
    evaluate(&rules(text), &Query::Out { service, target, address: None, asker })
}

/// Whether `text` lets user 998 reach `target` as the service `x`, once its address is known.
pub(super) fn reaches(text: &str, target: &str, address: Option<&str>) -> bool {
    let (service, target, asker) = (&name("x"), &remote(target), &user(998));
    let address = address.map(|address| address.parse().unwrap());
    evaluate(&rules(text), &Query::Out { service, target, address, asker }).is_allow()
}

fn enters(text: &str, service: &str, peer: &RemoteIdentity) -> bool {
    let schemes = Schemes::default();
    let peer = Peer::of(peer, &schemes);
    evaluate(&rules(text), &Query::In { service: &name(service), peer }).is_allow()
}

fn local(text: &str, target: &str, asker: &LocalIdentity, owner: Option<u32>) -> bool {
    let (service, target) = (&name("x"), &name(target));
    evaluate(&rules(text), &Query::Local { service, target, asker, owner }).is_allow()
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    assert!(!reaches("", "tcp://h:1", None));
    assert!(!enters("", "x", &peer("tcp", "10.0.0.1", &[])));
    assert!(!local("", "x", &user(998), None));
}

#[test]
fn the_first_rule_that_matches_decides() {
    for (text, allowed) in [
        ("allow out x tcp:h:1\ndeny out * *", true),
        ("deny out * *\nallow out x tcp:h:1", false),
        ("deny out y *\nallow out x tcp:h:1", true),
        ("permissive out x tcp:h:1\ndeny out * *", true),
        ("deny in * *\nallow out x tcp:h:1", true),
    ] {
        assert_eq!(reaches(text, "tcp://h:1", None), allowed, "{text}");
    }
}

#[test]
fn a_target_is_matched_by_scheme_host_and_port() {
    for (text, target, allowed) in [
        ("allow out x *", "tls://h:1", true),
        ("allow out x tcp", "tls://h:1", false),
        ("allow out x tls:h:1", "tcp://h:1", false),
        ("allow out x *:h:1", "tcp://h:1", true),
        // PORTS absent: the scheme's default port.
        ("allow out x tls:h", "tls://h:9001", true),
        ("allow out x tls:h", "tls://h/x", true),
        ("allow out x tls:h", "tls://h:9000", false),
        ("allow out x *:h", "wss://h:443", true),
        // With HOSTS absent or *: any port.
        ("allow out x tls", "tls://h:5", true),
        ("allow out x tls:*", "tls://h:5", true),
        ("allow out x tls:h:*", "tls://h:5", true),
        ("allow out x tls:h:5-7", "tls://h:5", true),
        ("allow out x tls:h:5-7", "tls://h:7", true),
        ("allow out x tls:h:5-7", "tls://h:4", false),
        ("allow out x tls:h:5-7", "tls://h:8", false),
        // *.NAME is one or more labels before NAME, not the apex.
        ("allow out x tls:*.example.com:1", "tls://a.example.com:1", true),
        ("allow out x tls:*.example.com:1", "tls://a.b.example.com:1", true),
        ("allow out x tls:*.example.com:1", "tls://example.com:1", false),
        ("allow out x tls:*.example.com:1", "tls://badexample.com:1", false),
        ("allow out x tls:example.com:1", "tls://EXAMPLE.com.:1", true),
        // The scheme of a rule is the target's, not a layer of it.
        ("allow out x tls:h:*", "wss://h:443", false),
        // A name does not match an address, nor an address a name.
        ("allow out x tcp:h:1", "tcp://10.0.0.1:1", false),
    ] {
        assert_eq!(reaches(text, target, None), allowed, "{text} {target}");
    }
}

#[test]
fn a_daemon_that_finds_its_own_way_is_matched_by_name_alone() {
    let mut schemes = Schemes::default();
    assert!(schemes.add("tor", vec!["tor".into()]));
    let target = Target::parse("tor://x.onion:80", Author::Client, &schemes).unwrap();
    let target = target.remote().unwrap();
    for (text, allowed) in [
        ("allow out x tor:x.onion:80", true),
        ("allow out x tor", true),
        ("allow out x *:10.0.0.0/8:80", false),
        // Whether the address is in there is not known: a deny rule matches.
        ("deny out x *:10.0.0.0/8:80\nallow out x tor", false),
    ] {
        let rules = Rules::new(read_rules(text, &schemes).unwrap(), schemes.clone());
        let (service, asker) = (&name("x"), &user(998));
        let verdict = evaluate(&rules, &Query::Out { service, target, address: None, asker });
        assert_eq!(verdict.is_allow(), allowed, "{text}");
        if let Verdict::Allow { addresses, .. } = verdict {
            assert!(addresses.is_empty());
        }
    }
}

#[test]
fn over_tcp_nothing_is_proven_but_the_address() {
    let tcp = peer("tcp", "10.1.2.3", &[]);
    for (text, allowed) in [
        ("allow in x tcp:10.0.0.0/8", true),
        ("allow in x tcp:10.1.2.3", true),
        ("allow in x *:10.1.2.3", true),
        ("allow in x tcp:10.1.2.4", false),
        ("allow in x tls:10.1.2.3", false),
        ("allow in x *", false),
        ("allow in x tcp:*", false),
        ("allow in x tcp:web1.example.com", false),
        ("allow in x tls:web1.example.com", false),
        ("allow in x tcp:* for anonymous", true),
        ("allow in x * for anonymous", true),
        ("allow in x tcp:* for net:10.0.0.0/8", false),
        ("allow in x tcp:* for anonymous,net:10.0.0.0/8", true),
        ("allow in x tcp:* for anonymous,net:192.0.2.0/24,net:10.0.0.0/8", true),
        ("allow in x tcp:* for anonymous,net:192.0.2.0/24", false),
        ("allow in x tcp:web1.example.com for anonymous", false),
        // A deny rule matches what is not known.
        ("deny in x tcp:web1.example.com\nallow in x tcp:10.0.0.0/8", false),
        ("deny in x tls:web1.example.com\nallow in x tcp:10.0.0.0/8", true),
        ("deny in x * for anonymous\nallow in x tcp:10.0.0.0/8", false),
        ("deny in x tcp\nallow in x tcp:10.0.0.0/8", false),
    ] {
        assert_eq!(enters(text, "x", &tcp), allowed, "{text}");
    }
    assert!(enters("allow in x tcp:10.0.0.0/8", "x", &peer("tcp", "::ffff:10.1.2.3", &[])));
    assert!(enters("allow in x tcp:localhost", "x", &peer("tcp", "::1", &[])));
}

#[test]
fn a_proven_name_is_matched_and_a_wildcard_is_none() {
    let web = peer("tls", "10.1.2.3", &["dns:web1.example.com", "uri:spiffe://td/web"]);
    for (text, allowed) in [
        ("allow in authd tls:web1.example.com", true),
        ("allow in authd tls:*.example.com", true),
        ("allow in authd tls:*", true),
        ("allow in authd tls:web2.example.com", false),
        ("allow in authd tls:example.com", false),
        ("deny in authd tls:web1.example.com\nallow in authd tls", false),
        ("deny in authd tls:web2.example.com\nallow in authd tls", true),
        ("allow in authd tls:* for anonymous", false),
        ("deny in authd * for anonymous\nallow in authd tls", true),
    ] {
        assert_eq!(enters(text, "authd", &web), allowed, "{text}");
    }
    let wildcard = peer("tls", "10.1.2.3", &["dns:*.example.com"]);
    assert!(!enters("allow in authd tls:web1.example.com", "authd", &wildcard));
}

#[test]
fn the_last_rule_of_local_is_built_in() {
    let (alice, root, other) = (user(1000), user(0), user(1001));
    let nobody_known = LocalIdentity::default();
    assert!(local("", "x", &alice, Some(1000)), "the owner");
    assert!(local("", "x", &root, Some(1000)) && local("", "x", &root, None), "root");
    assert!(!local("", "x", &other, Some(1000)) && !local("", "x", &alice, None), "others");
    assert!(!local("", "x", &nobody_known, Some(1000)) && !local("", "x", &nobody_known, None));
    assert!(!local("deny local x", "x", &alice, Some(1000)), "a rule stands before it");
    let (service, asker) = (&name("x"), &alice);
    let query = Query::Local { service, target: service, asker, owner: Some(1000) };
    let verdict = evaluate(&rules(""), &query);
    assert_eq!(verdict.rule().unwrap().source().to_string(), "built in");
}

#[test]
fn subjects_of_several_kinds_must_all_hold_and_of_one_kind_any() {
    let mut asker = user(1000);
    asker.groups = Some(vec![33]);
    for (subjects, allowed) in [
        ("user:1000", true),
        ("user:alice", true),
        ("user:shop", false),
        ("user:shop,user:alice", true),
        ("group:www", true),
        ("group:1000", true),
        ("group:users", false),
        ("user:alice,group:www", true),
        ("user:alice,group:users", false),
        ("user:shop,group:www", false),
        ("user:ghost", false),
        ("user:ghost,user:alice", true),
    ] {
        let text = format!("allow local x for {subjects}");
        assert_eq!(local(&text, "x", &asker, None), allowed, "{text}");
        let text = format!("deny local x for {subjects}\nallow local x");
        assert_eq!(local(&text, "x", &asker, None), !allowed, "{text}");
    }
}

#[test]
fn what_is_not_known_keeps_an_allow_from_matching_and_lets_a_deny_match() {
    let unknown = LocalIdentity::default();
    let no_groups = LocalIdentity { uid: Some(1000), gid: Some(1000), ..LocalIdentity::default() };
    for (asker, text, allowed) in [
        (&unknown, "allow local x", true),
        (&unknown, "allow local x for user:1000", false),
        (&unknown, "permissive local x for user:1000", false),
        (&unknown, "deny local x for user:1000\nallow local x", false),
        (&no_groups, "allow local x for group:33", false),
        (&no_groups, "allow local x for group:1000", true),
        (&no_groups, "deny local x for group:33\nallow local x", false),
        // What is known to be otherwise settles it.
        (&no_groups, "deny local x for group:33,user:5\nallow local x", true),
        // Nobody is a user that does not exist.
        (&unknown, "deny local x for user:ghost\nallow local x", true),
    ] {
        assert_eq!(local(text, "x", asker, None), allowed, "{text}");
    }
}

#[test]
fn a_local_rule_may_be_about_the_final_service() {
    let asker = user(998);
    for (text, allowed) in [
        ("allow local x unix:next-x", true),
        ("allow local x unix:next-*", true),
        ("allow local x unix:x", false),
        ("allow local next-x", false),
    ] {
        assert_eq!(local(text, "next-x", &asker, None), allowed, "{text}");
    }
}

#[test]
fn a_permissive_rule_lets_pass_and_says_so() {
    let verdict = out("permissive out x tcp:h:1", "x", &remote("tcp://h:1"), &user(998));
    assert!(matches!(verdict, Verdict::Allow { permissive: true, .. }));
    let verdict = out("allow out x tcp:h:1", "x", &remote("tcp://h:1"), &user(998));
    assert!(matches!(verdict, Verdict::Allow { permissive: false, .. }));
}

#[test]
fn a_refusal_names_its_rule_its_reason_and_the_cure() {
    let target = remote("tls://h:9001/x");
    let text = "deny out x * reason \"freeze\"";
    let Verdict::Deny { rule, reason, cure } = out(text, "x", &target, &user(998)) else {
        panic!()
    };
    assert_eq!(rule.unwrap().to_string(), text);
    let before = "allow out x tls:h:9001 for user:998   # before rules:1";
    assert_eq!((reason.as_str(), cure.as_str()), ("freeze", before));
    let Verdict::Deny { rule, reason, cure } = out("", "x", &target, &LocalIdentity::default())
    else {
        panic!()
    };
    assert_eq!((rule, reason.as_str()), (None, "no rule allows it"));
    assert_eq!(cure, "allow out x tls:h:9001");
    let Verdict::Deny { reason, .. } = out("deny out x *", "x", &target, &user(1)) else {
        panic!()
    };
    assert_eq!(reason, "a rule denies it");
    let Verdict::Deny { cure, .. } = out("", "any", &target, &user(1)) else { panic!() };
    assert_eq!(cure, "", "a rule for a service called any would be one for all");
    let schemes = Schemes::default();
    let peer = &peer("tcp", "10.0.0.1", &[]);
    let query = Query::In { service: &name("x"), peer: Peer::of(peer, &schemes) };
    let Verdict::Deny { reason, cure, .. } = evaluate(&rules(""), &query) else { panic!() };
    assert_eq!(cure, "allow in x tcp:10.0.0.1");
    assert_eq!(reason, "nothing is proven about the peer but its address, and no rule allows that");
}

#[test]
fn a_cure_stands_before_the_rule_that_denies_and_is_none_behind_it() {
    let (service, asker) = (&name("secrets"), &user(998));
    let query = Query::Local { service, target: service, asker, owner: Some(1) };
    let text = "allow local other\ndeny local secret*";
    let Verdict::Deny { cure, .. } = evaluate(&rules(text), &query) else { panic!() };
    assert_eq!(cure, "allow local secrets for user:998   # before rules:2");
    assert!(!evaluate(&rules(&format!("{text}\n{cure}")), &query).is_allow());
    let before = text.replace("deny", &format!("{cure}\ndeny"));
    assert!(evaluate(&rules(&before), &query).is_allow());
    // All that localhost leads to is denied by the first of these, whatever else denies it.
    let text = "deny out * *:127.0.0.0/8:*\ndeny out * *:[::1]:*\ndeny out * *";
    let target = remote("tcp://localhost:80");
    let Verdict::Deny { cure, .. } = out(text, "x", &target, asker) else { panic!() };
    assert_eq!(cure, "allow out x tcp:localhost:80 for user:998   # before rules:1");
    assert!(out(&format!("{cure}\n{text}"), "x", &target, asker).is_allow());
}

/// attacks.md C9: of 10,000 rules only those are looked at that may be about a request.
#[test]
fn ten_thousand_rules_make_no_decision_slow() {
    for line in [
        "allow out s{n} tls",
        "allow out * tcp:h{n}.example.com:1",
        "allow out *-{n}-* tcp:h:1",
        "allow out * tcp:*.d{n}.example.com:1",
        "allow out * *:[2001:db8::{n}]:1 for user:1,unit:*",
        "allow out * tcp:h:1 for user:{n}",
        "allow out * tcp:h:1 for unit:*-{n}.service",
        "allow out * tcp:h:{n}-{n}",
    ] {
        let lines: Vec<_> = (2..10_000).map(|n| line.replace("{n}", &n.to_string())).collect();
        let many = rules(&lines.join("\n"));
        let asker = &LocalIdentity { unit: Some("u.service".to_owned()), ..user(1) };
        let (service, target) = (&name("s1"), &remote("tcp://192.0.2.1:1"));
        let query = Query::Out { service, target, address: None, asker };
        assert_eq!(many.about(&query).count(), 0, "{line}");
        assert!(!evaluate(&many, &query).is_allow());
    }
}
