use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::*;
use crate::address::Address;
use crate::identity::RemoteIdentity;
use crate::session::{ClientOptions, ServerOptions, Session};

fn somebody() -> LocalIdentity {
    LocalIdentity {
        pid: Some(4711),
        uid: Some(1000),
        gid: Some(100),
        groups: Some(vec![4, 24]),
        unit: Some("shop.service".to_owned()),
        ..LocalIdentity::default()
    }
}

fn remote(name: &str) -> Identity {
    Identity::Remote(RemoteIdentity {
        scheme: "tls".to_owned(),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        names: vec![name.to_owned()],
    })
}

fn said(rules: &AcceptRules, peer: &Identity) -> String {
    rules.check(Some(peer)).map_or_else(|refusal| refusal.to_string(), |()| "welcome".to_owned())
}

#[test]
fn every_kind_that_is_named_has_to_hold_and_of_a_kind_any() {
    let peer = Identity::Local(somebody());
    let none = AcceptRules::default;
    let wrong_user = none().allow_uid(1).allow_group(24);
    let own = none().validate(|_| Err(Refusal::Validator("not on Sundays".to_owned())));
    let cases = [
        (none(), "welcome"),
        (none().allow_uid(7).allow_uid(1000), "welcome"),
        (none().allow_group(100), "welcome"),
        (none().allow_group(24).allow_unit("shop.service"), "welcome"),
        (none().allow_uid(7), "your user is not let in"),
        (wrong_user, "your user is not let in"),
        (none().allow_group(7), "none of your groups is let in"),
        (none().allow_unit("db.service"), "your unit is not let in"),
        (none().require_privileged().allow_uid(1000), "only root is let in"),
        (none().allow_name("dns:x"), "none of the names that you have proven is let in"),
        (own.allow_uid(1000), "not on Sundays"),
    ];
    for (rules, expected) in cases {
        assert_eq!(said(&rules, &peer), expected, "{rules:?}");
    }
}

#[test]
fn what_is_not_known_matches_nothing() {
    let unknown = Identity::Local(LocalIdentity::default());
    for rules in [
        AcceptRules::default().allow_uid(0),
        AcceptRules::default().allow_group(0),
        AcceptRules::default().allow_unit("x.service"),
        AcceptRules::default().require_privileged(),
    ] {
        assert!(rules.check(Some(&unknown)).is_err(), "{rules:?}");
        assert!(rules.check(Some(&remote("dns:web1"))).is_err(), "{rules:?}");
        assert_eq!(rules.check(None), Err(Refusal::Unknown));
    }
    assert_eq!(Refusal::Unknown.to_string(), "it is not known who you are");
    assert_eq!(AcceptRules::default().check(None), Ok(()));
}

#[test]
fn a_peer_on_another_host_is_known_by_what_it_has_proven() {
    let rules = AcceptRules::default().allow_name("dns:web1").allow_name("dns:web2");
    assert_eq!(said(&rules, &remote("dns:web2")), "welcome");
    let refused = "none of the names that you have proven is let in";
    assert_eq!(said(&rules, &remote("dns:web3")), refused);
}

#[test]
fn the_own_facts_of_a_process_are_those_that_its_peer_sees() {
    let (left, _right) = Stream::pair().unwrap();
    let seen = LocalIdentity::of_peer(left.as_fd()).unwrap();
    let own = Credentials::of_process().unwrap();
    assert_eq!((own.pid, own.uid, own.gid), (seen.pid, seen.uid, seen.gid));
    assert_eq!(own.is_privileged(), nix::unistd::geteuid().is_root());
    for group in own.groups.unwrap() {
        assert!(seen.is_in_group(group));
    }
}

fn place() -> (tempfile::TempDir, Address) {
    let place = tempfile::tempdir().unwrap();
    let address = Address::Path(place.path().join("s"));
    (place, address)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[test]
fn a_refused_client_is_told_and_the_next_one_is_served() {
    let (_place, address) = place();
    let listener = address.listen().unwrap();
    let first = std::sync::atomic::AtomicBool::new(true);
    let rules = AcceptRules::default().validate(move |_| {
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(Refusal::Validator("come again".to_owned()));
        }
        Ok(())
    });
    let mut refused = Connection::new(address.connect(soon()).unwrap());
    let mut guest = Connection::new(address.connect(soon()).unwrap());
    let mut server = rules.accept(&listener, Options::default()).unwrap();
    server.send(Channel::DATA, b"welcome").unwrap();
    assert_eq!(guest.receive().unwrap().payload, "welcome");
    let told = refused.receive().unwrap();
    assert_eq!((told.channel, told.refusal().unwrap()), (Channel::ERROR, "come again".to_owned()));
    assert!(refused.receive().is_err());
}

#[test]
fn a_session_tells_its_client_too() {
    let (_place, address) = place();
    let listener = address.listen().unwrap();
    let rules = AcceptRules::default().allow_uid(u32::MAX - 7);
    let options = ServerOptions { rules, ..ServerOptions::default() };
    let serving = std::thread::spawn(move || {
        Session::accept(listener.accept().unwrap(), &options, "p").unwrap_err().to_string()
    });
    let stream = address.connect(soon()).unwrap();
    let said = Session::connect(stream, &ClientOptions::default()).unwrap_err().to_string();
    assert_eq!(said, "refused: your user is not let in");
    assert_eq!(serving.join().unwrap(), said);
}
