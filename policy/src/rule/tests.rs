use proptest::prelude::*;

use super::*;
use crate::fixture::{Host, read_rules};
use crate::scheme::Schemes;

fn schemes() -> Schemes {
    let mut schemes = Schemes::default();
    assert!(schemes.add("tor", vec!["tor".into()]));
    schemes
}

fn canonical(text: &str) -> Vec<String> {
    let rules = read_rules(text, &schemes()).unwrap();
    rules.iter().map(ToString::to_string).collect()
}

fn problems(text: &str) -> Vec<String> {
    let problems = read_rules(text, &schemes()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_ipcds_command_line_means_what_it_says() {
    // design.md 5: `ipcd --allow in authd tls:example.com --deny in '*' '*' …`
    for (text, expected) in [
        ("allow in authd tls:example.com", "allow in authd tls:example.com"),
        ("deny in * *", "deny in * *"),
        ("deny in any any", "deny in * *"),
        ("allow out pong tls:pong.example.com:9000", "allow out pong tls:pong.example.com:9000"),
    ] {
        assert_eq!(canonical(text), [expected]);
    }
}

#[test]
fn every_form_has_one_canonical_text_that_is_read_as_the_same_rule() {
    let cases = [
        ("allow out db tcp", "allow out db tcp:*"),
        ("allow out db tcp:*", "allow out db tcp:*"),
        ("allow out db any:any:any", "allow out db *"),
        ("allow out db *:*:9000", "allow out db *:*:9000"),
        ("allow out db *:EXAMPLE.com.", "allow out db *:example.com"),
        ("allow out db tls:*.Example.com:*", "allow out db tls:*.example.com:*"),
        ("allow out db tls:h:any", "allow out db tls:h:*"),
        ("allow out db tls:h:1-65535", "allow out db tls:h:1-65535"),
        ("allow out db tls:h:7-7", "allow out db tls:h:7"),
        ("allow out db tcp:0x7f.1:80", "allow out db tcp:127.0.0.1:80"),
        ("allow out db tcp:[::1]:80", "allow out db tcp:[::1]:80"),
        ("allow out db tcp:[::ffff:10.0.0.1]:80", "allow out db tcp:10.0.0.1:80"),
        ("allow out db tcp:10.0.0.0/8:5432", "allow out db tcp:10.0.0.0/8:5432"),
        ("allow out db tcp:[2001:db8::/32]:80", "allow out db tcp:[2001:db8::/32]:80"),
        ("allow out db tcp:[::ffff:10.0.0.0/104]:80", "allow out db tcp:10.0.0.0/8:80"),
        ("allow out db tcp:localhost:80", "allow out db tcp:localhost:80"),
        ("allow out db tor:x.onion:80", "allow out db tor:x.onion:80"),
        ("allow out a,b*,*c tls:h,tcp:h2", "allow out a,b*,*c tls:h,tcp:h2"),
        ("allow out a**b tcp", "allow out a*b tcp:*"),
        ("allow in x tcp:10.0.0.0/8", "allow in x tcp:10.0.0.0/8"),
        ("allow in x tcp:192.0.2.1", "allow in x tcp:192.0.2.1"),
        ("allow out x tls:h for user:1,login:bob", "allow out x tls:h for user:1,login:bob"),
        ("allow in x tcp:* for anonymous", "allow in x tcp:* for anonymous"),
        (
            "allow in x * for net:10.0.0.1,net:2001:db8::/32,anonymous",
            "allow in x * for net:10.0.0.1/32,net:2001:db8::/32,anonymous",
        ),
        (
            "allow in x * for login:bob,key:k1,dns:*.Example.com.,uri:spiffe://td/*",
            "allow in x * for login:bob,key:k1,dns:*.example.com,uri:spiffe://td/*",
        ),
        (
            "allow in x * for pin:sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "allow in x * for pin:sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        (
            "allow local x for socket:agents,user-unit:*.scope,unit:a@*.service,user:alice",
            "allow local x for user:alice,unit:a@*.service,user-unit:*.scope,socket:agents",
        ),
        ("allow local x", "allow local x"),
        ("allow local x *", "allow local x"),
        ("allow local x unix", "allow local x"),
        ("allow local x unix:next-*", "allow local x unix:next-*"),
        ("permissive local * for user:shop", "permissive local * for user:shop"),
        (
            "deny out x * for group:www,user:0,user:alice reason \"no, never\"   # comment",
            "deny out x * for user:0,user:alice,group:www reason \"no, never\"",
        ),
        ("allow local x reason \"# no comment\"", "allow local x reason \"# no comment\""),
        ("\tallow\tlocal  x\r", "allow local x"),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text), [expected], "{text}");
        let (once, again) = (read_rules(text, &schemes()), read_rules(expected, &schemes()));
        let (mut once, mut again) = (once.unwrap().remove(0), again.unwrap().remove(0));
        once.position.column = 0;
        again.position.column = 0;
        assert_eq!(once, again, "{text}");
    }
}

#[test]
fn empty_lines_and_comments_are_no_rules() {
    assert!(canonical("").is_empty());
    assert!(canonical("\n  # allow out * *\n\t\n").is_empty());
    assert_eq!(canonical("# one\nallow local x # two\n\n"), ["allow local x"]);
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let long = format!("allow local {}*", "a".repeat(255));
    let cases = [
        (
            "alow in x *",
            "rules:1:1: a rule begins with allow, deny or permissive\n  help: did you mean allow?",
        ),
        ("audit in x *", "rules:1:1: a rule begins with allow, deny or permissive"),
        ("allow", "rules:1:1: behind the action stands out, in or local"),
        ("allow to x *", "rules:1:7: behind the action stands out, in or local"),
        ("allow in", "rules:1:1: the rule names no service"),
        (
            "allow out x",
            "rules:1:1: a rule of direction out needs an address\n  help: * is any address: it is \
             written out, so that nobody opens all by forgetting one",
        ),
        (
            "allow in x for anonymous",
            "rules:1:1: a rule of direction in needs an address\n  help: * is any address: it is \
             written out, so that nobody opens all by forgetting one",
        ),
        (
            "allow local a,,b",
            "rules:1:15: a service name has at least one character\n  help: lists have no blanks, \
             and nothing behind their last comma: a,b",
        ),
        (
            "allow local ../x",
            "rules:1:13: a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) at character 3",
        ),
        ("allow local a/*", "rules:1:13: a service has only A-Z a-z 0-9 . _ - and *, not '/'"),
        (long.as_str(), "rules:1:13: a service with * has at most 255 characters"),
        ("allow out x tls:a,", "rules:1:19: an address is missing; lists have no blanks: a,b"),
        (
            "allow out x tls://h:1",
            "rules:1:13: an address in a rule is SCHEME:HOST:PORT, without //",
        ),
        (
            "allow out x tsl:h",
            "rules:1:13: unknown scheme tsl; there are tcp, tls, tor, udp, ws, wss",
        ),
        ("allow out x unix:a", "rules:1:13: unix is for rules of direction local"),
        (
            "allow local x tcp:h",
            "rules:1:15: a rule of direction local has unix:NAME or no address",
        ),
        (
            "allow local x unix:a/b",
            "rules:1:15: unix: is followed by a service name, which has no '/'",
        ),
        ("allow out x tls:a..b", "rules:1:13: something is missing between the dots of the host"),
        (
            "allow out x tls:a%41",
            "rules:1:13: a host has only letters, digits, - . and _, not '%' (U+0025)",
        ),
        (
            "allow out x tcp:::1:80",
            "rules:1:13: an IPv6 address stands in brackets: tcp:[2001:db8::1]:443",
        ),
        (
            "allow in x tcp:2001:db8::/32",
            "rules:1:12: an IPv6 address stands in brackets: tcp:[2001:db8::1]:443",
        ),
        (
            "allow out x tcp:10.0.0.0/33",
            "rules:1:13: a network is 10.0.0.0/8 or [2001:db8::/32], the length at most 32 or 128",
        ),
        (
            "allow out x tcp:[2001:db8::]/32",
            "rules:1:13: a network is 10.0.0.0/8 or [2001:db8::/32], the length at most 32 or 128",
        ),
        (
            "allow out x tcp:10.0.0.1/8",
            "rules:1:13: the network has bits beyond its length; it would be 10.0.0.0/8",
        ),
        (
            "allow out x tcp:a*.com",
            "rules:1:13: in a host, * stands alone or as *. at the beginning",
        ),
        (
            "allow out x tcp:*.10.0.0.1",
            "rules:1:13: in a host, * stands alone or as *. at the beginning",
        ),
        (
            "allow out x tcp:h:0",
            "rules:1:13: ports are *, a number from 1 to 65535, or two of them: n-m",
        ),
        (
            "allow out x tcp:h:80-",
            "rules:1:13: ports are *, a number from 1 to 65535, or two of them: n-m",
        ),
        ("allow out x tcp:h:9-8", "rules:1:13: the range of ports ends before it begins"),
        (
            "allow in x tls:h:9000",
            "rules:1:12: a rule of direction in has no ports: its address is what the peer has \
             proven to be",
        ),
        ("allow out x tor:h", "rules:1:13: tor has no default port: write tor:HOST:PORT"),
        (
            "deny out x tor:10.0.0.0/8:1",
            "rules:1:12: tor finds its way itself, so no rule can speak of addresses with it",
        ),
        (
            "deny out x tor:127.0.0.1:1",
            "rules:1:12: tor finds its way itself, so no rule can speak of addresses with it",
        ),
        ("allow local x for", "rules:1:15: nobody stands behind for"),
        ("allow local x for reason \"x\"", "rules:1:15: nobody stands behind for"),
        ("allow local x for unit:shop", "rules:1:19: a unit is named with its type: shop.service"),
        ("allow local x for unit:a/b.service", "rules:1:19: a unit has 1 to 255 of A-Z a-z 0-9"),
        ("allow local x for unit:", "rules:1:19: a unit has 1 to 255 of A-Z a-z 0-9"),
        (
            "allow local x for user-unit:game.service",
            "rules:1:19: user-unit: stands only beside user:, since every user may call a unit",
        ),
        ("allow local x for socket:", "rules:1:19: a socket has the name that systemd gives its"),
        ("allow local x for socket:a:b", "rules:1:19: a socket has the name that systemd gives"),
        (
            "allow in x * for dns:a..b",
            "rules:1:18: something is missing between the dots of the host",
        ),
        (
            "allow in x * for dns:10.0.0.1",
            "rules:1:18: dns: is followed by a name; for an address write net:ADDRESS",
        ),
        ("allow in x * for uri:web", "rules:1:18: a uri is SCHEME://REST, printable"),
        ("allow in x * for uri:*://web", "rules:1:18: a uri is SCHEME://REST, printable"),
        ("allow in x * for pin:x", "rules:1:18: a pin is sha256- and 44 characters of base64"),
        ("allow in x * for key:", "rules:1:18: key: is followed by a word of at most 255"),
        ("allow in x * for login:a*", "rules:1:18: login: is followed by a word of at most 255"),
        (
            "allow in x * for dns:h,anonymous",
            "rules:1:18: of an anonymous peer nothing is proven: beside it only net: can stand",
        ),
        (
            "allow in x * for user:alice",
            "rules:1:18: in direction in a peer asks: a program of this host cannot be meant",
        ),
        (
            "allow out x * for user:alice,anonymous",
            "rules:1:30: in direction out a program of this host asks: a peer cannot be meant",
        ),
        (
            "allow local x for login:bob",
            "rules:1:19: in direction local a program of this host asks: a peer cannot be meant",
        ),
        (
            "allow local x for net:10.0.0.0/8",
            "rules:1:19: in direction local a program of this host asks: a peer cannot be meant",
        ),
        (
            "allow local x for exe:/bin/x",
            "rules:1:19: unknown subject exe; there are user:, group:, unit:, user-unit: and socket: \
             for programs of this host, dns:, uri:, pin:, key:, login:, net: and anonymous for peers",
        ),
        (
            "allow local x for alice",
            "rules:1:19: unknown subject alice; there are user:, group:, unit:",
        ),
        (
            "allow local x for user:*",
            "rules:1:19: no account can have this name: it has A-Z a-z 0-9 . _ - @ + and begins with none of the last three",
        ),
        (
            "allow local x for user:",
            "rules:1:19: no account can have this name: it has A-Z a-z 0-9 . _ - @ + and begins with none of the last three",
        ),
        (
            "allow local x for user:-1",
            "rules:1:19: no account can have this name: it has A-Z a-z 0-9 . _ - @ + and begins with none of the last three",
        ),
        (
            "allow local x for user:4294967295",
            "rules:1:19: a number of an account is from 0 to 4294967294",
        ),
        (
            "allow local x for user:99999999999",
            "rules:1:19: a number of an account is from 0 to 4294967294",
        ),
        (
            "allow local x reason",
            "rules:1:15: behind reason stands a text in double quotes, without control characters",
        ),
        (
            "allow local x reason because",
            "rules:1:15: behind reason stands a text in double quotes, without control characters",
        ),
        (
            "allow local x reason \"a\u{1b}[31m\"",
            "rules:1:15: behind reason stands a text in double quotes, without control characters",
        ),
        ("allow local x reason \"a", "rules:1:22: the quote is never closed"),
        (
            "allow local x * y",
            "rules:1:17: the rule should end here\n  help: a rule is: allow|deny|permissive \
             out|in|local SERVICE ADDRESS [for SUBJECT] [reason \"TEXT\"], one per line",
        ),
        ("allow local x reason \"a\" for user:0", "rules:1:26: the rule should end here"),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn a_pattern_of_the_most_characters_is_a_service_and_a_longer_one_is_not() {
    let rule = |length: usize| format!("allow local {}*", "x".repeat(length - 1));
    assert_eq!(canonical(&rule(255)), [rule(255)]);
    let said = "rules:1:13: a service with * has at most 255 characters";
    assert_eq!(problems(&rule(256)), [said]);
}

#[test]
fn every_problem_of_every_line_is_reported() {
    let text = "allow local x\nallow out a/b,c d:e,tcp:h:0 for who:x\n\ndeny nowhere\n";
    let places: Vec<_> = problems(text)
        .iter()
        .map(|problem| problem.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(places, ["rules:2:11:", "rules:2:17:", "rules:2:21:", "rules:2:33:", "rules:4:6:"]);
}

#[test]
fn an_account_that_does_not_exist_is_dormant() {
    let rules = read_rules("allow local x for user:ghost,user:alice,group:ghosts", &schemes());
    let rule = rules.unwrap().remove(0);
    assert_eq!(rule.subjects.dormant(), ["user:ghost", "group:ghosts"]);
}

#[test]
fn numbers_of_accounts_hold_at_the_limit() {
    for id in ["0", "2147483647", "2147483648", "4294967294"] {
        let text = format!("allow local x for user:{id},group:{id}");
        assert_eq!(canonical(&text), [text]);
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "allow",
        "deny",
        "permissive",
        "out",
        "in",
        "local",
        "x",
        "*",
        "any",
        "a*b",
        "tcp:h",
        "tls:*.e.com:*",
        "tcp:10.0.0.0/8:1-2",
        "tcp:[::1]",
        "unix:x",
        "for",
        "reason",
        "user:0",
        "net:10.0.0.1",
        "anonymous",
        "unit:a.service",
        "user-unit:*",
        "socket:s",
        "dns:*.h",
        "uri:spiffe://td/*",
        "login:bob",
        "\"t\"",
        "\"",
        ",",
        ":",
        "#",
        "\n",
        "\r",
        "\u{e9}",
        "/",
        "[",
    ])
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        drop(read_rules(&text, &Schemes::default()));
    }

    #[test]
    fn what_is_read_is_read_again_from_its_canonical_text(
        words in proptest::collection::vec((piece(), prop::bool::weighted(0.8)), 0..14)
    ) {
        let text: Vec<_> =
            words.iter().flat_map(|(word, blank)| [*word, if *blank { " " } else { "" }]).collect();
        if let Ok(rules) = read_rules(&text.concat(), &Schemes::default()) {
            for rule in rules {
                let again = read_rules(&rule.to_string(), &Schemes::default()).unwrap();
                prop_assert_eq!(again.len(), 1);
                prop_assert_eq!(&again[0].places, &rule.places);
                prop_assert_eq!(&again[0].services, &rule.services);
                prop_assert_eq!(&again[0].subjects, &rule.subjects);
                prop_assert_eq!(again[0].to_string(), rule.to_string());
            }
        }
    }

    /// attacks.md A13: a rule for one user never matches another.
    #[test]
    fn a_rule_for_one_user_is_for_nobody_else(own: u32, other: u32) {
        prop_assume!(own != u32::MAX && other != own);
        let subject = crate::subject::Subject::parse(&format!("user:{own}"), &Host).unwrap();
        let mut subjects = Subjects::default();
        subjects.add(subject);
        let facts = |uid| crate::fixture::user(uid);
        prop_assert_eq!(subjects.match_local(&facts(own)), crate::fact::Fact::True);
        prop_assert_eq!(subjects.match_local(&facts(other)), crate::fact::Fact::False);
    }
}

#[test]
fn a_reason_has_1_to_500_characters() {
    let said = |reason: &str| {
        read_rules(&format!("deny local x reason \"{reason}\""), &Schemes::default())
            .map(|rules| rules.len())
            .map_err(|problems| problems[0].to_string())
    };
    assert_eq!(said(&"ü".repeat(500)), Ok(1));
    for wrong in [String::new(), "ü".repeat(501)] {
        let help = "whoever is refused is told it; without one, leave `reason` out";
        let expected = format!("rules:1:14: a reason has 1 to 500 characters\n  help: {help}");
        assert_eq!(said(&wrong), Err(expected));
    }
}

#[test]
fn a_very_long_rule_is_shown_by_its_beginning() {
    let services: Vec<_> = (0..400).map(|number| format!("s{number}")).collect();
    let text = format!("allow local {}", services.join(","));
    let rules = read_rules(&text, &Schemes::default()).unwrap();
    let rule = &rules[0].text;
    assert_eq!(rule.as_str(), text, "whole where there is room");
    assert_eq!(rule.shown(), format!("{}…", &text[..SHOWN_CHARACTERS_MOST]));
    assert_eq!(rule.beginning(5), "allow…");
    assert_eq!(rule.beginning(text.len()), text);
}
