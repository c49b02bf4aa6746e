//! What is said about a decision: every rule before it, and why it did not hold.

use super::*;

#[test]
fn an_explanation_is_the_decision_with_every_rule_before_it() {
    let config = config(
        "rules = '''
        allow out other tcp:h:1
        allow out x tcp:h:1 for user:alice
        allow out x tcp:h:1 for group:ghosts
        deny out x tcp:10.0.0.0/8:1
        allow out x tls:h:1
        allow out x tcp:g:1
        allow out x tcp:h:2
        permissive out x tcp:h:1
        deny out * *
        '''
        redirects.x = 'tcp://h:1'",
    );
    let service_owner = &|_: &ServiceName| None;
    let asker = Asker::Local(&user(7));
    let request = Request { asked: &name("x"), network: None, asker, service_owner };
    let explanation = explain(&config, &request).unwrap();
    let decision = decide(&config, &request).unwrap();
    assert_eq!(explanation.candidates[0].candidate, decision.candidates[0]);
    let notes: Vec<_> = explanation.candidates[0]
        .considered
        .iter()
        .map(|one| format!("{} {} {}", one.rule.source(), one.matched, one.note))
        .collect();
    assert_eq!(
        notes,
        [
            "ipcd.toml:2 false it is not about the service x",
            "ipcd.toml:3 false it is about user:alice, not user 7",
            "ipcd.toml:4 false it is about group:ghosts, not user 7",
            "ipcd.toml:5 false it keeps out those addresses of the host h that it names",
            "ipcd.toml:6 false it is not about the scheme tcp",
            "ipcd.toml:7 false it is not about the host h",
            "ipcd.toml:8 false it is not about port 1",
            "ipcd.toml:9 true it lets this pass and records it",
        ]
    );
}

#[test]
fn every_note_is_a_sentence_about_the_request() {
    let notes = |text: &str, asked: &str, asker: Asker<'_>| -> Vec<String> {
        let service_owner = &|_: &ServiceName| None;
        let request = Request { asked: &name(asked), network: None, asker, service_owner };
        let explanation = explain(&config(text), &request).unwrap();
        let considered = &explanation.candidates[0].considered;
        considered.iter().map(|one| one.note.clone()).collect()
    };
    let nobody = LocalIdentity::default();
    assert_eq!(
        notes(
            "rules = ['allow local x for user:1', 'allow local x unix:y', 'deny local * reason \"no\"']",
            "x",
            Asker::Local(&nobody)
        ),
        [
            "it is about user:1, and whether that asks is not known",
            "it is not about unix:x",
            "it denies this: no"
        ]
    );
    assert_eq!(
        notes(
            "rules = ['allow out x tcp', 'deny out x *']\nredirects.x = 'tcp://127.0.0.1:1'",
            "x",
            Asker::Local(&nobody)
        ),
        ["the host 127.0.0.1 is reached only by a rule that names it", "it denies this"]
    );
    let near = peer("tcp", "10.0.0.1", &[]);
    assert_eq!(
        notes(
            "rules = ['allow in x tcp', 'allow in x tls:h', 'allow in x tcp:10.9.0.0/16', \
             'allow in x * for net:10.9.0.0/16,anonymous', 'allow in x tcp:10.0.0.1']",
            "x",
            Asker::Remote(&near, 0)
        ),
        [
            "nothing is proven about the peer but its address, and the rule wants more",
            "it is not about the scheme tcp",
            "it is not about the peer 10.0.0.1",
            "it is about net:10.9.0.0/16,anonymous, not the peer 10.0.0.1",
            "it allows this",
        ]
    );
}

fn explained(text: &str, service: &str, network: &str, asker: &LocalIdentity) -> Explanation {
    let request = Request {
        asked: &name(service),
        network: Some(network),
        asker: Asker::Local(asker),
        service_owner: &|_| None,
    };
    explain(&config(text), &request).unwrap()
}

/// Every rule is told of, or counted; and an answer fits into what may wait for a client.
#[test]
fn of_very_many_rules_those_about_the_name_are_told_and_how_many_others_there_are() {
    let others = (0..5_000).map(|number| format!("allow out other-{number} tcp:h{number}:1"));
    let about = (0..3_000).map(|number| format!("deny out db tcp:h{number}.example.com:1"));
    let rules: Vec<_> = others.chain(about).chain(["allow out db tcp:*".to_owned()]).collect();
    let text = format!("rules = '''\n{}\n'''", rules.join("\n"));
    let ways: Vec<_> = (0..CANDIDATES_MOST).map(|way| format!("db tcp://x{way}:1/db")).collect();
    for count in [1, CANDIDATES_MOST] {
        let explanation = explained(&text, "db", &ways[..count].join(";"), &user(7));
        assert_eq!(explanation.candidates.len(), count);
        let mut bytes = 0;
        for Explained { considered, omitted, .. } in &explanation.candidates {
            assert_eq!(considered.len() + omitted, rules.len());
            let last = considered.last().unwrap();
            assert!(last.matched && last.rule.as_str() == "allow out db tcp:*", "{last:?}");
            let about = considered.iter().filter(|one| one.rule.as_str().contains(" db ")).count();
            assert!(about > considered.len() / 2, "{about} of {}", considered.len());
            let texts = considered.iter().map(|one| one.rule.shown().len() + one.note.len());
            bytes += texts.sum::<usize>();
        }
        assert!((32 * 1024..128 * 1024).contains(&bytes), "{bytes}");
    }
    let few = explained("rules = ['deny local a', 'allow local b']", "b", "", &user(7));
    assert_eq!((few.candidates[0].considered.len(), few.candidates[0].omitted), (2, 0));
}

#[test]
fn what_of_a_rule_does_not_hold_and_what_is_not_known_is_told() {
    let note = |rule: &str, asker: &LocalIdentity| {
        let text = format!("rules = '''\n{rule}\n'''");
        explained(&text, "db", "", asker).candidates[0].considered[0].note.clone()
    };
    let known = LocalIdentity { unit: Some("blog.service".to_owned()), ..user(998) };
    for (rule, asker, expected) in [
        (
            "allow local db for user:shop,group:www",
            &known,
            "it is about user:shop,group:www, and user 998, unit blog.service is not group:www",
        ),
        (
            "allow local db for group:www",
            &known,
            "it is about group:www, not user 998, unit blog.service",
        ),
        (
            "deny local db for user:shop,unit:shop.service",
            &user(998),
            "it denies this, since nobody can tell that it is not unit:shop.service who asks",
        ),
        (
            "deny local db for unit:shop.service reason \"closed\"",
            &user(998),
            "it denies this, since nobody can tell that it is not unit:shop.service who asks: closed",
        ),
        ("deny local db for user:shop", &user(998), "it denies this"),
        (
            "allow local db for unit:shop.service",
            &user(998),
            "it is about unit:shop.service, and whether that asks is not known",
        ),
    ] {
        assert_eq!(note(rule, asker), expected, "{rule}");
    }
    let peer = peer("tls", "10.0.0.1", &["pin:sha256-x"]);
    let denied = |rule: &str| {
        let text = format!("rules = '{rule}'");
        let asker = Asker::Remote(&peer, 1);
        let request =
            Request { asked: &name("db"), network: None, asker, service_owner: &|_| None };
        let explanation = explain(&config(&text), &request).unwrap();
        explanation.candidates[0].considered[0].note.clone()
    };
    let doubt = "it denies this, since nothing that the peer has proven rules it out";
    for rule in ["deny in db tls:evil.example.com", "deny in db tls:* for dns:evil.example.com"] {
        assert_eq!(denied(rule), doubt, "{rule}");
    }
    assert_eq!(denied("deny in db tls:*"), "it denies this");
}

/// Only the daemon that connects knows which addresses are this host's own.
#[test]
fn an_own_address_is_refused_with_the_rule_that_would_name_it() {
    let config = config("rules = 'allow out db tcp:*'");
    let (service, target, asker) = (name("db"), remote("tcp://h.example.com:5/db"), user(7));
    let address = "192.0.2.7".parse().unwrap();
    let verdict = recheck(&config, &service, &target, Asker::Local(&asker), address);
    assert!(verdict.is_allow());
    let Verdict::Deny { rule, reason, cure } =
        refuse_own(&service, &target, &asker, (address, &verdict))
    else {
        panic!("it is refused");
    };
    assert_eq!(rule, None);
    assert_eq!(reason, "192.0.2.7 is an address of this host, and no rule names it");
    assert_eq!(cure, "allow out db tcp:192.0.2.7:5 for user:7   # before ipcd.toml:1");
}
