use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::fixture::{Host, file, load, load_all, main_only, name, rule_argument, user};
use crate::query::Verdict;
use crate::rule::Direction;

mod order;

fn problems(text: &str) -> Vec<String> {
    load(text).map_or_else(|problems| problems, |_| Vec::new())
}

#[test]
fn no_text_is_a_configuration_that_allows_nothing_written() {
    let loaded = load_all(&Sources::default()).unwrap();
    assert!(loaded.config.rules.is_empty() && loaded.warnings.is_empty());
    assert_eq!(loaded.config.limits, Limits::default());
    assert_eq!(loaded.config.log_decisions, LogDecisions::Denied);
}

#[test]
fn every_key_has_its_effect() {
    let text = "
        rules = '''
        allow local authd for user:alice   # a comment
        deny in * *
        '''
        admin-groups = ['www', '7']
        [redirects]
        a = 'b'
        [[redirect]]
        from = 'c'
        to = ['tls://h:1', 'tcp://h:2']
        for = 'user:shop'
        insecure = true
        [services.authd]
        socket = '/run/authd/authd.sock'
        owner = 'shop'
        door = false
        trusts-broker = true
        [services.plain]
        [schemes]
        tor = ['tor']
        [limits]
        clients = 7
        timeout-ms = 250
        [log]
        decisions = 'all'
    ";
    let config = load(text).unwrap().config;
    assert_eq!(config.rules.len(), 2);
    assert_eq!(config.admin_gids, [33, 7]);
    let redirect = &config.redirects.all()[1];
    assert_eq!((redirect.to.len(), redirect.insecure), (2, true));
    assert_eq!(redirect.subjects.to_string(), "user:shop");
    let authd = &config.services[&name("authd")];
    assert_eq!(authd.socket, Some(PathBuf::from("/run/authd/authd.sock")));
    assert_eq!((authd.owner, authd.door, authd.trusts_broker), (Some(998), false, true));
    let plain = &config.services[&name("plain")];
    assert_eq!((plain.owner, plain.door, plain.trusts_broker), (None, true, false));
    assert!(config.schemes().stack("tor").is_some());
    assert_eq!((config.limits.clients, config.limits.timeout), (7, Duration::from_millis(250)));
    assert_eq!(config.log_decisions, LogDecisions::All);
}

#[test]
fn rules_may_be_a_list_and_know_where_they_stand() {
    let text = "rules = [\n  'allow local a',\n  \"deny local \\u0062\",\n]\n";
    let config = load(text).unwrap().config;
    let places: Vec<_> = config
        .rules
        .all(Direction::Local)
        .iter()
        .map(|rule| format!("{} {} {}", rule.text, rule.text.source(), rule.position))
        .collect();
    assert_eq!(
        places,
        ["allow local a ipcd.toml:2 ipcd.toml:2:4", "deny local b ipcd.toml:3 ipcd.toml:3:4",]
    );
}

#[test]
fn what_this_version_does_not_have_is_refused() {
    let gateway = problems("[[redirect]]\nfrom = 'a'\nto = 'tcp://h:1'\ngateway = true\n");
    assert_eq!(
        gateway,
        [
            "ipcd.toml:4:1: `gateway`: not in this version: leave it out, and lead to the other host \
          where the peers are, since from here they are led on within this host alone"
        ]
    );
    assert_eq!(problems("transports = 1"), ["ipcd.toml:1:1: `transports`: not in this version"]);
    assert_eq!(
        problems("[transports.tls]\nproves-names = true\n"),
        ["ipcd.toml:1:2: `transports`: not in this version"]
    );
    assert_eq!(
        problems("[services.db]\nfront = 'db'\n"),
        ["ipcd.toml:2:9: a front that is not `true` is an absolute path without `..`"]
    );
}

