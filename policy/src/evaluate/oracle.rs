//! The rules as design section 5 states them, one at a time and from their text: slow, and without
//! any of the evaluator's own code.

use std::net::IpAddr;

use ipnet::IpNet;
use libipc::identity::{LocalIdentity, RemoteIdentity};

use crate::fixture::remote;
use crate::sampling::Asked;
use crate::target::RemoteTarget;

fn yes(fact: Option<bool>, deny: bool) -> bool {
    fact.unwrap_or(deny)
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|taken| glob(after, &rest[taken..]))),
    }
}

fn special(address: IpAddr) -> bool {
    let text = address.to_string();
    address.is_loopback() || ["169.254.", "0.", "fe80:"].iter().any(|begin| text.starts_with(begin))
}

fn net(text: &str) -> Option<IpNet> {
    let bare = text.trim_matches(['[', ']']);
    bare.parse().ok().or_else(|| bare.parse::<IpAddr>().ok().map(IpNet::from))
}

fn inside_special(net: &IpNet) -> bool {
    ["127.0.0.0/8", "::1/128", "169.254.0.0/16", "0.0.0.0/8", "fe80::/10"]
        .iter()
        .any(|range| range.parse::<IpNet>().unwrap().contains(net))
}

fn named(hosts: &str, host: &str) -> bool {
    match hosts.strip_prefix("*.") {
        Some(below) => host.ends_with(&format!(".{below}")),
        None => hosts == host,
    }
}

fn place_out(place: &str, target: &RemoteTarget, address: IpAddr, deny: bool) -> bool {
    let (scheme, rest) = place.split_once(':').unwrap_or((place, "*"));
    let (hosts, ports) = match rest.strip_prefix('[') {
        Some(inside) => {
            let (hosts, rest) = inside.split_once(']').unwrap();
            (hosts.to_owned(), rest.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            Some((hosts, ports)) => (hosts.to_owned(), Some(ports)),
            None => (rest.to_owned(), None),
        },
    };
    let default = match target.scheme.as_str() {
        "tls" => 9001,
        "ws" => 80,
        _ => 9000,
    };
    let port_fits = match ports {
        None if hosts == "*" => true,
        None => target.port == default,
        Some("*") => true,
        Some(ports) => {
            let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
            (low.parse::<u16>().unwrap()..=high.parse().unwrap()).contains(&target.port)
        }
    };
    let host_fits = match net(&hosts) {
        Some(net) => net.contains(&address) && (deny || !special(address) || inside_special(&net)),
        None if hosts == "*" => deny || !special(address),
        None if hosts == "localhost" => {
            address.is_loopback() || deny && target.host.name() == Some("localhost")
        }
        None => {
            let fits = target.host.name().is_some_and(|host| named(&hosts, host));
            fits && (deny || !special(address))
        }
    };
    (scheme == "*" || scheme == target.scheme) && port_fits && host_fits
}

fn place_in(place: &str, peer: &RemoteIdentity, anonymous: bool, deny: bool) -> bool {
    let (scheme, hosts) = place.split_once(':').unwrap_or((place, "*"));
    let dns = proven("dns:", peer);
    let fact = match net(hosts) {
        Some(net) => address(peer).map(|address| net.contains(&address)),
        None if hosts == "localhost" => address(peer).map(|address| address.is_loopback()),
        None if hosts == "*" => (anonymous || !is_anonymous(peer)).then_some(true),
        None if dns.is_empty() => None,
        None => Some(dns.iter().any(|name| named(hosts, name))),
    };
    (scheme == "*" || scheme == peer.scheme) && yes(fact, deny)
}

/// The address of a peer; the unspecified one is nobody's.
fn address(peer: &RemoteIdentity) -> Option<IpAddr> {
    Some(peer.address).filter(|address| !address.is_unspecified())
}

/// Whether a peer can have proven anything.
fn proves(peer: &RemoteIdentity) -> bool {
    ["tls", "wss"].contains(&peer.scheme.as_str())
}

/// The values of one kind that count: only tls proves any, and a wildcard is no name.
fn proven(kind: &str, peer: &RemoteIdentity) -> Vec<String> {
    let names = peer.names.iter().filter(|_| proves(peer));
    let values = names.filter_map(|name| name.strip_prefix(kind));
    values.filter(|value| !value.contains('*')).map(str::to_lowercase).collect()
}

fn is_anonymous(peer: &RemoteIdentity) -> bool {
    !proves(peer) || peer.names.is_empty()
}

/// As a glob, whose `*` takes no `/`.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), text.split('/').collect());
    pattern.len() == text.len()
        && pattern.iter().zip(text).all(|(pattern, text)| glob(pattern, text))
}

