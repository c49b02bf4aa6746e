use super::*;
use crate::fixture::load;

fn warnings(text: &str) -> Vec<String> {
    let loaded = load(text).unwrap();
    loaded.warnings.iter().map(|warning| warning.problem.to_string()).collect()
}

fn of_rules(rules: &[&str]) -> Vec<String> {
    warnings(&format!("rules = '''\n{}\n'''", rules.join("\n")))
}

#[test]
fn a_rule_behind_one_that_takes_all_its_requests_never_decides() {
    for rules in [
        ["deny in * *", "allow in authd tls:example.com"],
        ["deny out * *", "allow out x tcp:127.0.0.1:80"],
        ["allow out x* tcp:*.example.com:*", "allow out xy tcp:a.example.com:80"],
        ["allow out x tcp:10.0.0.0/8:1-9", "allow out x tcp:10.1.0.0/16:5"],
        ["allow out x tcp:127.0.0.0/8:*", "allow out x tcp:127.0.0.1:80"],
        ["deny local * for user:1", "allow local x for user:1"],
        ["allow local x", "deny local x unix:y"],
        ["deny in x tcp", "allow in x tcp:10.0.0.1"],
        ["allow out x *:10.0.0.0/8:1", "deny out x *:10.1.0.0/16:1"],
        ["allow out x,y *", "allow out y,x tcp"],
    ] {
        let found = of_rules(&rules);
        assert_eq!(found.len(), 1, "{rules:?}: {found:?}");
        assert!(found[0].starts_with("ipcd.toml:3:1: the rule never decides: `"), "{found:?}");
        assert!(found[0].ends_with("that is at ipcd.toml:2; the first rule that matches decides"));
    }
}

#[test]
fn a_rule_that_can_decide_is_left_alone() {
    for rules in [
        ["allow in authd tls:example.com", "deny in * *"],
        ["allow out x *", "allow out x tcp:127.0.0.1:80"],
        ["allow out x tcp:0.0.0.0/0:*", "allow out x tcp:169.254.0.0/16:80"],
        ["allow out x tcp:h:1", "allow out x tcp:h:2"],
        ["allow out x tcp:h", "allow out x tcp:h:80"],
        ["allow out x tcp:*.h:1", "allow out x tcp:h:1"],
        ["allow in x *", "allow in x tcp:10.0.0.1"],
        ["allow in x *", "allow in x * for anonymous"],
        ["deny out * *", "deny in * *"],
        ["allow out x tcp:h:1", "deny out * *"],
        ["deny out x tcp:h:1 reason \"why\"", "allow out y tcp:h:1"],
        ["deny local x for user:1", "allow local y for user:1"],
    ] {
        assert!(of_rules(&rules).is_empty(), "{rules:?}: {:?}", of_rules(&rules));
    }
}

#[test]
fn a_rule_without_which_all_is_the_same_changes_nothing() {
    let root = "the rule changes nothing: root and the owner of a service are allowed\n  help: leave it out";
    let denied = "the rule changes nothing: no rule behind it lets this pass\n  help: leave it \
                  out, or give it a reason, which whoever is refused is told";
    let same = |rule: &str| {
        format!(
            "the rule changes nothing: without it `{rule}` decides the same\n  help: that is at \
             ipcd.toml:3"
        )
    };
    for (rules, line, expected) in [
        (["allow out x tcp:h:1 for user:1", "allow out x tcp:h:1"], 2, same("allow out x tcp:h:1")),
        (["allow local x unix:y", "allow local x"], 2, same("allow local x")),
        (["allow local x for user:0", "allow local y"], 2, root.to_owned()),
        (["deny out x tcp:h:1", "allow out y tcp:h:1"], 2, denied.to_owned()),
        // What the first rule does not reach is refused anyway.
        (["allow out x *", "deny out x tcp:h:1"], 3, denied.to_owned()),
        (["allow out x tcp:h:1 for user:1", "deny out x tcp:h:1 for user:1"], 3, denied.to_owned()),
        // A peer whose address is not known.
        (["allow in x tcp:10.0.0.0/8", "deny in x tcp:10.0.0.1"], 3, denied.to_owned()),
        (["allow in x *", "deny in x tls:h"], 3, denied.to_owned()),
    ] {
        assert_eq!(of_rules(&rules), [format!("ipcd.toml:{line}:1: {expected}")], "{rules:?}");
    }
}

#[test]
fn a_rule_behind_several_that_take_all_its_requests_never_decides() {
    let rules = ["allow out x tcp:*:1-10", "allow out x tcp:*:11-20", "deny out x tcp:*:5-15"];
    // Special addresses pass the first two by, and are refused without the third as well.
    assert!(of_rules(&rules)[0].starts_with("ipcd.toml:4:1: the rule changes nothing"));
    let rules = [
        "deny out x tcp:*:1-10 reason \"low\"",
        "deny out x tcp:*:11-20 reason \"high\"",
        "allow out x tcp:*:5-15",
    ];
    assert_eq!(
        of_rules(&rules),
        ["ipcd.toml:4:1: the rule never decides: rules before it take all that it is about\n  \
          help: the first rule that matches decides"]
    );
    let never = "the rule never matches: nothing can be as it wants it";
    let help = "what it names exists nowhere, or excludes each other: correct it";
    assert_eq!(
        of_rules(&["deny in *.lock *"]),
        [format!("ipcd.toml:2:1: {never}\n  help: {help}")]
    );
}

