use super::check::{downgrades, endless};
use super::*;
use crate::fixture::{load, name, user};

fn problems(text: &str) -> Vec<String> {
    load(text).map_or_else(|problems| problems, |_| Vec::new())
}

fn led(text: &str, from: &str) -> Option<String> {
    let config = load(text).unwrap().config;
    let redirect = config.redirects.first(&name(from), Some(&user(1000)))?;
    let target = redirect.to[0].of(&name(from), config.schemes()).unwrap();
    Some(target.to_string())
}

#[test]
fn a_name_is_led_by_the_first_redirect_exact_ones_before_wildcards() {
    let text = "
        [[redirect]]
        from = 'db-*'
        to = 'tcp://gateway:9000/{name}'
        [[redirect]]
        from = 'db-test'
        to = 'unix:///other'
        [redirects]
        authd = 'nextversion-authd'
    ";
    assert_eq!(led(text, "authd").as_deref(), Some("unix:nextversion-authd"));
    assert_eq!(led(text, "db-test").as_deref(), Some("unix:other"));
    assert_eq!(led(text, "db-7").as_deref(), Some("tcp:gateway:9000/db-7"));
    assert_eq!(led(text, "web"), None);
}

#[test]
fn the_requested_name_may_stand_in_a_name_a_host_and_a_service() {
    for (to, expected) in [
        ("v2-{name}-x", "unix:v2-a.b-x"),
        ("unix:///v2-{name}", "unix:v2-a.b"),
        ("unix://{name}-v2", "unix:a.b-v2"),
        ("tcp://{name}.example.com:80", "tcp:a.b.example.com:80"),
        ("tcp://{name}:80/{name}", "tcp:a.b:80/a.b"),
    ] {
        let text = format!("redirect = [{{ from = 'a.b', to = '{to}' }}]");
        assert_eq!(led(&text, "a.b").as_deref(), Some(expected), "{to}");
    }
    assert_eq!(
        problems("redirects = { 'a*' = '{name}-{name}' }"),
        ["ipcd.toml:1:22: {name} stands at most once in what leads to a name"]
    );
}

#[test]
fn a_redirect_for_somebody_is_for_nobody_else() {
    let text = "
        [[redirect]]
        from = 'a'
        to = 'canary'
        for = ['user:alice,user:shop', 'group:www']
    ";
    let config = load(text).unwrap().config;
    let first = |asker: Option<&LocalIdentity>| config.redirects.first(&name("a"), asker).is_some();
    let mut alice = user(1000);
    assert!(!first(Some(&alice)), "not of the group");
    alice.groups = Some(vec![33]);
    assert!(first(Some(&alice)));
    assert!(!first(Some(&LocalIdentity::default())), "nothing is known of the asker");
    assert!(!first(None), "a peer on another host");
}

