use super::*;
use crate::accounts::Accounts;
use crate::fixture::{Host, peer, user};
use crate::scheme::Schemes;

fn subjects(text: &str) -> Subjects {
    let mut subjects = Subjects::default();
    text.split(',').for_each(|one| subjects.add(Subject::parse(one, &Host).unwrap()));
    subjects.check().unwrap();
    subjects
}

fn in_units(unit: Option<&str>, user_unit: Option<&str>) -> LocalIdentity {
    LocalIdentity { unit: unit.map(Into::into), user_unit: user_unit.map(Into::into), ..user(1000) }
}

#[test]
fn a_unit_is_one_of_the_systems_manager_and_unknown_where_nobody_can_tell() {
    for (text, unit, expected) in [
        ("unit:shop.service", Some("shop.service"), Fact::True),
        ("unit:shop.service", Some("shop.socket"), Fact::False),
        ("unit:shop@*.service", Some("shop@1.service"), Fact::True),
        ("unit:shop@*.service", Some("shop.service"), Fact::False),
        ("unit:a.service,unit:b.service", Some("b.service"), Fact::True),
        ("unit:shop.service", None, Fact::Unknown),
        ("unit:shop.service,user:alice", Some("shop.service"), Fact::True),
        ("unit:shop.service,user:shop", Some("shop.service"), Fact::False),
        ("unit:shop.service,user:shop", None, Fact::False),
    ] {
        assert_eq!(subjects(text).match_local(&in_units(unit, None)), expected, "{text} {unit:?}");
    }
}

/// attacks.md A7: a unit of the same name that a user runs is not the system's.
#[test]
fn a_users_unit_of_the_same_name_gets_nothing_from_a_rule_for_a_unit() {
    let asker = in_units(Some("user@1000.service"), Some("shop.service"));
    assert_eq!(subjects("unit:shop.service").match_local(&asker), Fact::False);
    let own = "user:alice,user-unit:shop.service";
    assert_eq!(subjects(own).match_local(&asker), Fact::True);
    assert_eq!(
        subjects("user:shop,user-unit:shop.service").match_local(&asker),
        Fact::False,
        "another user's unit"
    );
    let of_system = in_units(Some("shop.service"), None);
    assert_eq!(subjects(own).match_local(&of_system), Fact::False, "it is in no user's unit");
    let manager = in_units(Some("user@1000.service"), None);
    assert_eq!(subjects(own).match_local(&manager), Fact::Unknown);
    assert_eq!(subjects(own).match_local(&in_units(None, None)), Fact::Unknown);
}

#[test]
fn a_login_of_a_program_is_one_that_it_has_proven_and_unknown_without_one() {
    let mut asker = user(1000);
    for text in ["login:bob", "login:@staff", "user:alice,login:bob"] {
        assert_eq!(subjects(text).match_local(&asker), Fact::Unknown, "{text}");
    }
    assert_eq!(subjects("user:shop,login:bob").match_local(&asker), Fact::False);
    asker.logins = vec!["bob".into(), "@staff".into()];
    for text in ["login:bob", "login:eve,login:bob", "login:@staff", "user:alice,login:bob"] {
        assert_eq!(subjects(text).match_local(&asker), Fact::True, "{text}");
    }
    for text in ["login:eve", "login:staff", "user:shop,login:bob"] {
        assert_eq!(subjects(text).match_local(&asker), Fact::False, "{text}");
    }
}

#[test]
fn a_socket_is_the_one_of_that_name_and_the_ordinary_one_is_none() {
    let mut asker = user(1000);
    assert_eq!(subjects("socket:agents").match_local(&asker), Fact::False);
    asker.socket = Some("agents".into());
    assert_eq!(subjects("socket:agents").match_local(&asker), Fact::True);
    assert_eq!(subjects("socket:builds,socket:agents").match_local(&asker), Fact::True);
    assert_eq!(subjects("socket:builds").match_local(&asker), Fact::False);
}

