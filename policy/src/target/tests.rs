use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Target, String> {
    Target::parse(text, Author::Client, &Schemes::default()).map_err(|error| error.to_string())
}

fn remote(text: &str) -> RemoteTarget {
    read(text).unwrap().remote().unwrap().clone()
}

fn login(target: &RemoteTarget) -> (Option<&str>, Option<&str>) {
    (target.user.as_ref().map(Secret::expose), target.secret.as_ref().map(Secret::expose))
}

#[test]
fn targets_have_one_form_that_rules_use() {
    for (text, expected) in [
        ("authd", "unix:authd"),
        ("unix:///authd", "unix:authd"),
        ("unix://authd", "unix:authd"),
        ("UNIX:///authd", "unix:authd"),
        ("tcp://example.com/service", "tcp:example.com:9000/service"),
        ("tls://example.com/service", "tls:example.com:9001/service"),
        ("udp://example.com/service", "udp:example.com:9000/service"),
        ("ws://example.com/service", "ws:example.com:80/service"),
        ("wss://example.com/service", "wss:example.com:443/service"),
        ("TLS://Example.COM.:9000/authd", "tls:example.com:9000/authd"),
        ("tls://imap.example.org:993", "tls:imap.example.org:993"),
        ("tls://[::1]:5432", "tls:[::1]:5432"),
        ("tcp://[::1]/x", "tcp:[::1]:9000/x"),
        ("tcp://10.0.0.1:65535", "tcp:10.0.0.1:65535"),
        ("tcp://h:1/x?nodelay=true&keepalive=60", "tcp:h:1/x"),
        ("tls://user:secret@example.com:9000/authd", "tls:example.com:9000/authd"),
    ] {
        assert_eq!(read(text).unwrap().to_string(), expected, "{text}");
    }
}

/// attacks.md 2.10: spellings that readers of URIs do not agree about.
#[test]
fn every_spelling_of_a_uri_is_canonical_or_refused() {
    let canonical = [
        ("tcp://2130706433:80/x", "tcp:127.0.0.1:80/x"),
        ("tcp://0x7f.1:80", "tcp:127.0.0.1:80"),
        ("tcp://0177.0.0.1:80", "tcp:127.0.0.1:80"),
        ("tcp://127.1:80", "tcp:127.0.0.1:80"),
        ("tcp://\u{ff11}\u{ff12}\u{ff17}.0.0.1:80", "tcp:127.0.0.1:80"),
        ("tcp://[::ffff:127.0.0.1]:80", "tcp:127.0.0.1:80"),
        ("tcp://[64:ff9b::7f00:1]:80", "tcp:[64:ff9b::7f00:1]:80"),
        ("tcp://[2002:7f00:1::]:80", "tcp:[2002:7f00:1::]:80"),
        ("tcp://0.0.0.0:80", "tcp:0.0.0.0:80"),
        ("tcp://[::]:80", "tcp:[::]:80"),
        ("tcp://169.254.169.254:80", "tcp:169.254.169.254:80"),
        ("tcp://EXAMPLE.com:80", "tcp:example.com:80"),
        ("tcp://example.com.:80", "tcp:example.com:80"),
        ("tcp://m\u{fc}nchen.de:80", "tcp:xn--mnchen-3ya.de:80"),
    ];
    for (text, expected) in canonical {
        assert_eq!(read(text).unwrap().to_string(), expected, "{text}");
    }
    for text in [
        "tcp://exa%0ample.com:80",
        "tcp://exa%6dple.com:80",
        "tcp://exam\nple.com:80",
        "tcp://a\tb.com:80",
        "tcp://a\0b.com:80",
        "tcp://good.example\\@evil.example:80/x",
        "ws://good.example\\@evil.example:80/x",
        "tls://user:pw@evil@good.example/x",
        "tcp://-oProxyCommand=x:80/y",
        "tcp://-oX:80/",
        "tcp://$(id):80",
        "tcp://a;b:80",
        // attacks.md E5: nothing but a name leads to a socket of this host.
        "unix:///../../etc/passwd",
        "unix:///run/docker.sock",
        "unix:///./authd",
        "unix:///a/%2e%2e/%2e%2e/b",
        "unix://host/b",
        "unix:authd",
        "tcp:example.com:80",
        "tcp://h:0/x",
        "tcp://h:65536/x",
        "tcp://h:+80/x",
        "tcp://h:/x",
        "tcp://h: 80/x",
        "tcp://h:80/x#y",
        "tcp://example.com\u{3002}evil:80",
        "tcp://[::1%eth0]:80",
        "tcp://[::1%25eth0]:80",
        "tcp://[::1]80",
        "tcp://::1:80",
        "tcp://:80",
        "tcp://",
        "tcp:///x",
        "",
    ] {
        assert!(read(text).is_err(), "{text:?} became {:?}", read(text));
    }
}

