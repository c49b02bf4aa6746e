//! Every error with its exit code, and the words that none may have.

use libipc::ServiceName;
use libipc::environment::{Environment, NetworkFileError};
use libipc::interface::broker::Handoff;
use libipc::rundir::RunDirectoryError;

use super::*;

fn text() -> String {
    "x".to_owned()
}

fn broker_errors() -> Vec<(BrokerError, u8)> {
    let (rule, cure) = (Some("deny out x *".to_owned()), Some("allow out x tcp:h:1".to_owned()));
    let (target, reason) = (text(), text());
    let far = || (target.clone(), reason.clone());
    let one = |make: fn((String, String)) -> BrokerError| make(far());
    vec![
        (BrokerError::Denied { target: text(), rule, reason: text(), cure, retry: false }, 50),
        (BrokerError::UnknownService { service: text(), known: vec![text()] }, 69),
        (one(|(target, reason)| BrokerError::Unreachable { target, reason, retry: true }), 3),
        (one(|(target, reason)| BrokerError::Refused { target, reason, retry: true }), 1),
        (BrokerError::TimedOut { target: text(), waited_ms: 7 }, 124),
        (BrokerError::TransportMissing { target: text(), transport: text(), cure: text() }, 3),
        (one(|(target, reason)| BrokerError::Untrusted { target, reason }), 3),
        (BrokerError::Unauthenticated { reason: text() }, 50),
        (BrokerError::Busy { limit: text(), most: 1, retry: true }, 3),
        (one(|(target, reason)| BrokerError::Protocol { target, reason }), 3),
        (BrokerError::NoHandoff { target: text(), possible: vec![Handoff::Upgrade] }, 3),
        (BrokerError::InvalidRequest { field: text(), reason: text() }, 64),
        (BrokerError::Internal { reason: text() }, 125),
    ]
}

fn errors() -> Vec<(ConnectError, u8)> {
    let name_error = ServiceName::new("").unwrap_err();
    let network_error = libipc::network::parse("x").unwrap_err();
    let malformed = libipc::varlink::read_reply(b"[").unwrap_err();
    let path = std::path::PathBuf::from("/run/ipc/ipc");
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let wire = libipc::wire::WireError::System(refused());
    let service = ServiceName::new("x").unwrap();
    let of_file = NetworkFileError::Readable { path: path.clone(), mode: 0o644 };
    let directory = RunDirectoryError::Writable { path: path.clone(), mode: 0o777 };
    let mut all = vec![
        (ConnectError::Name(name_error), 64),
        (ConnectError::Network(network_error), 64),
        (ConnectError::NetworkFile(of_file), 64),
        (ConnectError::RunDirectory(directory), 78),
        (ConnectError::NoBroker { path: path.clone() }, 69),
        (ConnectError::BrokerDown { path, error: refused() }, 69),
        (ConnectError::BrokerGone, 69),
        (ConnectError::InheritedGone, 69),
        (ConnectError::TimedOut, 124),
        (ConnectError::Service { service, error: refused() }, 1),
        (ConnectError::Malformed(malformed), 3),
        (ConnectError::NoDescriptor, 3),
        (ConnectError::NotAStream, 3),
        (ConnectError::UnknownError, 3),
        (ConnectError::Wire(wire), 3),
        (ConnectError::System(refused()), 71),
    ];
    let from_broker = broker_errors().into_iter();
    all.extend(from_broker.map(|(error, code)| (ConnectError::Broker(Box::new(error)), code)));
    all
}

#[test]
fn every_error_has_the_exit_code_of_the_table_and_a_cure() {
    for (error, code) in errors() {
        let report = of("x", "user me (7), pid 1", &error);
        assert_eq!(report.code(), code, "{error:?}");
        assert!(report.to_json()["cure"].is_string(), "{error:?}");
        assert_eq!(report.to_json()["retry"], error.retry(), "{error:?}");
    }
}