fn has_proven(list: &[&str], kind: &str, peer: &RemoteIdentity, deny: bool) -> bool {
    let wanted: Vec<_> = list.iter().filter_map(|one| one.strip_prefix(kind)).collect();
    let values = proven(kind, peer);
    let any = values.iter().any(|value| wanted.iter().any(|pattern| is_like(pattern, value)));
    wanted.is_empty() || yes((!values.is_empty()).then_some(any), deny)
}

fn is_in_unit(list: &[&str], asker: &LocalIdentity, deny: bool) -> bool {
    let of = |kind: &str, own: Option<&str>| {
        let mut wanted = list.iter().filter_map(|one| one.strip_prefix(kind)).peekable();
        let nothing = wanted.peek().is_none();
        nothing || yes(own.map(|own| wanted.any(|pattern| glob(pattern, own))), deny)
    };
    let elsewhere = asker.unit.as_deref().is_some_and(|unit| !unit.starts_with("user@"));
    let user_unit = asker.user_unit.as_deref().or(elsewhere.then_some("none at all"));
    of("unit:", asker.unit.as_deref())
        && of("user-unit:", user_unit)
        && of("socket:", Some(asker.socket.as_deref().unwrap_or("none at all")))
}

fn is_user(list: &[&str], asker: &LocalIdentity, deny: bool) -> bool {
    let of = |kind: &str| -> Vec<u32> {
        list.iter().filter_map(|one| one.strip_prefix(kind)?.parse().ok()).collect()
    };
    let (users, groups) = (of("user:"), of("group:"));
    let user = users.is_empty() || yes(asker.uid.map(|uid| users.contains(&uid)), deny);
    let primary = asker.gid.map(|gid| groups.contains(&gid));
    let others = asker.groups.as_ref().map(|own| own.iter().any(|group| groups.contains(group)));
    let group = match (primary, others) {
        (Some(true), _) | (_, Some(true)) => true,
        (Some(false), Some(false)) => false,
        _ => deny,
    };
    let logins: Vec<_> = list.iter().filter_map(|one| one.strip_prefix("login:")).collect();
    let any = asker.logins.iter().any(|login| logins.contains(&login.as_str()));
    let login = logins.is_empty() || yes((!asker.logins.is_empty()).then_some(any), deny);
    user && (groups.is_empty() || group) && login && is_in_unit(list, asker, deny)
}

/// Whether the first line of `lines` that matches lets the request pass.
pub(crate) fn allows(lines: &[String], service: &str, asked: &Asked) -> bool {
    let direction = match asked {
        Asked::Out { .. } => "out",
        Asked::In { .. } => "in",
        Asked::Local { .. } => "local",
    };
    for line in lines {
        let (line, subjects) = line.split_once(" for ").unwrap_or((line, ""));
        let words: Vec<_> = line.split_whitespace().collect();
        let deny = words[0] == "deny";
        let list: Vec<_> = subjects.split(',').filter(|one| !one.is_empty()).collect();
        let about =
            words[1] == direction && words[2].split(',').any(|pattern| glob(pattern, service));
        let places: Vec<_> = words.get(3).unwrap_or(&"*").split(',').collect();
        let fits = about
            && match asked {
                Asked::Out { target, address, asker } => {
                    let target = remote(target);
                    let address = target.host.address().unwrap_or(*address);
                    is_user(&list, asker, deny)
                        && places.iter().any(|place| place_out(place, &target, address, deny))
                }
                Asked::In { peer } => {
                    let anonymous = list.contains(&"anonymous");
                    let nets: Vec<IpNet> = list
                        .iter()
                        .filter_map(|one| one.strip_prefix("net:")?.parse().ok())
                        .collect();
                    let inside =
                        address(peer).map(|address| nets.iter().any(|net| net.contains(&address)));
                    let near = nets.is_empty() || yes(inside, deny);
                    near && (!anonymous || is_anonymous(peer))
                        && ["dns:", "uri:", "login:"]
                            .iter()
                            .all(|kind| has_proven(&list, kind, peer, deny))
                        && places.iter().any(|place| place_in(place, peer, anonymous, deny))
                }
                Asked::Local { target, asker, .. } => {
                    let leads = |place: &&str| {
                        *place == "*" || glob(place.strip_prefix("unix:").unwrap(), target)
                    };
                    is_user(&list, asker, deny) && places.iter().any(leads)
                }
            };
        if fits {
            return !deny;
        }
    }
    match asked {
        Asked::Local { asker, owner, .. } => {
            asker.uid == Some(0) || asker.uid.is_some() && asker.uid == *owner
        }
        Asked::Out { .. } | Asked::In { .. } => false,
    }
}