#[test]
fn somebody_who_does_not_exist_is_looked_at_as_if_he_did() {
    let lint = |rules: &[&str]| {
        let loaded = load(&format!("rules = '''\n{}\n'''", rules.join("\n"))).unwrap();
        loaded.warnings.iter().filter(|one| one.kind == WarningKind::Lint).count()
    };
    assert_eq!(lint(&["allow out x tcp:h:1 for user:ghost"]), 0);
    assert_eq!(lint(&["allow out x tcp:h:1", "allow out x tcp:h:1 for user:ghost"]), 1);
}

#[test]
fn what_there_is_no_time_for_is_said_and_is_no_mistake() {
    let many: Vec<String> = (0..300).map(|n| format!("allow out *{n}* *:h{n}:*")).collect();
    let config = crate::fixture::config(&format!("rules = '''\n{}\n'''", many.join("\n")));
    let effort = Effort::new(10);
    let neighbours = Neighbours::of(config.rules.all(Direction::Out));
    assert!(use_of(&neighbours, 200, config.schemes(), &effort).is_err());
    let mut open = Open::default();
    config.rules.all(Direction::Out).iter().take(2).for_each(|rule| open.add(rule));
    assert_eq!(
        open.problem().unwrap().to_string(),
        "ipcd.toml:2:1: there are too many rules to find out whether this one matters\n  \
         help: and 1 others; ipc check takes more time for it"
    );
}

#[test]
fn a_rule_that_no_peer_can_match_is_named() {
    let help = "\n  help: write addresses, or `for anonymous` beside an address of *";
    let message = "ipcd.toml:2:1: the rule never matches: of such a peer nothing is proven but \
                   its address";
    for rule in [
        "allow in x tcp:*",
        "allow in x tcp:example.com",
        "allow in x tcp,udp:h",
        "allow in x tls:h for anonymous",
    ] {
        assert_eq!(of_rules(&[rule]), [format!("{message}{help}")], "{rule}");
    }
    for rule in [
        "allow in x *",
        "allow in x tcp:* for anonymous",
        "allow in x tcp:10.0.0.1",
        "allow in x tcp:h,tls:h",
    ] {
        assert!(of_rules(&[rule]).is_empty(), "{rule}");
    }
}

#[test]
fn letting_everything_pass_is_named() {
    for (rule, direction) in [
        ("permissive out * *", "out"),
        ("permissive in * any", "in"),
        ("permissive local any", "local"),
    ] {
        let help = "name the services or the places that are to be tried out";
        let expected = format!(
            "ipcd.toml:2:1: the rule lets everything pass in direction {direction}\n  help: {help}"
        );
        assert_eq!(of_rules(&[rule]), [expected]);
    }
    for rule in ["permissive out * tcp", "permissive local x", "permissive local * for user:1"] {
        assert!(of_rules(&[rule]).is_empty(), "{rule}");
    }
}

#[test]
fn a_redirect_that_leads_nowhere_or_is_never_used_is_named() {
    assert_eq!(
        warnings("redirects.db = 'tls://u:CANARYP@h/x'"),
        ["ipcd.toml:1:11: db leads to tls:h:9001/x, which no rule allows\n  \
          help: allow out db tls:h:9001"]
    );
    // It opens the place to those whom it is for, and before what denies it to them.
    let for_alice = "rules = '''
allow out db tls:other
deny out db * reason \"no\"
'''
redirect = [{ from = 'db', to = 'tls://h/x', for = 'user:alice' }]";
    assert_eq!(
        warnings(for_alice),
        ["ipcd.toml:5:13: db leads to tls:h:9001/x, which no rule allows\n  \
          help: allow out db tls:h:9001 for user:alice   # before ipcd.toml:3"]
    );
    for rule in ["permissive out * *", "allow out db *:10.0.0.0/8:9001"] {
        let text = format!("rules = '{rule}'\nredirects.db = 'tls://h/x'");
        let found = warnings(&text);
        assert!(!found.iter().any(|warning| warning.contains("leads to")), "{found:?}");
    }
    let behind = "rules = 'allow out other tls:h'\nredirects.db = 'tls://h/x'\n";
    assert_eq!(warnings(behind).len(), 1, "the service that is asked for is db");
    let through = format!("{behind}redirects.other = 'db'");
    assert!(warnings(&through).is_empty(), "there it is other");
    let twice = "redirect = [{ from = 'a', to = 'b' }, { from = 'a', to = 'c' }]";
    assert_eq!(
        warnings(twice),
        ["ipcd.toml:1:39: the redirect is never used: ipcd.toml:1 stands before it"]
    );
    let canary = "redirect = [{ from = 'a', to = 'b', for = 'user:1' }, { from = 'a', to = 'c' }]";
    assert!(warnings(canary).is_empty());
}
