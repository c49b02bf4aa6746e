//! Reloading: what was handed over is judged, what is under way is decided again, and every
//! request is explained by exactly one revision.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipcd_tests::raw::Raw;
use ipcd_tests::{Host, PATIENCE, free_port, outcome, until};
use libipc::interface::control::Verdict;
use serde_json::{Value, json};

use crate::connections::listed;
use crate::watching::Watching;

fn reload(host: &Host) -> String {
    let (code, said, error) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 0, "{error}");
    said
}

#[test]
fn what_would_be_denied_now_is_counted_and_listed_and_stays() {
    let host = Host::with_config("rules = 'allow local pongd'", &[]);
    let host = host.with_pongd("pongd").with_pongd("other");
    let mut stream = host.connect("pongd", "").unwrap();
    assert_eq!(host.ping("other", ""), "ping");
    assert_eq!(reload(&host), "revision 2 is live\n");
    host.configure("rules = 'deny local pongd'");
    let said = reload(&host);
    assert_eq!(
        said,
        "revision 3 is live\n1 would be denied now and stay: ipc connections --stale\n"
    );
    let stale = listed(&host, &["--stale"]);
    let [connection] = stale.as_slice() else { panic!("{stale:?}") };
    assert_eq!((&connection["service"], &connection["stale"]), (&json!("pongd"), &json!(true)));
    assert_eq!(listed(&host, &[]).len(), 2);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    host.configure("rules = 'allow local pongd'");
    assert_eq!(reload(&host), "revision 4 is live\n");
    assert!(listed(&host, &["--stale"]).is_empty());
    let (_, said, _) = outcome(&mut host.ipc(&["--format", "table", "connections", "--stale"]));
    assert_eq!(said, "nothing that was handed over would be denied today\n");
}

#[test]
fn a_reload_that_revokes_ends_what_the_broker_can_end() {
    let port = free_port();
    let rules = |action: &str| {
        let rule = format!("{action} in pongd tcp:127.0.0.1 reason \"for now\"");
        format!("on-reload = 'revoke'\nrules = '{rule}'")
    };
    let far = Host::with_config(&rules("allow"), &[]).with_tcpd(Some(port)).with_pongd("pongd");
    let near = Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")]);
    let near = near.with_tcpd(None);
    let mut stream = near.connect("pongd", &format!("pongd tcp://127.0.0.1:{port}/pongd")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(reload(&far), "revision 2 is live\n");
    far.configure(&rules("deny"));
    assert_eq!(reload(&far), "revision 3 is live\n1 would be denied now and were ended\n");
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    until("its end is reported", || listed(&far, &[]).is_empty());
}

/// A far end that reads the request for a service, and answers it only when it is told to.
struct Reluctant(TcpListener);

impl Reluctant {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// Takes the next request, does something, and says yes.
    fn serve(&self, meanwhile: impl FnOnce()) {
        let accepted = RefCell::new(None);
        until("the request comes", || {
            *accepted.borrow_mut() = self.0.accept().ok();
            accepted.borrow().is_some()
        });
        let (mut peer, _) = accepted.into_inner().unwrap();
        peer.set_nonblocking(false).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [1];
        while byte != [0] {
            peer.read_exact(&mut byte).unwrap();
        }
        meanwhile();
        // Whoever was told no by then is gone.
        let _gone = peer.write_all(b"{\"parameters\":{}}\0").is_err();
    }
}

#[test]
fn a_decision_that_a_reload_overtakes_is_taken_again_before_anything_is_handed_over() {
    let far = Reluctant::new();
    let target = far.0.local_addr().unwrap();
    let rule = |action: &str| format!("rules = '{action} out far tcp:{target} reason \"x\"'");
    let host = Host::with_config(&rule("allow"), &[]).with_tcpd(None);
    let mut watching = Watching::all(&host);
    let ask = || host.connect("far", &format!("far tcp://{target}/far"));
    for (action, revision) in [("allow", 2), ("deny", 3)] {
        let outcome = std::thread::scope(|scope| {
            let client = scope.spawn(ask);
            far.serve(|| {
                host.configure(&rule(action));
                assert!(reload(&host).starts_with(&format!("revision {revision} is live\n")));
            });
            client.join().unwrap()
        });
        let told = watching.next();
        assert_eq!(told.revision, revision, "{told:?}");
        assert!(
            told.rule.as_deref().unwrap().starts_with(&format!("{action} out far ")),
            "{told:?}"
        );
        assert_eq!(outcome.is_ok(), action == "allow");
        if let Err(error) = outcome {
            assert!(error.to_string().starts_with("denied"), "{error}");
            assert_eq!(told.verdict, Some(Verdict::Denied));
        }
    }
}

#[test]
fn a_request_that_waits_for_its_turn_dials_by_the_rules_of_that_moment() {
    let far = Reluctant::new();
    let target = far.0.local_addr().unwrap();
    let config = |action: &str| {
        format!(
            "limits.dials-per-user = 1\nrules = '''\nallow out first tcp:{target}\n{action} out second tcp:{target} reason \"x\"\n'''"
        )
    };
    let host = Host::with_config(&config("allow"), &[]).with_tcpd(None);
    let ask = |name: &str| host.connect(name, &format!("{name} tcp://{target}/{name}"));
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| ask("first"));
        let mut second = None;
        far.serve(|| {
            second = Some(scope.spawn(|| ask("second")));
            until("the second waits", || {
                let (_, said, _) = outcome(&mut host.ipc(&["--json", "status"]));
                let status: Value = serde_json::from_str(&said).unwrap();
                let mut taken = status["taken"].as_array().unwrap().iter();
                taken.any(|one| one["limit"] == "queue-per-user" && one["used"] == 1)
            });
            host.configure(&config("deny"));
            reload(&host);
        });
        (first.join().unwrap(), second.unwrap().join().unwrap())
    });
    assert!(first.is_ok(), "{first:?}");
    assert!(second.unwrap_err().to_string().starts_with("denied"));
    let none = far.0.accept().unwrap_err();
    assert_eq!(none.kind(), ErrorKind::WouldBlock, "the second was never dialled");
}

