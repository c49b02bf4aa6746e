use super::*;
use crate::fixture::{config, name, peer, remote, user};
use crate::route::{CANDIDATES_MOST, HOPS_MOST};

mod explained;

/// The user that owns every service of the tests.
const OWNER: u32 = 500;

fn ask(
    text: &str,
    service: &str,
    network: Option<&str>,
    asker: Asker<'_>,
) -> Result<Decision, RouteError> {
    let service_owner = &|_: &ServiceName| Some(OWNER);
    decide(&config(text), &Request { asked: &name(service), network, asker, service_owner })
}

/// Each way as `hops → target: direction service yes|no`.
fn ways(decision: &Decision) -> Vec<String> {
    let way = |candidate: &Candidate| {
        let hops: Vec<_> = candidate.hops.iter().map(|hop| hop.name.as_str()).collect();
        let answer = if candidate.verdict.is_allow() { "yes" } else { "no" };
        let (direction, service) = (candidate.direction, &candidate.service);
        format!("{} → {}: {direction} {service} {answer}", hops.join(" "), candidate.target)
    };
    decision.candidates.iter().map(way).collect()
}

fn local_ways(text: &str, asked: &str, network: Option<&str>) -> Vec<String> {
    ways(&ask(text, asked, network, Asker::Local(&user(1))).unwrap())
}

#[test]
fn a_name_leads_to_the_service_that_has_it() {
    assert_eq!(local_ways("", "authd", None), [" → unix:authd: local authd no"]);
    let rules = "rules = 'allow local authd'";
    assert_eq!(local_ways(rules, "authd", None), [" → unix:authd: local authd yes"]);
    let owner = ask("", "authd", None, Asker::Local(&user(OWNER))).unwrap();
    assert!(owner.candidates[0].verdict.is_allow());
}

#[test]
fn policy_is_asked_about_the_last_name_that_the_client_chose() {
    let rules = "
        rules = '''
        allow out pong tls:h:9000
        allow local authd
        '''
        [redirects]
        authd = 'nextversion-authd'
        pong = 'tls://h:9000/payroll'
    ";
    for (asked, network, expected) in [
        // A redirect passes the right on and needs no rule for the names behind it.
        ("authd", None, "authd → unix:nextversion-authd: local authd yes"),
        ("nextversion-authd", None, " → unix:nextversion-authd: local nextversion-authd no"),
        ("pong", None, "pong → tls:h:9000/payroll: out pong yes"),
        // The client chooses payroll by itself: that is what is asked.
        ("pong", Some("pong tls://h:9000/payroll"), "pong → tls:h:9000/payroll: out payroll no"),
        ("x", Some("x tls://h:9000/pong"), "x → tls:h:9000/pong: out pong yes"),
        ("pong", Some("pong tls://h:9000"), "pong → tls:h:9000: out pong yes"),
        ("x", Some("x tls://h:9000"), "x → tls:h:9000: out x no"),
        // The name that the client chose is led on as if it had asked for it.
        ("x", Some("x authd"), "x authd → unix:nextversion-authd: local authd yes"),
        ("x", Some("x unix:///other"), "x → unix:other: local other no"),
        // IPC_NETWORK is consulted once, for the asked name alone.
        (
            "x",
            Some("x pong; pong tls://evil:9000/pong"),
            "x pong → tls:h:9000/payroll: out pong yes",
        ),
        ("authd", Some("other tls://h:9000"), "authd → unix:nextversion-authd: local authd yes"),
        ("authd", Some(""), "authd → unix:nextversion-authd: local authd yes"),
    ] {
        assert_eq!(local_ways(rules, asked, network), [expected], "{asked} {network:?}");
    }
}

/// attacks.md E4: what a redirect leads to is asked about, not what the client named.
#[test]
fn a_redirect_is_no_way_around_a_denied_target() {
    let rules = "
        rules = '''
        deny out * tls:vault:*
        allow out * tls:*:*
        '''
        [redirects]
        pong = 'relay'
        relay = 'tls://vault:9000'
    ";
    assert_eq!(local_ways(rules, "pong", None), ["pong relay → tls:vault:9000: out pong no"]);
    assert_eq!(
        local_ways(rules, "pong", Some("pong unix:///relay")),
        ["pong relay → tls:vault:9000: out relay no"]
    );
    assert_eq!(
        local_ways(rules, "pong", Some("pong tls://h:9000")),
        ["pong → tls:h:9000: out pong yes"]
    );
}

