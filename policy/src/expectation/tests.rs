use crate::config::Sources;
use crate::fixture::{file, load, load_all};

/// A shop with a database elsewhere, a mail relay in a network, and a service for web servers.
const SHOP: &str = r#"
rules = '''
deny  out * *:10.66.0.0/16:*                            reason "the old network"
allow out db tls:db1.example.com:5432,tls:db2.example.com:5432 for unit:shop.service
allow out mail tcp:10.0.0.0/8:25 for group:mailers
permissive out metrics tcp:metrics.example.com:9000
allow in authd tls:web1.example.com
allow in time tcp:* for anonymous
allow local queue for group:mailers
'''
[redirects]
mail = "tcp://relay.example.com:25"
[[redirect]]
from = "db"
to = ["tls://db1.example.com:5432", "tls://db2.example.com:5432"]
[services.queue]
owner = "postfix"
"#;

fn failures(tests: &str) -> Vec<String> {
    load(&format!("{SHOP}\n{tests}")).err().unwrap_or_default()
}

#[test]
fn tests_that_say_what_the_rules_say_pass() {
    let tests = r#"
    [[test]]
    as = { unit = "shop.service" }
    ask = "db"
    expect = "allow tls:db1.example.com:5432"
    rule = "ipcd.toml:4"
    [[test]]
    as = { user = "www-data" }
    ask = "db"
    expect = "deny"
    rule = "none"
    [[test]]
    as = { user = "www-data", groups = ["users", "mailers"], unit = "shop.service" }
    ask = "mail"
    resolves = ["192.0.2.1", "10.1.2.3"]
    expect = "allow tcp:Relay.example.com:25"
    [[test]]
    as = { groups = ["mailers"] }
    ask = "mail"
    resolves = "10.66.1.1"
    expect = "deny"
    rule = "ipcd.toml:3"
    [[test]]
    as = {}
    ask = "metrics"
    network = "metrics tcp://metrics.example.com/metrics"
    expect = "permissive tcp:metrics.example.com:9000/metrics"
    [[test]]
    as = { user = "1000" }
    ask = "metrics"
    network = "metrics tcp://metrics.example.com/metrics"
    expect = "allow"
    [[test]]
    from = "tls:web1.example.com"
    ask = "authd"
    expect = "allow unix:authd"
    [[test]]
    from = "tls:web2.example.com,login:web1.example.com"
    ask = "authd"
    expect = "deny"
    [[test]]
    from = "tcp:192.0.2.7"
    ask = "time"
    expect = "allow"
    [[test]]
    from = "tcp:192.0.2.7"
    ask = "db"
    expect = "deny"
    [[test]]
    as = { user = "postfix" }
    ask = "queue"
    expect = "allow unix:queue"
    rule = "built in"
    [[test]]
    as = { user = "root" }
    ask = "queue"
    expect = "allow"
    "#;
    let loaded = load(&format!("{SHOP}\n{tests}"));
    assert_eq!(loaded.map(|loaded| loaded.tests), Ok(12));
}

#[test]
fn a_test_that_fails_refuses_the_configuration_and_says_what_came_and_why() {
    let base = SHOP.lines().count() + 1;
    for (test, line, message) in [
        (
            "as = { unit = 'blog.service' }\nask = 'db'\nexpect = 'allow'",
            4,
            "10: the test fails: db, asked for by unit blog.service: expected allow, got deny (no \
             rule allows it)\n  help: no rule decided; to allow it: allow out db \
             tls:db1.example.com:5432 for unit:blog.service",
        ),
        (
            "as = { user = 'www-data' }\nask = 'db'\nexpect = 'allow'",
            4,
            "10: the test fails: db, asked for by user www-data: expected allow, got deny (no rule \
             allows it)\n  help: no rule decided; to allow it: allow out db \
             tls:db1.example.com:5432 for user:www-data",
        ),
        (
            "as = { unit = 'shop.service' }\nask = 'db'\nexpect = 'deny'",
            4,
            "10: the test fails: db, asked for by unit shop.service: expected deny, got allow \
             tls:db1.example.com:5432\n  help: decided by `allow out db \
             tls:db1.example.com:5432,tls:db2.example.com:5432 for unit:shop.service` \
             (ipcd.toml:4)",
        ),
        (
            "as = { unit = 'shop.service' }\nask = 'db'\nexpect = 'allow tls:db2.example.com:5432'",
            4,
            "10: the test fails: db, asked for by unit shop.service: expected allow \
             tls:db2.example.com:5432, got allow tls:db1.example.com:5432\n  help: decided by \
             `allow out db tls:db1.example.com:5432,tls:db2.example.com:5432 for \
             unit:shop.service` (ipcd.toml:4)",
        ),
        (
            "as = { user = 'www-data', groups = 'mailers' }\nask = 'mail'\nresolves = '10.66.0.1'\nexpect = 'allow'",
            5,
            "10: the test fails: mail, asked for by user www-data, group \
             mailers: expected allow, got deny (the \
             old network)\n  help: decided by `deny out * *:10.66.0.0/16:* reason \"the old \
             network\"` (ipcd.toml:3)",
        ),
        (
            "from = 'tcp:192.0.2.7'\nask = 'time'\nexpect = 'allow'\nrule = 'ipcd.toml:7'",
            5,
            "8: the test fails: time, asked for by tcp:192.0.2.7: expected the rule at \
             ipcd.toml:7, got another one\n  help: decided by `allow in time tcp:* for anonymous` \
             (ipcd.toml:8)",
        ),
        (
            "as = {}\nask = 'metrics'\nnetwork = 'metrics tcp://metrics.example.com/metrics'\n\
             expect = 'allow unix:metrics'",
            5,
            "10: the test fails: metrics, asked for by somebody: expected allow unix:metrics, got \
             permissive tcp:metrics.example.com:9000/metrics\n  help: decided by `permissive out \
             metrics tcp:metrics.example.com:9000` (ipcd.toml:6)",
        ),
    ] {
        let expected = format!("ipcd.toml:{}:{message}", base + line);
        assert_eq!(failures(&format!("[[test]]\n{test}")), [expected]);
    }
}