#[test]
fn what_a_peer_has_proven_is_matched_kind_by_kind() {
    let pin = "pin:sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let names = ["dns:Web1.Example.com", "uri:spiffe://td/ns/web", "login:bob", pin];
    let web = peer("tls", "10.1.2.3", &names);
    for (text, expected) in [
        ("dns:web1.example.com", Fact::True),
        ("dns:web1.EXAMPLE.com.", Fact::True),
        ("dns:*.example.com", Fact::True),
        ("dns:*.com", Fact::True),
        ("dns:example.com", Fact::False),
        ("dns:h,dns:web1.example.com", Fact::True),
        ("uri:spiffe://td/ns/web", Fact::True),
        ("uri:spiffe://td/ns/*", Fact::True),
        ("uri:spiffe://td/*", Fact::False),
        ("login:bob", Fact::True),
        ("login:alice", Fact::False),
        (pin, Fact::True),
        ("key:k1", Fact::Unknown),
        ("dns:web1.example.com,login:bob", Fact::True),
        ("dns:web1.example.com,login:alice", Fact::False),
        ("dns:web1.example.com,key:k1", Fact::Unknown),
        ("login:alice,key:k1", Fact::False),
        ("login:bob,net:10.0.0.0/8", Fact::True),
        ("login:bob,net:192.0.2.0/24", Fact::False),
        ("anonymous", Fact::False),
    ] {
        let schemes = Schemes::default();
        assert_eq!(subjects(text).match_remote(&Peer::of(&web, &schemes)), expected, "{text}");
    }
}

/// design.md 15.4: no decision from an unverified name.
#[test]
fn a_scheme_that_proves_nothing_brings_no_names() {
    let (schemes, names) = (Schemes::default(), ["dns:web1.example.com"]);
    let claimed = peer("tcp", "10.1.2.3", &names);
    let claimed = Peer::of(&claimed, &schemes);
    assert_eq!(subjects("dns:web1.example.com").match_remote(&claimed), Fact::Unknown);
    assert_eq!(subjects("anonymous").match_remote(&claimed), Fact::True);
    let wildcard = peer("tls", "10.1.2.3", &["dns:*.example.com"]);
    let wildcard = Peer::of(&wildcard, &schemes);
    assert_eq!(subjects("dns:*.example.com").match_remote(&wildcard), Fact::Unknown);
    let nowhere = peer("tcp", "0.0.0.0", &[]);
    let nowhere = Peer::of(&nowhere, &schemes);
    assert_eq!(subjects("net:10.0.0.0/8").match_remote(&nowhere), Fact::Unknown);
}

/// A kernel before 6.5.
struct OldKernel;

impl Accounts for OldKernel {
    fn uid(&self, _name: &str) -> Option<u32> {
        None
    }

    fn gid(&self, _name: &str) -> Option<u32> {
        None
    }

    fn tells_units(&self) -> bool {
        false
    }
}

#[test]
fn a_rule_with_a_unit_is_an_error_on_a_kernel_that_cannot_tell_units() {
    for text in ["unit:shop.service", "user-unit:shop.service"] {
        let error = Subject::parse(text, &OldKernel).unwrap_err();
        assert_eq!(
            error.to_string(),
            "on this kernel nobody can tell in which unit a client is: units in rules want Linux \
             6.5 or newer; name the user instead"
        );
    }
    assert!(Subject::parse("user:1", &OldKernel).is_ok());
}

#[test]
fn units_sockets_and_what_is_proven_have_255_characters_and_no_more() {
    let told = |text: &str| match Subject::parse(text, &Host) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    for (before, after, refused) in [
        ("unit:", ".service", "a unit has 1 to 255 of"),
        ("user-unit:", ".service", "a unit has 1 to 255 of"),
        ("socket:", "", "a socket has the name that systemd gives its descriptor: 1 to 255"),
        (
            "uri:spiffe://",
            "",
            "a uri is SCHEME://REST, printable and without blanks, of at most 255",
        ),
        ("login:", "", "login: is followed by a word of at most 255 printable"),
        ("key:", "", "key: is followed by a word of at most 255 printable"),
    ] {
        let scheme = before.split_once(':').unwrap().1;
        let of = |length: usize| {
            let rest = "x".repeat(length - scheme.len() - after.len());
            format!("{before}{rest}{after}")
        };
        assert_eq!(told(&of(255)), "", "{before}");
        let said = told(&of(256));
        assert!(said.starts_with(refused), "{before} {said}");
    }
}