#[test]
fn a_key_that_is_misspelt_is_refused_with_the_one_that_is_meant() {
    for (text, expected) in [
        ("rulse = ''", "ipcd.toml:1:1: unknown key `rulse`\n  help: did you mean `rules`?"),
        (
            "limits.client = 1",
            "ipcd.toml:1:8: unknown key `client`\n  help: did you mean `clients`?",
        ),
        (
            "log.decision = 'all'",
            "ipcd.toml:1:5: unknown key `decision`\n  help: did you mean `decisions`?",
        ),
        (
            "services.x.sockt = '/x'",
            "ipcd.toml:1:12: unknown key `sockt`\n  help: did you mean `socket`?",
        ),
        (
            "listen = 1",
            "ipcd.toml:1:1: unknown key `listen`\n  help: the keys here are admin-groups, authentication, limits, log, on-reload, redirect, redirects, rules, schemes, services, test",
        ),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn values_that_cannot_be_used_are_refused_at_their_place() {
    for (text, expected) in [
        ("log.decisions = 'some'", "ipcd.toml:1:17: wants one of \"denied\", \"all\", \"none\""),
        ("on-reload = 'stop'", "ipcd.toml:1:13: wants one of \"keep\", \"revoke\""),
        (
            "services.x.socket = 'run/x'",
            "ipcd.toml:1:21: a socket is an absolute path without `..`",
        ),
        ("services.x.owner = '-1'", "ipcd.toml:1:20: an owner is the name or number of a user"),
        (
            "services.x.owner = '4294967295'",
            "ipcd.toml:1:20: an owner is the name or number of a user",
        ),
        (
            "services.'a/b'.door = true",
            "ipcd.toml:1:10: a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) at character 2",
        ),
        ("services.ipc.door = true", "ipcd.toml:1:10: the name ipc is reserved"),
        ("schemes.tcp = ['x']", "ipcd.toml:1:9: tcp is built in"),
        (
            "schemes.unix = ['x']",
            "ipcd.toml:1:9: a scheme is a lower-case word, and neither unix nor any",
        ),
        (
            "schemes.any = ['x']",
            "ipcd.toml:1:9: a scheme is a lower-case word, and neither unix nor any",
        ),
        (
            "schemes.Tor = ['x']",
            "ipcd.toml:1:9: a scheme is a lower-case word, and neither unix nor any",
        ),
        ("schemes.tor = []", "ipcd.toml:1:15: a scheme takes at least one daemon"),
        ("schemes.tor = ['../x']", "ipcd.toml:1:16: wants the name of a daemon, a lower-case word"),
        (
            "admin-groups = ['a b']",
            "ipcd.toml:1:17: no account can have this name: it has A-Z a-z 0-9 . _ - @ + and begins with none of the last three",
        ),
        (
            "admin-groups = '4294967295'",
            "ipcd.toml:1:16: a number of an account is from 0 to 4294967294",
        ),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn all_problems_of_all_texts_are_reported_at_once() {
    let sources = Sources {
        command_line: vec![
            rule_argument("alow in x *"),
            CommandLine::Redirect { from: "a b".into(), to: "tcp://h".into() },
            rule_argument("deny out x"),
            rule_argument("deny local x\nallow local y"),
            CommandLine::Redirect { from: "a".into(), to: "tls://u:CANARYP@h/x".into() },
        ],
        drop_ins: vec![
            file("ipcd.d/10-a.toml", "rules = [\n"),
            file("ipcd.d/50-b.toml", "rules = '''\nallow out x tls:a..b\n'''\ncolour = 1\n"),
        ],
        main: Some(file("ipcd.toml", "limits.clients = 0\n")),
    };
    let problems = load_all(&sources).unwrap_err();
    let beginnings = [
        "ipcd.d/10-a.toml:",
        "ipcd.d/50-b.toml:4:1: unknown key `colour`",
        "ipcd.toml:1:18: wants a whole number from 1 to 1000000, not 0",
        "command line, rule 1, character 1: a rule begins with allow, deny or permissive",
        "command line, rule 2, character 1: a rule of direction out needs an address",
        "command line, rule 3, character 1: a rule is one line",
        "ipcd.d/50-b.toml:2:13: something is missing between the dots of the host",
        "command line, redirect 1, character 1: a service name has only",
        "command line, redirect 1, character 1: a target without /SERVICE names its port",
        "command line, redirect 2, character 1: a secret on a command line is no secret; write the redirect in a file",
    ];
    assert_eq!(problems.len(), beginnings.len(), "{problems:#?}");
    for (problem, beginning) in problems.iter().zip(beginnings) {
        assert!(problem.starts_with(beginning), "{problem}");
        assert!(!problem.contains("CANARY"));
    }
}

/// A host on which somebody has been added.
struct Later;

impl Accounts for Later {
    fn uid(&self, name: &str) -> Option<u32> {
        (name == "ghost").then_some(7)
    }

    fn gid(&self, _name: &str) -> Option<u32> {
        None
    }
}

#[test]
fn an_account_that_does_not_exist_is_a_warning_and_wakes_up() {
    let text = "
rules = '''
allow local x for user:ghost
allow local y for group:users,group:ghosts
'''
admin-groups = ['phantoms']
services.x.owner = 'spirit'
[[redirect]]
from = 'a'
to = 'b'
for = 'user:spook'
";
    let loaded = load(text).unwrap();
    let warnings: Vec<_> =
        loaded.warnings.iter().map(|warning| (warning.kind, warning.problem.to_string())).collect();
    let texts = [
        "ipcd.toml:3:1: user:ghost does not exist, and is nobody until it does",
        "ipcd.toml:4:1: group:ghosts does not exist, and is nobody until it does",
        "ipcd.toml:8:1: user:spook does not exist, and is nobody until it does",
        "ipcd.toml:6:17: there is no group phantoms: until there is, it makes nobody an administrator",
        "ipcd.toml:7:20: there is no user spirit: until there is, only root may offer the service",
    ];
    assert_eq!(warnings, texts.map(|text| (WarningKind::Dormant, text.to_owned())));
    let mut config = loaded.config;
    assert_eq!(config.rules.dormant().count(), 2);
    assert_eq!(config.services[&name("x")].owner, None);
    assert_eq!(config.wake(&Host), 0);

    assert_eq!(config.wake(&Later), 1);
    let (service, asker) = (&name("x"), &user(7));
    let query = crate::query::Query::Local { service, target: service, asker, owner: None };
    assert!(crate::evaluate::evaluate(&config.rules, &query).is_allow());
}

#[test]
fn ten_thousand_rules_are_read_and_one_more_is_not() {
    let many = |count: usize| {
        let lines: Vec<_> = (0..count).map(|n| format!("allow local s{n}")).collect();
        format!("rules = '''\n{}\n'''", lines.join("\n"))
    };
    assert!(load(&many(10_000)).is_ok());
    assert_eq!(problems(&many(10_001)), ["ipcd.toml:10002:1: there are more than 10000 rules"]);
}

/// A configuration that uses everything, as lines that can be dropped or damaged.
const WHOLE: &str = "\
rules = '''
deny local secret
allow local x for user:1
deny out * tcp:10.0.0.0/8:*
allow out x tcp:h:80
'''
admin-groups = ['www']
[redirects]
a = 'b'
'w-*' = 'tcp://h:80/{name}'
[[redirect]]
from = 'c'
to = ['tls://u@h/x', 'tcp://h:2']
insecure = true
[services.x]
owner = 'alice'
[schemes]
tor = ['tor']
[limits]
clients = 7
[log]
decisions = 'all'
";

fn allows(config: &Config, service: &str) -> bool {
    let (service, asker) = (&name(service), &user(1));
    let query = crate::query::Query::Local { service, target: service, asker, owner: None };
    matches!(crate::evaluate::evaluate(&config.rules, &query), Verdict::Allow { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// attacks.md D16: no damaged configuration makes the reader panic.
    #[test]
    fn no_damage_makes_the_reader_panic(
        places in proptest::collection::vec((0..WHOLE.len(), 0_usize..4, "[ -~\n]{0,3}"), 1..4)
    ) {
        let mut text = WHOLE.to_owned();
        for (at, length, with) in places {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.replace_range(at..end, &with);
        }
        drop(load(&text));
    }

    /// A configuration with lines dropped fails to load, or allows only what some rule that is
    /// left allows: a missing line never opens what nothing is written about.
    #[test]
    fn dropped_lines_never_open_what_no_rule_is_about(keep in proptest::collection::vec(any::<bool>(), 30)) {
        let lines = WHOLE.lines().zip(keep).filter(|(_, keep)| *keep);
        let text: Vec<_> = lines.map(|(line, _)| line).collect();
        if let Ok(loaded) = load(&text.join("\n")) {
            prop_assert!(!allows(&loaded.config, "secret"));
            prop_assert!(!allows(&loaded.config, "other"));
        }
    }
}

#[test]
fn a_damaged_deny_rule_refuses_the_whole_configuration() {
    let whole = "rules = '''\ndeny local x for user:1\nallow local *\n'''";
    assert!(!allows(&load(whole).unwrap().config, "x"));
    let deny = "deny local x for user:1";
    for at in 0..deny.len() {
        for damage in ["", "#", "?", "\"", "\u{e9}"] {
            let mut damaged = deny.to_owned();
            damaged.replace_range(at..=at, damage);
            let text = whole.replace(deny, &damaged);
            if let Ok(loaded) = load(&text) {
                // What still loads is a rule that somebody can have meant.
                let rules = loaded.config.rules.all(Direction::Local);
                assert!(rules.len() == 2 || damaged.starts_with('#'), "{damaged}");
            }
        }
    }
}

#[test]
fn checking_tells_the_order_and_whether_it_passes() {
    let mut sources = main_only("rules = 'allow local x for user:ghost'");
    sources.drop_ins.push(file("ipcd.d/10.toml", ""));
    sources.command_line.push(rule_argument("deny in * *"));
    let report = crate::check::check(&sources, &Host, &[]);
    assert_eq!(report.order, ["command line", "ipcd.d/10.toml", "ipcd.toml"]);
    assert!(report.passes(false) && !report.passes(true));
    assert_eq!(
        report.to_string(),
        "1. command line\n2. ipcd.d/10.toml\n3. ipcd.toml\n\
         ipcd.toml:1:10: warning: user:ghost does not exist, and is nobody until it does\n"
    );
    let nothing = crate::check::check(&Sources::default(), &Host, &[]);
    assert_eq!(nothing.to_string(), "there is no file: nothing is allowed but what is built in\n");
    let test = "[[test]]\nas = {}\nask = 'x'\nexpect = 'deny'\n";
    for (count, said) in [(1, "1 test passes"), (2, "2 tests pass")] {
        sources.main = Some(file("ipcd.toml", &test.repeat(count)));
        let report = crate::check::check(&sources, &Host, &[]).to_string();
        assert!(report.ends_with(&format!("{said}\n")), "{report}");
    }
    sources.main = Some(file("ipcd.toml", "rules = 'deny local *\nallow local x'"));
    assert!(!crate::check::check(&sources, &Host, &[]).passes(false), "no TOML");
    sources.main = Some(file("ipcd.toml", "rules = ['deny local *', 'allow local x']"));
    let report = crate::check::check(&sources, &Host, &[]);
    assert!(report.problems.is_empty() && !report.passes(false), "lint");
    let said = report.to_string();
    let behind = "the rule never decides: `deny local *` stands before it\n  help: that is at ";
    assert!(said.contains(behind) && !said.contains("warning"), "{said}");
}

#[test]
fn whoever_does_not_exist_is_looked_for_wherever_he_is_named() {
    struct Later;
    impl Accounts for Later {
        fn uid(&self, _: &str) -> Option<u32> {
            Some(7)
        }

        fn gid(&self, _: &str) -> Option<u32> {
            Some(7)
        }
    }
    for text in [
        "rules = 'allow local x for user:ghost'",
        "redirect = [{ from = 'a', to = 'b', for = 'group:ghosts' }]",
        "services.x.owner = 'ghost'",
    ] {
        let mut config = load(text).unwrap().config;
        assert!(config.sleeps(), "{text}");
        assert_eq!(config.wake(&Later), 1, "{text}");
        assert!(!config.sleeps(), "{text}");
    }
    let awake = load("services.x.owner = 'shop'\nservices.y.door = false").unwrap();
    assert!(!awake.config.sleeps());
}

#[test]
fn a_rule_about_logins_that_nobody_verifies_is_a_warning() {
    let rules = "rules = ['allow in db tls:* for login:bob', 'deny in x tls:* for login:eve']\n";
    let warnings = |text: &str| -> Vec<String> {
        let loaded = load(text).unwrap();
        loaded.warnings.iter().map(|warning| warning.problem.to_string()).collect()
    };
    let message = "nobody verifies logins here, so that the rule matches nobody\n  \
                   help: name the service that does: [authentication] service = \"authd\"";
    let found = warnings(rules);
    assert!(found.contains(&format!("ipcd.toml:1:11: {message}")), "{found:?}");
    assert_eq!(found.iter().filter(|one| one.contains("verifies")).count(), 1, "{found:?}");
    let verified = warnings(&format!("{rules}[authentication]\nservice = 'authd'\n"));
    assert!(!verified.iter().any(|one| one.contains("verifies")), "{verified:?}");
}
