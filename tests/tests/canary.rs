//! Addresses that only a rule which names them reaches: a canary listens on the real ones.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ipcd_tests::dns::NameServer;
use ipcd_tests::machine::Watch;
use ipcd_tests::namespace::{FAR_V4, FAR_V6, Namespace, Pair, has_namespaces};
use ipcd_tests::{Host, Setup, until};
use libipc::ConnectError;
use libipc::interface::broker::BrokerError;
use nix::sys::socket::{setsockopt, sockopt};

/// Where the canary and the far service are; a default port would need no rule.
const PORT: u16 = 7000;

/// Addresses of the near host, on which the canary sits. Those that carry an IPv4 address inside
/// would be routed to it by a translator; here they are its own, so that a leak is seen.
const OWN: [&str; 12] = [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "169.254.169.254",
    "169.254.7.7",
    "100.100.100.200",
    "fd00:ec2::254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "10.77.0.1",
    "fd77::1",
];

/// The same addresses as a client may spell them in a URI.
const SPELLINGS: [&str; 60] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "00000177.0.0.1",
    "127.0.0.01",
    "127.9.9.9",
    "１２７.0.0.1",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "LocalHost.",
    "ｌocalhost",
    "0",
    "0.0.0.0",
    "0x0",
    "00.0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::1]",
    "[::1%lo]",
    "[::1%25lo]",
    "[fe80::1]",
    "[fe80::1%lo]",
    "169.254.169.254",
    "169.254.7.7",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.16689662",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "100.100.100.200",
    "[fd00:ec2::254]",
    "[fd00:0ec2:0::0254]",
    "10.77.0.1",
    "[fd77::1]",
    "[::ffff:10.77.0.1]",
    "far.example\\@127.0.0.1",
    "far.example@127.0.0.1",
    "far.example#@127.0.0.1",
];

/// Rules that allow everything, and mean the world outside.
const WIDE: [&str; 4] = [
    "allow out * *",
    "allow out * tcp:*:*",
    "allow out * tcp:0.0.0.0/0:*,tcp:[::/0]:*",
    "allow out * tcp:*.example:*,tcp:0.0.0.0/1:*,tcp:128.0.0.0/1:*,tcp:[::/1]:*,tcp:[8000::/1]:*",
];

/// The next one to come: whoever connects may know of it before the listener does.
fn caller(listener: &TcpListener, target: &str) -> SocketAddr {
    let from = Cell::new(None);
    until(&format!("{target} is reached"), || {
        from.set(listener.accept().ok().map(|(_, from)| from));
        from.get().is_some()
    });
    from.get().unwrap()
}

/// Two hosts, and listeners on all addresses of both.
struct World {
    pair: Pair,
    canary: TcpListener,
    far: TcpListener,
}

impl World {
    fn new() -> Self {
        let pair = Pair::new();
        for address in OWN {
            let length = if address.contains(':') { 128 } else { 32 };
            if !["127.0.0.1", "::1", "10.77.0.1", "fd77::1"].contains(&address) {
                pair.near.add_address("lo", &format!("{address}/{length}"));
            }
        }
        pair.far.add_address("wire", "10.78.0.2/24");
        pair.near.ip(&["route", "add", "10.78.0.0/24", "dev", "wire"]);
        let listen = |namespace: &Namespace| {
            let listener = namespace.within(|| TcpListener::bind(("::", PORT)).unwrap());
            setsockopt(&listener, sockopt::ReuseAddr, &true).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        Self { canary: listen(&pair.near), far: listen(&pair.far), pair }
    }

    fn host(&self, rules: &[&str]) -> Host {
        let arguments: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", *rule]).collect();
        let namespace = Some(&self.pair.near);
        // More places than a user sees anew in so short a time.
        let config = "[limits]\nnew-targets-per-user = 1000\n";
        let setup = Setup { config, arguments: &arguments, namespace, ..Setup::default() };
        Host::of(&setup).with_tcpd_at(&[])
    }

    /// What a client hears that asks for a host, or nothing if it gets a connection.
    fn ask(host: &Host, target: &str) -> Option<String> {
        let asked = host.connect("x", &format!("x tcp://{target}:{PORT}"));
        asked.err().map(|error| error.to_string())
    }

    fn reaches_far(&self, host: &Host, target: &str) {
        assert_eq!(Self::ask(host, target), None, "{target}");
        let from = caller(&self.far, target).ip().to_canonical().to_string();
        assert!(["10.77.0.1", "fd77::1"].contains(&from.as_str()), "{from}");
    }

    fn is_kept_from_the_canary(&self, host: &Host, target: &str) {
        let said = Self::ask(host, target).unwrap_or_default();
        assert!(self.canary.accept().is_err(), "{target} was reached: {said}");
        assert!(said.starts_with("denied") || said.starts_with("invalid"), "{target}: {said}");
    }
}

#[test]
fn no_spelling_of_an_own_or_special_address_is_reached_by_a_wide_rule() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    for rule in WIDE {
        let host = world.host(&[rule]);
        for far in [FAR_V4, "[fd77::2]"] {
            world.reaches_far(&host, far);
        }
        for spelling in SPELLINGS {
            world.is_kept_from_the_canary(&host, spelling);
        }
    }
    for address in OWN {
        let direct = world.pair.near.within(|| TcpStream::connect((address, PORT)));
        assert!(direct.is_ok(), "the canary sits on {address}");
        caller(&world.canary, address);
    }
}