#[test]
fn every_hop_says_where_it_is_written() {
    let text = "\n[redirects]\na = 'b'\nb = 'tls://u:CANARYP@h/x'\n";
    let decision = ask(text, "z", Some("z a"), Asker::Local(&user(1))).unwrap();
    let hops: Vec<_> = decision.candidates[0]
        .hops
        .iter()
        .map(|hop| format!("{} {} {}", hop.name, hop.target, hop.source))
        .collect();
    assert_eq!(
        hops,
        ["z unix:a IPC_NETWORK", "a unix:b ipcd.toml:3", "b tls:h:9001/x ipcd.toml:4"]
    );
    assert!(!format!("{decision:?}").contains("CANARY"));
}

#[test]
fn candidates_keep_their_order_and_each_has_its_verdict() {
    let text = "
        rules = 'allow out db tcp:two:1,tcp:four:1'
        [[redirect]]
        from = 'db'
        to = ['tcp://one:1', 'more', 'tcp://four:1']
        [[redirect]]
        from = 'more'
        to = ['tcp://two:1', 'tcp://three:1']
    ";
    assert_eq!(
        local_ways(text, "db", None),
        [
            "db → tcp:one:1: out db no",
            "db more → tcp:two:1: out db yes",
            "db more → tcp:three:1: out db no",
            "db → tcp:four:1: out db yes",
        ]
    );
    let wishes = "db tcp://two:1; db tcp://five:1; other tcp://six:1";
    assert_eq!(
        local_ways(text, "db", Some(wishes)),
        ["db → tcp:two:1: out db yes", "db → tcp:five:1: out db no",]
    );
}

#[test]
fn there_are_as_many_candidates_as_the_limit_and_no_more() {
    let wish =
        |count: usize| (0..count).map(|n| format!("a tcp://h{n}:1")).collect::<Vec<_>>().join(";");
    assert_eq!(local_ways("", "a", Some(&wish(CANDIDATES_MOST))).len(), CANDIDATES_MOST);
    let error = ask("", "a", Some(&wish(CANDIDATES_MOST + 1)), Asker::Local(&user(1))).unwrap_err();
    assert_eq!(error.to_string(), "the name leads more than 32 ways, which is the most");
}

/// Loading refuses this; a decision would not go on for ever either.
#[test]
fn a_route_passes_as_many_redirects_as_the_limit_and_no_more() {
    let chain = |from: usize, to: usize| {
        let lines: Vec<_> = (from..to).map(|n| format!("n{n} = 'n{}'", n + 1)).collect();
        config(&format!("[redirects]\n{}", lines.join("\n"))).redirects.all().to_vec()
    };
    let ways = |length: usize| {
        let redirects = [chain(0, 5), chain(5, length)].concat();
        let redirects = crate::redirect::Redirects::new(redirects);
        let config = Config { redirects, ..Config::default() };
        let (first, asker) = (&name("n0"), Asker::Local(&user(1)));
        decide(&config, &Request { asked: first, network: None, asker, service_owner: &|_| None })
    };
    assert_eq!(ways(HOPS_MOST).unwrap().candidates[0].hops.len(), HOPS_MOST);
    let error = ways(HOPS_MOST + 1).unwrap_err();
    assert_eq!(error.to_string(), "n8 would be led on after 8 redirects, which is the most");
}

