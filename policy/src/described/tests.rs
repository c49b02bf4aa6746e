use super::*;
use crate::fixture::Host as Accounts;

#[test]
fn what_a_description_leaves_out_is_what_no_rule_names() {
    let subject = parse_program("unit:shop.service").unwrap();
    let shop = program(&subject, &Accounts).unwrap();
    assert_eq!((shop.uid, shop.gid, shop.groups), (Some(UNNAMED), Some(UNNAMED), Some(vec![])));
    assert_eq!((shop.unit.as_deref(), shop.socket), (Some("shop.service"), None));
    let subject = parse_program("user:alice,group:www,group:7,socket:s,user-unit:a.scope").unwrap();
    let alice = program(&subject, &Accounts).unwrap();
    assert_eq!((alice.uid, alice.groups), (Some(1000), Some(vec![33, 7])));
    assert_eq!((alice.unit.as_deref(), alice.user_unit.as_deref()), (Some(""), Some("a.scope")));
    assert_eq!(
        program_text(&subject),
        "user alice, group www, group 7, user unit a.scope, socket s"
    );
    assert_eq!(program_text(&Subject::default()), "somebody");
}

#[test]
fn who_is_nobody_is_told_why() {
    for (text, said) in [
        (
            "alice",
            "a program is described by user:, group:, unit:, user-unit:, socket: and login:, with commas between them",
        ),
        (
            "dns:x",
            "a program is described by user:, group:, unit:, user-unit:, socket: and login:, with commas between them",
        ),
        ("user:a,user:b", "a program has one user, one unit, one socket and one login"),
        (
            "user:-",
            "no account can have this name: it has A-Z a-z 0-9 . _ - @ + and begins with none of the last three",
        ),
        ("user:4294967295", "a number of an account is from 0 to 4294967294"),
        ("group:ghosts", "there is no group ghosts on this host"),
        (
            "unit:shop",
            "a unit is named as its manager does, with its type and without *: shop.service",
        ),
        (
            "unit:*.service",
            "a unit is named as its manager does, with its type and without *: shop.service",
        ),
    ] {
        let said_of = parse_program(text).and_then(|subject| program(&subject, &Accounts));
        assert_eq!(said_of.unwrap_err().to_string(), said, "{text}");
    }
}

#[test]
fn a_peer_is_its_scheme_its_host_and_what_it_has_proven() {
    let schemes = Schemes::default();
    let web = peer("tls:Web1.example.com.,login:bob", &schemes).unwrap();
    assert_eq!(web.names, ["dns:web1.example.com", "login:bob"]);
    assert!(web.address.is_unspecified(), "of its address nothing is known");
    let plain = peer("tcp:192.0.2.7", &schemes).unwrap();
    assert_eq!((plain.address.to_string(), plain.names.len()), ("192.0.2.7".to_owned(), 0));
    for (text, said) in [
        (
            "web1",
            "a peer is SCHEME:HOST, for example tls:web1.example.com or tcp:192.0.2.7, and behind it, with commas, what else it has proven",
        ),
        ("gopher:h", "there is no such scheme; there are tcp, tls, udp, ws, wss"),
        (
            "tls:h,colour:red",
            "what a peer has proven is dns:NAME, uri:NAME, pin:sha256-…, key:NAME or login:NAME",
        ),
        (
            "tls:h,x",
            "what a peer has proven is dns:NAME, uri:NAME, pin:sha256-…, key:NAME or login:NAME",
        ),
        ("tcp:h", "over tcp a peer proves nothing but its address"),
        ("tls:a..b", "something is missing between the dots of the host"),
        ("tls:h:99", "a peer has no port: leave out `:99`"),
        ("tcp:[2001:db8::1]:9000", "a peer has no port: leave out `:9000`"),
        ("tcp:2001:db8::1", "an IPv6 address stands in brackets: [::1]"),
        ("tls:h:x", "a host has only letters, digits, - . and _, not ':' (U+003A)"),
    ] {
        assert_eq!(peer(text, &schemes).unwrap_err().to_string(), said, "{text}");
    }
}