#[test]
fn a_rule_that_names_the_address_reaches_it_in_every_spelling() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    let host = world
        .host(&["allow out x tcp:127.0.0.1:*,tcp:[::1]:*,tcp:169.254.169.254:*,tcp:10.77.0.1:*"]);
    for spelling in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "169.254.169.254",
        "10.77.0.1",
    ] {
        assert_eq!(World::ask(&host, spelling), None, "{spelling}");
        caller(&world.canary, spelling);
    }
    for other in ["127.9.9.9", "[fd77::1]", "100.100.100.200"] {
        world.is_kept_from_the_canary(&host, other);
    }
}

/// The rules do not know which addresses are this host's: the daemon that connects does.
#[test]
fn an_own_address_is_denied_with_the_rule_that_would_name_it() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    let host = world.host(&["allow out * *"]);
    let error = host.connect("x", &format!("x tcp://10.77.0.1:{PORT}")).unwrap_err();
    let ConnectError::Broker(denied) = error else { panic!("{error}") };
    let BrokerError::Denied { rule, reason, cure, .. } = *denied else { panic!("{denied}") };
    assert_eq!(rule, None, "none says so");
    let why = "10.77.0.1 is an address of this host, and no rule names it";
    assert_eq!(reason, format!("it has the address 10.77.0.1: {why}"));
    let cure = cure.unwrap();
    let (rule, place) = cure.split_once("   # before ").unwrap();
    assert_eq!(place, "command line, rule 1");
    let host = world.host(&[rule, "allow out * *"]);
    assert_eq!(World::ask(&host, "10.77.0.1"), None, "{rule}");
    caller(&world.canary, "10.77.0.1");
}

/// The address that a name of the test has: `own3.example` is the fourth of [`OWN`].
fn own(name: &str) -> Vec<IpAddr> {
    let index = name.strip_prefix("own").and_then(|rest| rest.strip_suffix(".example"));
    let address = index.and_then(|index| OWN.get(index.parse::<usize>().ok()?));
    address.map(|address| address.parse().unwrap()).into_iter().collect()
}

#[test]
fn no_name_leads_to_an_own_or_special_address() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    let _names = NameServer::start(
        &world.pair.near,
        Box::new(|name, _| match name {
            "mixed.example" => {
                OWN.iter().chain(&[FAR_V4, FAR_V6]).map(|one| one.parse().unwrap()).collect()
            }
            name => own(name),
        }),
    );
    for rule in WIDE {
        let host = world.host(&[rule]);
        for index in 0..OWN.len() {
            world.is_kept_from_the_canary(&host, &format!("own{index}.example"));
        }
        world.reaches_far(&host, "mixed.example");
        assert!(world.canary.accept().is_err(), "the others of its addresses are not tried");
    }
}

/// Requests for a name that changes.
const ROUNDS: usize = 100;