#[test]
fn a_wish_that_cannot_be_read_is_refused_without_its_secret() {
    for (network, expected) in [
        (
            "a tcp://CANARYU:CANARYP@h/x",
            "IPC_NETWORK, a: a login goes only to a far end that has proven who it is: use tls or wss",
        ),
        ("a tls://h?trust=CANARYP", "IPC_NETWORK, a: a target without /SERVICE names its port"),
        (
            "a tls://h:1?trust=CANARYP",
            "IPC_NETWORK, a: the option trust is the administrator's: it stands in redirects alone",
        ),
        (
            "a quic://h:1",
            "IPC_NETWORK, a: unknown scheme quic; there are tcp, tls, udp, ws, wss and unix",
        ),
        ("b tcp://h:1; a", "IPC_NETWORK, entry 2: no target after a"),
    ] {
        let error = ask("", "a", Some(network), Asker::Local(&user(1))).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    // What is wrong with another name's entry is no concern of this one.
    assert_eq!(local_ways("", "a", Some("b quic://h:1")).len(), 1);
}

#[test]
fn a_redirect_that_makes_no_target_of_a_name_is_named() {
    let text = "redirects = { 'a*' = 'b{name}' }";
    let long = "a".repeat(64);
    let error = ask(text, &long, None, Asker::Local(&user(1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the redirect ipcd.toml:1 makes no target of {long}: a service name has at most 64 \
             characters, not 65"
        )
    );
}

#[test]
fn a_peer_asks_for_services_of_this_host_alone() {
    let text = "
        rules = '''
        allow in * tcp:10.0.0.0/8
        allow out * tcp:inner:1
        '''
        [redirects]
        authd = 'nextversion-authd'
        away = 'tcp://inner:1'
        [[redirect]]
        from = 'half'
        to = ['tcp://inner:1', 'here']
        [[redirect]]
        from = 'mine'
        to = 'canary'
        for = 'user:alice'
    ";
    let near = peer("tcp", "10.0.0.1", &[]);
    let from_near = |asked| ask(text, asked, None, Asker::Remote(&near, 1));
    for (asked, expected) in [
        ("plain", " → unix:plain: in plain yes"),
        ("authd", "authd → unix:nextversion-authd: in authd yes"),
        ("half", "half → unix:here: in half yes"),
        ("mine", " → unix:mine: in mine yes"),
    ] {
        assert_eq!(ways(&from_near(asked).unwrap()), [expected], "{asked}");
    }
    let away = from_near("away").unwrap_err().to_string();
    assert!(away.starts_with("away is led to tcp:") && away.contains("ipcd.toml:"), "{away}");
    assert!(away.ends_with("peers of other hosts are led on within this host alone"), "{away}");
    // A peer has no IPC_NETWORK.
    let asker = Asker::Remote(&near, 1);
    let decision = ask(text, "plain", Some("plain tcp://x:1"), asker).unwrap();
    assert_eq!(ways(&decision), [" → unix:plain: in plain yes"]);
}

#[test]
fn a_request_passes_as_many_hosts_as_the_limit_and_no_more() {
    let near = peer("tcp", "10.0.0.1", &[]);
    let most = u8::try_from(HOPS_MOST).unwrap();
    assert!(ask("", "x", None, Asker::Remote(&near, most)).is_ok());
    let error = ask("", "x", None, Asker::Remote(&near, most + 1)).unwrap_err();
    assert_eq!(error.to_string(), "the request has passed more than 8 hosts");
}

#[test]
fn the_address_that_came_back_is_looked_at_again() {
    let config = config("rules = ['deny out x tcp:10.0.0.0/8:*', 'allow out x tcp']");
    let (service, asker) = (&name("x"), &user(1));
    let again = |target: &str, address: &str| {
        let target = remote(target);
        recheck(&config, service, &target, Asker::Local(asker), address.parse().unwrap())
    };
    assert!(again("tcp://h:1", "192.0.2.1").is_allow());
    assert!(again("tcp://h:1", "::ffff:192.0.2.1").is_allow());
    assert!(!again("tcp://h:1", "10.0.0.1").is_allow());
    assert!(!again("tcp://h:1", "::ffff:10.0.0.1").is_allow());
    assert!(!again("tcp://h:1", "127.0.0.1").is_allow());
    assert!(again("tcp://192.0.2.1:1", "192.0.2.1").is_allow());
    let Verdict::Deny { reason, .. } = again("tcp://192.0.2.1:1", "192.0.2.2") else { panic!() };
    assert_eq!(reason, "192.0.2.2 is not the address that was asked for");
}
