//! Connections that may ask for some names only: a sandbox's way out, and no other.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use ipcd_tests::raw::Raw;
use ipcd_tests::{Host, PATIENCE};
use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::rundir::Instance;
use libipc::secret::Secret;
use libipc::{Broker, ServiceName};
use serde_json::{Value, json};

fn host() -> Host {
    Host::new(&["--rule", "deny local closed"])
        .with_pongd("db")
        .with_registered_pongd("log")
        .with_pongd("other")
        .with_pongd("closed")
}

/// A connection that may ask for those alone.
fn narrowed(host: &Host, entries: &[&str]) -> Broker {
    let deadline = Instant::now() + PATIENCE;
    let mut broker = Broker::open(&host.directory(Instance::Private), deadline).unwrap();
    let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    broker.restrict(&entries, deadline).unwrap();
    broker
}

/// What a program says that has inherited a broker's socket and asks for `service`.
fn ask(inherited: &OwnedFd, service: &str, network: &str) -> String {
    let environment = Environment {
        broker_fd: Some(inherited.as_raw_fd()),
        network: Some(Secret::new(network.to_owned())),
        ..Default::default()
    };
    let asked = Connector::new(&environment, PATIENCE).unwrap();
    match asked.connect(&ServiceName::new(service).unwrap()) {
        Ok(_stream) => "connected".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn exactly_its_names_are_reached_and_rules_still_decide() {
    let host = host();
    let inherited = narrowed(&host, &["db", "log", "closed"]).into_socket();
    assert_eq!(ask(&inherited, "db", ""), "connected");
    assert_eq!(ask(&inherited, "log", ""), "connected");
    for service in ["other", "nobody", "ipcd", "db2", "d"] {
        let said = ask(&inherited, service, "");
        assert!(said.contains("this connection is narrowed to db, log, closed"), "{said}");
    }
    let said = ask(&inherited, "closed", "");
    assert!(said.starts_with("denied") && !said.contains("narrowed"), "{said}");
    let nothing = narrowed(&host, &[]).into_socket();
    let said = ask(&nothing, "db", "");
    assert!(said.contains("this connection is narrowed, and may ask for nothing"), "{said}");
}

#[test]
fn whoever_narrows_says_where_names_lead_and_a_request_does_not() {
    let host = host();
    let inherited = narrowed(&host, &["db", "api unix:///other"]).into_socket();
    assert_eq!(ask(&inherited, "api", ""), "connected");
    // What the program's own environment says would lead to names that are not its own.
    let environment = "db unix:///nobody; api unix:///nobody; other unix:///other";
    assert_eq!(ask(&inherited, "db", environment), "connected");
    assert_eq!(ask(&inherited, "api", environment), "connected");
    let said = ask(&inherited, "other", environment);
    assert!(said.contains("this connection is narrowed to db, api"), "{said}");
    // A target passes no rule that its name would not pass.
    let led = narrowed(&host, &["x unix:///closed", "y tcp://127.0.0.1:1/y"]).into_socket();
    for service in ["x", "y"] {
        let said = ask(&led, service, "");
        assert!(said.starts_with("denied"), "{said}");
    }
}

#[test]
fn narrowing_is_never_undone_or_widened() {
    let host = host();
    let deadline = Instant::now() + PATIENCE;
    let mut broker = narrowed(&host, &["db", "log"]);
    let connect = |broker: &mut Broker, service: &str| {
        let name = ServiceName::new(service).unwrap();
        broker.connect(&name, None, deadline).map(drop).map_err(|error| error.to_string())
    };
    for wider in [vec!["db", "other"], vec!["db", "other", "log"], vec!["db unix:///other", "db"]] {
        let wider: Vec<_> = wider.into_iter().map(str::to_owned).collect();
        broker.restrict(&wider, deadline).unwrap();
        assert!(connect(&mut broker, "other").unwrap_err().contains("narrowed to db"));
        assert!(connect(&mut broker, "db").is_ok());
    }
    // The second list did not have it, so that it is gone though the third has it.
    assert!(connect(&mut broker, "log").unwrap_err().contains("narrowed to db"));
    let error = broker.restrict(&["a/b".to_owned()], deadline).unwrap_err().to_string();
    assert!(error.contains("services"), "{error}");
    broker.restrict(&[], deadline).unwrap();
    assert!(connect(&mut broker, "db").unwrap_err().contains("may ask for nothing"));
}

#[test]
fn what_is_adopted_through_it_is_narrowed_as_it_is() {
    let host = host();
    let inherited = Raw(narrowed(&host, &["db"]).into_socket().into());
    let mut child = inherited.adopted();
    let mut grandchild = child.adopted();
    for connection in [&mut child, &mut grandchild] {
        connection.ask_for("other", None).unwrap();
        let answer = connection.answer().unwrap();
        let reason = answer["parameters"]["reason"].as_str().unwrap();
        assert_eq!(reason, "this connection is narrowed to db");
        connection.ask("org.ipcd.Broker.Restrict", &json!({"services": ["db", "other"]})).unwrap();
        assert_eq!(connection.error(), "none");
        connection.ask_for("other", None).unwrap();
        assert_eq!(connection.error(), "Denied");
    }
    // One that narrows itself narrows nobody else.
    child.ask("org.ipcd.Broker.Restrict", &json!({"services": []})).unwrap();
    assert_eq!(child.error(), "none");
    grandchild.ask_for("db", None).unwrap();
    assert_eq!(grandchild.error(), "none");
    let mut sibling = inherited.adopted();
    sibling.ask_for("db", None).unwrap();
    assert_eq!(sibling.error(), "none");
}

#[test]
fn it_offers_nothing_and_controls_nothing_though_it_is_roots() {
    let host = host();
    let inherited = Raw(narrowed(&host, &["db"]).into_socket().into());
    for mut connection in [inherited.adopted(), inherited] {
        for method in ["Status", "Reload", "Services", "Connections", "Kill", "Metrics", "Monitor"]
        {
            let call = json!({"method": format!("org.ipcd.Control.{method}"),
                "parameters": {"ids": [], "id": 1}, "more": true});
            connection.say(format!("{call}\0").as_bytes()).unwrap();
            let answer = connection.answer().unwrap();
            assert_eq!(answer["error"], "org.ipcd.Control.NotPermitted", "{method}: {answer}");
        }
        let parameters = json!({"service": "db"});
        let call = json!({"method": "org.ipcd.Broker.Register", "parameters": parameters,
            "more": true});
        connection.say(format!("{call}\0").as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        let reason = answer["parameters"]["reason"].as_str().unwrap();
        assert_eq!(reason, "services are not offered through a narrowed or named broker socket");
    }
    assert_eq!(host.ping("db", ""), "ping");
}

/// What a program may learn by asking: about itself, and about its names.
#[test]
fn what_it_may_not_ask_for_it_is_told_nothing_about() {
    let host = host();
    let mut inherited = Raw(narrowed(&host, &["db"]).into_socket().into());
    let mut resolve = |parameters: &Value| {
        inherited.ask("org.ipcd.Broker.Resolve", parameters).unwrap();
        inherited.answer().unwrap()
    };
    let own = resolve(&json!({"service": "db"}));
    assert!(own["error"].is_null(), "{own}");
    let other = resolve(&json!({"service": "other"}));
    assert_eq!(other["error"], "org.ipcd.Broker.Denied", "{other}");
}