/// The rule that a client's answer names.
fn rule_of(answer: &Value) -> &str {
    answer["parameters"]["rule"].as_str().unwrap()
}

/// Requests come at that rate from one thread, while another one reloads as often; each answer and
/// its event are of one revision, which the rule itself tells.
fn storm(reloads: u64, span: Duration) {
    let marked = |revision: u64| format!("rules = 'allow local pongd reason \"r{revision}\"'");
    let host = Host::with_config(&marked(1), &[]).with_pongd("pongd");
    let mut watching = Watching::all(&host);
    let is_over = AtomicBool::new(false);
    let rate = u32::try_from(reloads).unwrap();
    let (requests, told) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut client, mut rules) = (Raw::to(&host), Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let next = Instant::now() + span / rate;
                client.ask_for("pongd", None).unwrap();
                let answer = client.answer().unwrap();
                assert!(answer["error"].is_null(), "{answer}");
                rules.push(rule_of(&answer).to_owned());
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
            rules
        });
        let watcher = scope.spawn(|| {
            let mut told = Vec::new();
            while !is_over.load(Ordering::Relaxed) || told.len() < 10 {
                told.push(watching.next());
            }
            told
        });
        let mut admin = Raw::to(&host);
        for revision in 2..reloads + 2 {
            host.configure(&marked(revision));
            admin.ask("org.ipcd.Control.Reload", &json!({})).unwrap();
            let answer = admin.answer().unwrap();
            assert_eq!(answer["parameters"]["revision"], revision, "{answer}");
        }
        is_over.store(true, Ordering::Relaxed);
        let requests = client.join().unwrap();
        // The watcher may wait for one more.
        let _said = host.ping("pongd", "");
        (requests, watcher.join().unwrap())
    });
    assert!(requests.len() >= 10, "{} requests", requests.len());
    let mut revisions = std::collections::BTreeSet::new();
    for (rule, event) in requests.iter().zip(&told) {
        assert_eq!(event.rule.as_deref(), Some(rule.as_str()));
        assert_eq!(event.verdict, Some(Verdict::Allowed));
        assert!(rule.contains(&format!("reason \"r{}\"", event.revision)), "{event:?}");
        revisions.insert(event.revision);
    }
    assert!(revisions.len() > 2, "{revisions:?}");
    eprintln!("{} requests, {reloads} reloads, {} revisions met", requests.len(), revisions.len());
}

#[test]
fn no_request_fails_while_the_configuration_is_loaded_again_and_again() {
    storm(200, Duration::from_secs(1));
}

#[test]
#[ignore = "the whole number: 1,000 reloads beside 1,000 requests a second"]
fn no_request_fails_while_the_configuration_is_loaded_a_thousand_times() {
    storm(1000, Duration::from_secs(1));
}

#[test]
fn why_the_event_and_the_client_name_the_same_rule() {
    same_rules(200);
}

#[test]
#[ignore = "the whole number: 100,000 requests"]
fn why_the_event_and_the_client_name_the_same_rule_a_hundred_thousand_times() {
    same_rules(100_000);
}

/// Asks for services that are allowed, denied by a rule, and denied by none, in turn.
fn same_rules(requests: usize) {
    let rules = "allow local a*\ndeny local b* reason \"not b\"\nallow local *c for user:12345";
    let host = Host::with_config(
        &format!("rules = '''\n{rules}\n'''"),
        // Without it root, and the owner of a service, are allowed.
        &["--rule", "deny local d*"],
    );
    let names = ["a1", "b1", "d1", "ab", "ba", "da"];
    let host = names.iter().fold(host, |host, name| host.with_pongd(name));
    let mut watching = Watching::all(&host);
    let mut client = Raw::to(&host);
    let mut asker = Raw::to(&host);
    for name in names.iter().cycle().take(requests) {
        client.ask_for(name, None).unwrap();
        let answer = client.answer().unwrap();
        asker.ask("org.ipcd.Broker.Resolve", &json!({ "service": name })).unwrap();
        let why = asker.answer().unwrap();
        let verdict = &why["parameters"]["candidates"][0]["verdict"];
        let event = watching.next();
        let because = format!(
            "{} ({})",
            verdict["rule"].as_str().unwrap(),
            verdict["source"].as_str().unwrap()
        );
        assert_eq!(rule_of(&answer), because, "{name}");
        assert_eq!(event.rule.as_deref(), Some(because.as_str()), "{name}");
        assert_eq!(event.allowed, verdict["allowed"] == true, "{name}");
        assert_eq!(event.allowed, answer["error"].is_null(), "{name}");
        if !event.allowed {
            assert_eq!(answer["parameters"]["reason"], event.reason, "{name}");
            assert_eq!(verdict["reason"], event.reason, "{name}");
        }
    }
}