#[test]
fn what_is_wrong_with_a_redirect_is_said_at_its_place() {
    let cases = [
        (
            "redirects = { 'a/b' = 'x' }",
            "ipcd.toml:1:15: a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) at character 2",
        ),
        (
            "redirects = { 'a*b*' = 'x' }",
            "ipcd.toml:1:15: a service name has only A-Z a-z 0-9 . _ -, not '*' (U+002A) at character 4",
        ),
        (
            "redirects = { a = 'tcp://h' }",
            "ipcd.toml:1:19: a target without /SERVICE names its port",
        ),
        ("redirects = { a = 5 }", "ipcd.toml:1:19: wants a string, not a whole number"),
        ("redirects = { a = ['b', 'c'] }", "ipcd.toml:1:19: wants a string, not a list"),
        ("redirect = [{ from = 'a' }]", "ipcd.toml:1:13: needs the key `to`"),
        ("redirect = [{ to = 'a' }]", "ipcd.toml:1:13: needs the key `from`"),
        ("redirect = [{ from = 'a', to = [] }]", "ipcd.toml:1:32: an empty list leads nowhere"),
        (
            "redirect = [{ from = 'a', to = 'b', for = [] }]",
            "ipcd.toml:1:43: nobody is named; leave `for` out to mean everybody",
        ),
        (
            "redirect = [{ from = 'a', to = 'b', for = '' }]",
            "ipcd.toml:1:44: unknown subject ; there are user:, group:, unit:, user-unit: and socket: for programs of this host, dns:, uri:, pin:, key:, login:, net: and anonymous for peers",
        ),
        (
            "redirect = [{ from = 'a', to = 'b', for = 'user:alice,anonymous' }]",
            "ipcd.toml:1:55: a redirect is for programs of this host, not for peers",
        ),
        (
            "redirect = [{ from = 'a', to = 'b', for = 'unit:x' }]",
            "ipcd.toml:1:44: a unit is named with its type: x.service",
        ),
        (
            "redirect = [{ from = 'a', to = 'b', secure = true }]",
            "ipcd.toml:1:37: unknown key `secure`\n  help: did you mean `insecure`?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn redirects_that_go_round_are_named() {
    let eight: Vec<_> = (0..8).map(|n| format!("n{n} = 'n{}'", (n + 1) % 8)).collect();
    let nine: Vec<_> = (0..9).map(|n| format!("n{n} = 'n{}'", (n + 1) % 9)).collect();
    let round_of = |count: usize| {
        let names: Vec<_> = (0..=count).map(|n| format!("n{}", n % count)).collect();
        format!("ipcd.toml:2:1: redirects go round: {}", names.join(" → "))
    };
    let cases = [
        (
            "authd = 'authd'".to_owned(),
            "ipcd.toml:2:1: redirects go round: authd → authd".to_owned(),
        ),
        (
            "authd = 'b'\nb = 'authd'".to_owned(),
            "ipcd.toml:2:1: redirects go round: authd → b → authd".to_owned(),
        ),
        (
            "x = 'authd'\nauthd = 'b'\nb = 'authd'".to_owned(),
            "ipcd.toml:3:1: redirects go round: authd → b → authd".to_owned(),
        ),
        (eight.join("\n"), round_of(8)),
        ("'*' = 'x'".to_owned(), "ipcd.toml:2:1: redirects go round: * → *".to_owned()),
        (
            "'a*' = 'b'\nb = 'a2'".to_owned(),
            "ipcd.toml:2:1: redirects go round: a* → b → a*".to_owned(),
        ),
        ("'a*' = 'a{name}'".to_owned(), "ipcd.toml:2:1: redirects go round: a* → a*".to_owned()),
        ("'*' = 'v2-{name}'".to_owned(), "ipcd.toml:2:1: redirects go round: * → *".to_owned()),
        (
            "'a*' = 'b{name}'\n'b*' = 'a{name}'".to_owned(),
            "ipcd.toml:2:1: redirects go round: a* → b* → a*".to_owned(),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(&format!("[redirects]\n{text}")), [expected], "{text}");
    }
    // A circle of nine is too long before it is round.
    let found = problems(&format!("[redirects]\n{}", nine.join("\n")));
    assert!(
        found.iter().all(|problem| problem.contains("more than 8 redirects follow")),
        "{found:?}"
    );
}

#[test]
fn eight_redirects_may_follow_each_other_and_nine_may_not() {
    let chain = |count: usize| {
        let lines: Vec<_> = (0..count).map(|n| format!("n{n} = 'n{}'", n + 1)).collect();
        format!("[redirects]\n{}", lines.join("\n"))
    };
    assert!(problems(&chain(8)).is_empty());
    assert_eq!(problems(&chain(9)), ["ipcd.toml:2:1: from n0 more than 8 redirects follow"]);
    assert_eq!(problems(&chain(10)).len(), 2);
}

#[test]
fn what_only_looks_like_a_circle_is_none() {
    for text in [
        "'a*' = 'b{name}'",
        "'*' = 'tcp://h:9000/{name}'",
        "'*' = 'x'\nx = 'tcp://h:9000/x'",
        "'*-old' = '{name}er'",
        "'a*' = 'b{name}'\nba1 = 'a2'",
        "authd = 'unix:///b'\nb = 'tcp://h:1/authd'",
    ] {
        let found = problems(&format!("[redirects]\n{text}"));
        assert!(found.is_empty(), "{text}: {found:?}");
    }
    // Somebody else's redirect does not end the way for everybody.
    let conditional = "
        redirect = [
            { from = 'b', to = 'tcp://h:1/x', for = 'user:alice' },
            { from = 'a', to = 'b' },
            { from = 'b', to = 'a' },
        ]
    ";
    assert_eq!(problems(conditional), ["ipcd.toml:4:13: redirects go round: a → b → a"]);
}

#[test]
fn many_redirects_are_searched_in_bounded_time() {
    // Each name leads to every name of the next level: eight levels of twelve.
    let lines: Vec<_> = (0..8)
        .flat_map(|level| (0..12).map(move |n| (level, n)))
        .map(|(level, n)| {
            let to: Vec<_> = (0..12).map(|next| format!("'l{}n{next}'", level + 1)).collect();
            format!("[[redirect]]\nfrom = 'l{level}n{n}'\nto = [{}]", to.join(", "))
        })
        .collect();
    let begin = std::time::Instant::now();
    assert!(problems(&lines.join("\n")).is_empty());
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// attacks.md E9.
#[test]
fn encryption_is_given_up_only_where_it_is_written() {
    let help = "\n  help: write insecure = true in its [[redirect]] if that is meant";
    let mixed = |insecure: &str| {
        format!(
            "redirect = [{{ from = 'a', to = ['tls://h:1', 'tcp://h:2'], insecure = {insecure} }}]"
        )
    };
    assert_eq!(
        problems(&mixed("false")),
        [format!("ipcd.toml:1:13: a leads to encrypted places, and to one that is not{help}")]
    );
    assert!(problems(&mixed("true")).is_empty());
    let overridden = |insecure: &str| {
        format!(
            "redirect = [{{ from = 'a', to = 'ws://h:2', insecure = {insecure} }}, \
             {{ from = 'a', to = 'wss://h:1' }}]"
        )
    };
    assert_eq!(
        problems(&overridden("false")),
        [format!(
            "ipcd.toml:1:13: a leads to a place that is not encrypted, where ipcd.toml:1 leads to \
             one that is{help}"
        )]
    );
    assert!(problems(&overridden("true")).is_empty());
    for text in ["a = 'tcp://h:1'", "a = 'tls://h:1'", "a = 'b'\nb = 'tcp://h:1'"] {
        assert!(problems(&format!("[redirects]\n{text}")).is_empty(), "{text}");
    }
}

#[test]
fn no_redirects_have_no_problems() {
    let none = Redirects::default();
    assert!(endless(&none).is_empty() && downgrades(&none, &Schemes::default()).is_empty());
    assert!(none.all().is_empty());
}