#[test]
fn no_error_has_an_implementers_word() {
    for (error, _) in errors() {
        let said = of("x", "user me (7), pid 1", &error).to_string();
        for word in [
            "transport",
            "stack",
            "dial",
            "wrap",
            "arrival",
            "attach",
            "hello",
            "handoff",
            "door",
            "upgrade",
        ] {
            assert!(!said.to_lowercase().contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn a_denial_tells_who_asked_where_it_leads_the_rule_and_the_cure() {
    let denied = BrokerError::Denied {
        target: "tls:h:1".into(),
        rule: Some("deny out db * (ipcd.toml:3)".into()),
        reason: "maintenance".into(),
        cure: Some("allow out db tls:h:1 for user:7".into()),
        retry: false,
    };
    let report = of("db", "user me (7), pid 1", &ConnectError::Broker(Box::new(denied)));
    assert_eq!(
        report.to_string(),
        "ipc: db: denied: maintenance\n  asked by  user me (7), pid 1\n  leads to  tls:h:1\n  \
         by rule   deny out db * (ipcd.toml:3)\n  \
         to allow  allow out db tls:h:1 for user:7     then: ipc reload"
    );
}

#[test]
fn the_cure_of_a_denial_says_how_it_comes_to_life() {
    let cure = |cure: Option<&str>, retry| {
        let (target, reason, cure) = (text(), text(), cure.map(str::to_owned));
        let denied = BrokerError::Denied { target, rule: None, reason, cure, retry };
        of("db", "me", &ConnectError::Broker(Box::new(denied))).to_json()["cure"].clone()
    };
    let file = "allow out db tcp:h:1   # before ipcd.toml:3:2";
    assert_eq!(cure(Some(file), false), format!("{file}     then: ipc reload"));
    assert_eq!(
        cure(Some("allow out db tcp:h:1   # before command line, rule 2"), false),
        "start ipcd with --rule 'allow out db tcp:h:1' before rule 2 of its command line"
    );
    let owner = "[services.db] owner = \"7\"";
    assert_eq!(cure(Some(owner), false), format!("{owner}     then: ipc reload"));
    for done_at_once in ["ipc run --only a,db -- PROGRAM", policy::route::ELSEWHERE_CURE] {
        assert_eq!(cure(Some(done_at_once), false), done_at_once);
    }
    assert_eq!(cure(None, true), "ask again: the rules have just changed");
    assert_eq!(cure(None, false), "ipc why db");
    assert_eq!(cure(Some(""), false), "ipc why db");
}

#[test]
fn each_error_is_told_in_these_words() {
    for (error, words) in [
        (BrokerError::Internal { reason: text() }, "the broker failed: x"),
        (BrokerError::InvalidRequest { field: text(), reason: text() }, "invalid request: x: x"),
        (
            BrokerError::NoHandoff { target: text(), possible: Vec::new() },
            "cannot connect: it offers nothing that this program can take",
        ),
        (
            BrokerError::Busy { limit: "clients".into(), most: 9, retry: true },
            "busy: the limit clients (9) is reached",
        ),
    ] {
        let said = of("db", "me", &ConnectError::Broker(Box::new(error))).to_string();
        assert!(said.starts_with(&format!("ipc: db: {words}\n")), "{said}");
        assert!(!said.ends_with(words), "there is something to do: {said}");
    }
    let cures =
        errors().into_iter().map(|(error, _)| of("db", "me", &error).to_json()["cure"].to_string());
    let cures = cures.collect::<Vec<_>>().join("\n");
    for cure in [
        "write IPC_NETWORK as: NAME TARGET; NAME TARGET",
        "try again, or raise x under [limits]",
        "correct it, and see where it leads: ipc why",
        "report this, with the broker's log",
        "try again; the broker's log says why",
    ] {
        assert!(cures.contains(cure), "{cure}: {cures}");
    }
    let busy = BrokerError::Busy { limit: "descriptors".into(), most: 9, retry: true };
    let said = of("db", "me", &ConnectError::Broker(Box::new(busy))).to_string();
    assert!(said.ends_with("to do  try again, or raise LimitNOFILE= of ipcd.service"), "{said}");
    let down = ConnectError::BrokerDown {
        path: "/run/ipc/ipc".into(),
        error: io::ErrorKind::ConnectionRefused.into(),
    };
    assert_eq!(
        of("db", "me", &down).to_string(),
        "ipc: db: no broker: /run/ipc/ipc does not answer: connection refused\n  \
         to start  systemctl start ipcd"
    );
    let deaf = of("db", "me", &ConnectError::NotAStream).to_string();
    assert!(deaf.contains("the service speaks in messages, not in a stream"), "{deaf}");
}

#[test]
fn the_cure_of_a_missing_broker_names_its_place() {
    let environment = Environment { rundir: Some("/tmp/mine".into()), ..Environment::default() };
    let path = environment.run_directories()[0].broker();
    let said = of("x", "me", &ConnectError::NoBroker { path }).to_string();
    assert_eq!(
        said,
        "ipc: x: no broker: nothing listens at /tmp/mine/ipc\n  \
         to start  ipcd --rundir /tmp/mine --with tcpd"
    );
}

#[test]
fn where_something_else_has_the_place_of_the_broker_nobody_is_told_to_start_one_there() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ipc");
    fs::write(&path, "a file").unwrap();
    let error = io::ErrorKind::ConnectionRefused.into();
    let said = of("x", "me", &ConnectError::BrokerDown { path: path.clone(), error }).to_string();
    let cure =
        format!("\n  to do  move {} away, which is no socket, and start ipcd", path.display());
    assert!(said.ends_with(&cure), "{said}");
}

#[test]
fn what_to_do_after_a_refusal_is_about_what_was_refused() {
    let said = |error| of("x", "user", &ConnectError::Broker(Box::new(error))).to_string();
    for (reason, expected) in [
        ("the far host says no", "ask for a rule on that host"),
        ("the far host does not accept this login", "correct the user or the secret"),
        ("the far host cannot verify logins now", "try again"),
        ("the far end does not accept us: it wants a certificate of ours", "certificate= of the"),
    ] {
        let reason = reason.to_owned();
        let said = said(BrokerError::Refused { target: text(), reason, retry: false });
        assert!(said.contains(expected), "{said}");
    }
    for (reason, expected) in [
        ("authd does not accept its login", "correct the user or the secret"),
        ("written by another process than the one", "ask with a connection"),
    ] {
        let said = said(BrokerError::Unauthenticated { reason: reason.to_owned() });
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn whoever_may_not_offer_a_name_is_told_as_whoever_may_not_ask_for_one() {
    let service = || ServiceName::new("db").unwrap();
    let cure = Some("[services.db] owner = \"7\"".to_owned());
    let (target, reason) = ("unix:db".to_owned(), "only its owner may offer it".to_owned());
    let denied = BrokerError::Denied { target, rule: None, reason, cure, retry: false };
    let refused = ListenError::Refused { service: service(), error: Box::new(denied) };
    let report = not_offered("db", "user me (7), pid 1", &refused);
    assert_eq!(report.code(), 50);
    assert_eq!(
        report.to_string(),
        "ipc: db: denied: only its owner may offer it\n  asked by  user me (7), pid 1\n  \
         leads to  unix:db\n  \
         to allow  [services.db] owner = \"7\"     then: ipc reload"
    );
    let path = || std::path::PathBuf::from("/run/x");
    let kernel = |kind: io::ErrorKind| ListenError::System { path: path(), error: kind.into() };
    for (error, code, words) in [
        (kernel(io::ErrorKind::PermissionDenied), 50, "not permitted: /run/x: "),
        (kernel(io::ErrorKind::NotFound), 71, "cannot be offered: /run/x: "),
        (ListenError::AlreadyServed { path: path(), pid: Some(7) }, 71, "(pid 7)"),
    ] {
        let report = not_offered("db", "me", &error);
        assert_eq!(report.code(), code, "{error}");
        let said = report.to_string();
        assert!(said.contains(words), "{said}");
        assert!(said.ends_with("offer it under another name, or in another place: --rundir DIR"));
    }
}

#[test]
fn where_a_name_leads_is_told_if_it_is_known() {
    let denied = |target: &str| {
        let (target, reason) = (target.to_owned(), text());
        let denied = BrokerError::Denied { target, rule: None, reason, cure: None, retry: false };
        of("db", "me", &ConnectError::Broker(Box::new(denied))).to_string()
    };
    assert!(denied("tcp:h:1").contains("leads to  tcp:h:1"));
    assert!(!denied("").contains("leads to"), "{}", denied(""));
}