#[test]
fn a_test_that_makes_no_sense_is_refused_at_its_place() {
    let base = SHOP.lines().count() + 1;
    for (test, place, message) in [
        (
            "ask = 'db'\nexpect = 'deny'",
            "1:1",
            "a test has either `as`, a program of this host, or `from`, a peer on another",
        ),
        (
            "as = {}\nask = 'db'\nexpect = 'refuse'",
            "4:10",
            "a test expects \"allow\", \"permissive\", each with or without a target behind it, \
             or \"deny\"",
        ),
        (
            "as = {}\nask = 'db'\nexpect = 'deny tls:h:1'",
            "4:10",
            "a test expects \"allow\", \"permissive\", each with or without a target behind it, \
             or \"deny\"",
        ),
        (
            "as = { unit = 'shop' }\nask = 'db'\nexpect = 'deny'",
            "4:10",
            "a unit is named as its manager does, with its type and without *: shop.service",
        ),
        (
            "from = 'gopher:h'\nask = 'db'\nexpect = 'deny'",
            "2:8",
            "there is no such scheme; there are tcp, tls, udp, ws, wss",
        ),
        (
            "as = {}\nask = 'db'\nresolves = 'h'\nexpect = 'deny'",
            "4:12",
            "a name resolves to addresses: 192.0.2.1 or 2001:db8::1",
        ),
        (
            "as = {}\nask = 'db'\nnetwork = 'db x y'\nexpect = 'deny'",
            "5:10",
            "IPC_NETWORK, entry 1: more than one target after db; entries are separated by ; and a \
             blank in a secret is written %20",
        ),
        (
            "as = { unit = 'shop.service' }\nask = 'db'\nexpect = 'allow tls:h'",
            "4:10",
            "a target without /SERVICE names its port",
        ),
    ] {
        let (line, column) = place.split_once(':').unwrap();
        let line = base + line.parse::<usize>().unwrap();
        let found = failures(&format!("[[test]]\n{test}"));
        assert_eq!(found, [format!("ipcd.toml:{line}:{column}: {message}")], "{test}");
    }
}

#[test]
fn a_test_is_about_all_files_together() {
    let test = "[[test]]\nas = {}\nask = 'x'\nnetwork = 'x tcp://h:1'\nexpect = 'deny'\n\
                rule = '00-ceiling.toml:1'";
    let sources = Sources {
        drop_ins: vec![
            file("/etc/ipcd/ipcd.d/00-ceiling.toml", "rules = 'deny out x tcp:h:1'"),
            file("/etc/ipcd/ipcd.d/50-x.toml", test),
        ],
        main: Some(file("ipcd.toml", "rules = 'allow out * *'")),
        ..Sources::default()
    };
    assert_eq!(load_all(&sources).map(|loaded| loaded.tests), Ok(1));
    let without = Sources { drop_ins: sources.drop_ins[1..].to_vec(), ..sources };
    assert_eq!(load_all(&without).unwrap_err().len(), 1);
}

#[test]
fn ten_thousand_tests_are_run_and_one_more_is_not() {
    let many = |count: usize| "[[test]]\nas = {}\nask = 'x'\nexpect = 'deny'\n".repeat(count);
    assert_eq!(load(&many(10_000)).map(|loaded| loaded.tests), Ok(10_000));
    let said = load(&many(10_001)).unwrap_err();
    assert_eq!(said, ["ipcd.toml:40004:10: there are more than 10000 tests"]);
}

#[test]
fn a_name_has_64_addresses_in_a_test_and_one_more_is_refused() {
    let test = |count: usize| {
        let addresses = vec!["'192.0.2.1'"; count].join(", ");
        format!("[[test]]\nas = {{}}\nask = 'x'\nresolves = [{addresses}]\nexpect = 'deny'\n")
    };
    assert_eq!(load(&test(64)).map(|loaded| loaded.tests), Ok(1));
    let said = load(&test(65)).unwrap_err();
    assert_eq!(said, ["ipcd.toml:1:1: a name has at most 64 addresses in a test"]);
}

#[test]
fn a_peer_that_is_led_elsewhere_fails_a_test_with_the_line_that_leads_there() {
    let failed = failures("[[test]]\nfrom = 'tcp:10.0.0.1'\nask = 'mail'\nexpect = 'allow'");
    let [said] = failed.as_slice() else { panic!("{failed:?}") };
    assert!(said.contains("mail is led to tcp:relay.example.com:25 (ipcd.toml:12)"), "{said}");
    let help = "lead to it on the host where the peer is, by a redirect and a rule there";
    assert!(said.ends_with(help), "{said}");
}

#[test]
fn what_is_about_programs_has_no_place_beside_a_peer() {
    for key in ["network = 'time tcp://h:1/time'", "resolves = '10.0.0.1'"] {
        let test = format!("from = 'tcp:10.0.0.1'\nask = 'time'\nexpect = 'allow'\n{key}");
        let failed = failures(&format!("[[test]]\n{test}"));
        let [said] = failed.as_slice() else { panic!("{failed:?}") };
        let why = "`network` and `resolves` are about programs of this host";
        assert!(said.contains(why), "{said}");
    }
}