#[test]
fn a_login_is_decoded_and_kept_apart() {
    for (text, expected) in [
        ("tls://user@h/x", (Some("user"), None)),
        ("tls://user:secret@h/x", (Some("user"), Some("secret"))),
        ("tls://user:a:b@h/x", (Some("user"), Some("a:b"))),
        ("tls://us%65r:p%40ss%3Bword%20%2F@h/x", (Some("user"), Some("p@ss;word /"))),
        ("tls://user:@h/x", (Some("user"), Some(""))),
        ("tls://user:%C3%A9@h/x", (Some("user"), Some("\u{e9}"))),
        // As the first ipcd's documentation wrote it.
        ("tls://user@passwd:example.com:9000/authd", (Some("user"), Some("passwd"))),
        ("tls://user@passwd:[::1]:9000/authd", (Some("user"), Some("passwd"))),
        ("wss://user:secret@h/x", (Some("user"), Some("secret"))),
    ] {
        assert_eq!(login(&remote(text)), expected, "{text}");
    }
    let old = remote("tls://user@passwd:example.com:9000/authd");
    assert_eq!(Target::Remote(old.clone()).to_string(), "tls:example.com:9000/authd");
    assert_eq!(old, remote("tls://user:passwd@example.com:9000/authd"));
}

/// Targets that are none, and what their authors are told.
const FAULTS: &[(&str, &str)] = &[
    ("", "the target is missing"),
    ("a b", "a target has no ' ' (U+0020); in a login it is written as % and two digits"),
    (
        "tcp://h:1\\x",
        "a target has no '\\\\' (U+005C); in a login it is written as % and two digits",
    ),
    ("-x", "a service name begins with a letter or digit, not -"),
    ("tcp://h:1/", "a service name has at least one character"),
    ("tcp://h:1/ipc", "the name ipc is reserved"),
    ("tcp://h:1/a/b", "a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) at character 2"),
    ("tcp:h:1", "a target is SCHEME://HOST:PORT, unix:///NAME or a name alone"),
    ("quic://h:1", "unknown scheme quic; there are tcp, tls, udp, ws, wss and unix"),
    ("unix://CANARYU@x", "a target on this host is unix:///NAME"),
    ("tcp://a..b:1", "something is missing between the dots of the host"),
    ("tls://CANARYU:CANARYP@a@b/x", "a target has at most one @; in a login it is written %40"),
    ("tls://CANARYU:CANARYP/x", "a port is a number from 1 to 65535"),
    ("tls://CANARYU:CANARYP@CANARYP:h:1/x", "a port is a number from 1 to 65535"),
    ("tcp://h", "a target without /SERVICE names its port"),
    ("tls://@h/x", "no user stands before the : or @"),
    ("tls://:CANARYP@h/x", "no user stands before the : or @"),
    (
        "tls://CANARYU:CANARYP%0a@h/x",
        "% begins no escape: it is followed by two hexadecimal digits, of UTF-8 and no control \
         character",
    ),
    (
        "tls://CANARYU%zz@h/x",
        "% begins no escape: it is followed by two hexadecimal digits, of UTF-8 and no control \
         character",
    ),
    ("tls://CANARYU:CANARYP@h:1", "a login is for a far service: the target has no /SERVICE"),
    (
        "tcp://CANARYU:CANARYP@h/x",
        "a login goes only to a far end that has proven who it is: use tls or wss",
    ),
    (
        "tls://h:1?colour=CANARYP",
        "unknown option colour; there are keepalive, nodelay, pin, starttls",
    ),
    (
        "tls://h:1?trust=CANARYP",
        "the option trust is the administrator's: it stands in redirects alone",
    ),
    ("tcp://h:1?starttls=imap", "the option starttls means nothing to a target of this scheme"),
    ("udp://h:1?nodelay=true", "the option nodelay means nothing to a target of this scheme"),
    ("tcp://h:1?nodelay=CANARYP", "the option nodelay wants true or false"),
    ("tls://CANARYU:1?CANARYP=x@h/x", "an @ in an option is written %40, and a ? in a login %3F"),
    ("tcp://h:1?nodelay", "an option is NAME=VALUE"),
    ("tcp://h:1?", "an option is NAME=VALUE"),
    ("tcp://h:1?nodelay=true&nodelay=true", "the option nodelay stands there twice"),
    ("tls://h:1?pin=CANARYP", "the option pin wants sha256- and 44 characters of base64"),
    (
        "tls://h:1?starttls=CANARYP",
        "the option starttls wants postgres, smtp, imap, pop3, ldap, mysql or xmpp",
    ),
    ("tcp://h:1?keepalive=0", "the option keepalive wants true, false, or seconds from 1 to 32767"),
];