#[test]
fn a_name_that_changes_between_two_questions_gains_nothing() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    // Whoever asks twice for one request gets another answer the second time.
    let zone = |name: &str, before: usize| {
        let turn = before + usize::from(name == "second.example");
        let address = if turn.is_multiple_of(2) { FAR_V4 } else { "127.0.0.1" };
        vec![address.parse().unwrap()]
    };
    let _names = NameServer::start(&world.pair.near, Box::new(zone));
    let host = world.host(&["allow out * *"]);
    for name in ["first.example", "second.example"] {
        let mut reached = 0;
        for _ in 0..ROUNDS {
            match World::ask(&host, name) {
                None => {
                    caller(&world.far, name);
                    reached += 1;
                }
                Some(said) => assert!(said.starts_with("denied"), "{said}"),
            }
            assert!(world.canary.accept().is_err(), "{name}");
        }
        assert_eq!(reached, ROUNDS / 2, "{name}: one answer is asked for, and it is the one used");
    }
}

#[test]
fn rules_with_networks_decide_about_each_address_that_a_name_has() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    let zone = |name: &str, before: usize| {
        let addresses: &[&str] = match name {
            "turns.example" if before.is_multiple_of(2) => &["10.77.0.2"],
            "turns.example" | "outside.example" => &["10.78.0.2"],
            "both.example" => &["10.78.0.2", "10.77.0.2"],
            _ => &[],
        };
        addresses.iter().map(|one| one.parse().unwrap()).collect()
    };
    let _names = NameServer::start(&world.pair.near, Box::new(zone));
    for rules in [
        &["allow out * tcp:10.77.0.0/24:*"][..],
        &["deny out * tcp:10.78.0.0/16:*", "allow out * *"],
        &["deny out * tcp:10.78.0.2:*", "allow out * tcp:*.example:*"],
    ] {
        let host = world.host(rules);
        let goes = |name: &str, allowed: bool| {
            let said = World::ask(&host, name);
            assert_eq!(said.is_none(), allowed, "{name} under {rules:?}: {said:?}");
            if allowed {
                caller(&world.far, name);
            }
            assert!(world.far.accept().is_err(), "{name} under {rules:?}");
            let words = "denied: it has the address 10.78.0.2: ";
            assert!(said.is_none_or(|said| said.starts_with(words)));
        };
        for _ in 0..5 {
            goes("turns.example", true);
            goes("turns.example", false);
        }
        goes("outside.example", false);
        goes("both.example", true);
        let denied = host.connect("x", &format!("x tcp://outside.example:{PORT}"));
        let Err(ConnectError::Broker(denied)) = denied else { panic!("{rules:?}") };
        let place = if rules.len() == 1 { "" } else { "   # before command line, rule 1" };
        let cure = format!("allow out x tcp:outside.example:{PORT} for user:0{place}");
        assert_eq!(denied.cure(), Some(cure.as_str()), "{rules:?}");
    }
    let reached = TcpStream::connect_timeout;
    let address = "10.78.0.2:7000".parse().unwrap();
    let direct = world.pair.near.within(|| reached(&address, Duration::from_secs(5)));
    assert!(direct.is_ok(), "without us that address is reached");
}

/// Requests for a name that nobody resolves.
const UNRESOLVED: usize = 40;

#[test]
fn a_name_server_that_never_answers_delays_nobody_else() {
    if !has_namespaces() {
        return;
    }
    let world = World::new();
    let silence = NameServer::silent(&world.pair.near);
    let host = world.host(&["allow out * *"]).with_pongd("pongd");
    let patience = Duration::from_millis(300);
    let waiting: Vec<_> = (0..UNRESOLVED)
        .map(|number| {
            let environment = host.environment(&format!("x tcp://{number}.example:1"));
            std::thread::spawn(move || {
                let name = libipc::ServiceName::new("x").unwrap();
                let asked = libipc::connector::Connector::new(&environment, patience).unwrap();
                asked.connect(&name).unwrap_err().to_string()
            })
        })
        .collect();
    let began = Watch::of(&host);
    assert_eq!(host.ping("pongd", ""), "ping");
    world.reaches_far(&host, FAR_V4);
    let took = began.elapsed(&host);
    assert!(took < Duration::from_secs(1), "{took:?}");
    for one in waiting {
        let said = one.join().unwrap();
        assert!(said.starts_with("timed out"), "{said}");
    }
    drop(silence);
}