#[test]
fn what_is_wrong_is_said_without_login_or_values() {
    for (text, expected) in FAULTS {
        let error = read(text).unwrap_err();
        assert_eq!(error, *expected, "{text}");
        assert!(!error.contains("CANARY"), "{error}");
    }
    let mut schemes = Schemes::default();
    assert!(schemes.add("tor", vec!["tor".into()]));
    let error = Target::parse("tor://h/x", Author::Client, &schemes).unwrap_err();
    assert_eq!(error.to_string(), "a target of this scheme names its port");
}

#[test]
fn an_administrator_has_more_options() {
    let read = |text: &str| {
        Target::parse(text, Author::Administrator, &Schemes::default())
            .map_err(|error| error.to_string())
    };
    let text = "tls://u@h/x?certificate=host&trust=rds&psk=k&alpn=ipc/1&tls12=true&\
                source=10.0.0.1&mark=7&secret-file=/etc/x&credential=y&starttls=postgres&\
                pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D";
    let target = read(text).unwrap();
    let options = &target.remote().unwrap().options;
    assert_eq!(options.len(), 11);
    assert_eq!(options["alpn"].expose(), "ipc/1");
    assert!(options["pin"].expose().ends_with('='));
    for (text, expected) in [
        ("tcp://h:1?source=CANARYP", "the option source wants an address of this host"),
        ("tcp://h:1?mark=-1", "the option mark wants a number from 0 to 4294967295"),
        ("tls://h:1?trust=", "the option trust wants some text"),
        ("tls://h:1?secret-file=/x", "a login is for a far service: the target has no /SERVICE"),
        (
            "tls://h:1?colour=x",
            "unknown option colour; there are keepalive, nodelay, pin, starttls, alpn, \
             certificate, credential, mark, psk, secret-file, source, tls12, trust",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn the_limits_of_a_uri_hold_at_the_limit() {
    for (text, fits) in [
        ("tcp://h:1/x", true),
        ("tcp://h:0/x", false),
        ("tcp://h:65535/x", true),
        ("tcp://h:65536/x", false),
        ("tcp://h:1?keepalive=32767", true),
        ("tcp://h:1?keepalive=32768", false),
        (&format!("tcp://h:1/{}", "a".repeat(64)), true),
        (&format!("tcp://h:1/{}", "a".repeat(65)), false),
    ] {
        assert_eq!(read(text).is_ok(), fits, "{text}");
    }
}

#[test]
fn neither_display_nor_debug_shows_login_or_options() {
    let text = "tls://CANARYU:CANARYP@h:9001/x?starttls=imap";
    let target = read(text).unwrap();
    for shown in [format!("{target}"), format!("{target:?}"), format!("{target:#?}")] {
        assert!(!shown.contains("CANARY") && !shown.contains("\"imap\""), "{shown}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        drop(read(&text));
    }

    #[test]
    fn no_mixture_of_pieces_makes_the_reader_panic(
        pieces in proptest::collection::vec(
            prop::sample::select(vec![
                "tcp", "tls", "unix", "://", ":", "/", "@", "?", "&", "=", "[", "]", "%", "%41",
                "h", "example.com", "::1", "9000", "0", "x", "nodelay", "true", "\u{e9}", ".", "-",
            ]),
            0..16,
        )
    ) {
        let text = pieces.concat();
        if let Ok(target) = read(&text) {
            // The canonical form is one: what is read again is the same.
            let shown = target.to_string();
            let uri = shown.replacen(':', if shown.starts_with("unix:") { ":///" } else { "://" }, 1);
            prop_assert_eq!(read(&uri).unwrap().to_string(), shown, "{}", text);
        }
    }

    #[test]
    fn names_and_ports_are_kept(
        host in "[a-z][a-z0-9-]{0,20}(\\.[a-z][a-z0-9-]{0,20}){0,3}",
        port in 1_u16..,
        service in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}",
    ) {
        prop_assume!(ServiceName::new(&service).is_ok() && !host.contains("xn--"));
        let text = format!("tcp://{host}:{port}/{service}");
        let expected = format!("tcp:{host}:{port}/{service}");
        prop_assert_eq!(read(&text).unwrap().to_string(), expected);
    }
}
