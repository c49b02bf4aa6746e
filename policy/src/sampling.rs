//! Rules and requests at random, made of few values, so that they meet often.

use std::net::IpAddr;

use libipc::identity::{LocalIdentity, RemoteIdentity};

use crate::fixture::{name, peer, remote};
use crate::peer::Peer;
use crate::query::Query;
use crate::rule::Direction;
use crate::scheme::Schemes;

/// Numbers that look random, the same ones for the same seed (xorshift64*, Vigna 2016).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(rolled).unwrap() % sides
    }

    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.roll(values.len())]
    }

    fn some<T: Copy>(&mut self, values: &[T], most: usize) -> Vec<T> {
        (0..self.roll(most + 1)).map(|_| self.pick(values)).collect()
    }
}

/// What a request of the generated world looks like.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Out { target: String, address: IpAddr, asker: LocalIdentity },
    In { peer: RemoteIdentity },
    Local { target: String, asker: LocalIdentity, owner: Option<u32> },
}

const SERVICES: [&str; 8] = ["a", "ab", "b", "ba", "ax", "xa", "axa", "x"];
const DIRECTIONS: [Direction; 3] = [Direction::Out, Direction::In, Direction::Local];
const ADDRESSES: [&str; 12] = [
    "10.0.0.1",
    "10.1.0.1",
    "11.0.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "2001:db9::2",
    "192.0.2.1",
    "2001:db8::1",
    "169.254.169.254",
    "fe80::1",
    "0.1.2.3",
];

pub(crate) fn direction(dice: &mut Dice) -> Direction {
    dice.pick(&DIRECTIONS)
}

pub(crate) fn service(dice: &mut Dice) -> &'static str {
    dice.pick(&SERVICES)
}

fn asker(dice: &mut Dice) -> LocalIdentity {
    let id = [None, Some(0), Some(1), Some(2), Some(3)];
    let text = |word: &str| Some(word.to_owned()).filter(|word| !word.is_empty());
    LocalIdentity {
        pid: None,
        uid: dice.pick(&id),
        gid: dice.pick(&id),
        groups: dice.pick(&[true, true, false]).then(|| dice.some(&[0, 1, 2, 3], 2)),
        unit: text(dice.pick(&[
            "",
            "a.service",
            "ab.service",
            "x.service",
            "user@1.service",
            "a:b.mount",
        ])),
        user_unit: text(dice.pick(&["", "", "a.service", "b.scope", "x.slice", "a:b.scope"])),
        socket: text(dice.pick(&["", "", "s", "t"])),
        logins: dice.some(&["bob", "eve", "@staff"], 2).into_iter().map(str::to_owned).collect(),
    }
}

pub(crate) fn asked(dice: &mut Dice, direction: Direction) -> Asked {
    let address = dice.pick(&ADDRESSES).parse().unwrap();
    match direction {
        Direction::Out => {
            let scheme = dice.pick(&["tcp", "tcp", "tls", "tls", "ws"]);
            let hosts = [
                "h",
                "a.h",
                "q.a.h",
                "other",
                "localhost",
                "10.0.0.1",
                "10.9.9.9",
                "127.0.0.1",
                "127.1.1.1",
                "[::1]",
                "[2001:db8::3]",
                "192.0.2.1",
                "169.254.0.9",
                "198.51.100.1",
            ];
            let (host, port) = (dice.pick(&hosts), dice.pick(&[9000, 9001, 80, 81, 100, 9002, 7]));
            let target = format!("{scheme}://{host}:{port}");
            Asked::Out { target, address, asker: asker(dice) }
        }
        Direction::In => {
            let scheme = dice.pick(&["tcp", "tls", "tls", "ws", "wss"]);
            let names = [
                "dns:h",
                "dns:A.h",
                "dns:*.h",
                "dns:q.a.h",
                "dns:other",
                "uri:spiffe://x/y",
                "uri:spiffe://z",
                "uri:other",
                "login:bob",
                "login:eve",
                "key:k",
                "pin:p",
            ];
            let names = dice.some(&names, 3);
            let address =
                dice.pick(&["10.0.0.1", "127.0.0.1", "192.0.2.1", "::1", "0.0.0.0", "0.1.2.3"]);
            Asked::In { peer: peer(scheme, address, &names) }
        }
        Direction::Local => {
            let owner = dice.pick(&[None, Some(0), Some(1), Some(2), Some(3)]);
            let target = service(dice).to_owned();
            Asked::Local { target, asker: asker(dice), owner }
        }
    }
}

/// A service and a request that have more or less what the rule `line` wants.
pub(crate) fn asked_like(dice: &mut Dice, direction: Direction, line: &str) -> (String, Asked) {
    let (line, subjects) = line.split_once(" for ").unwrap_or((line, ""));
    let words: Vec<_> = line.split_whitespace().collect();
    let any = dice.pick(&["", "x", "xa"]);
    let services: Vec<_> = words[2].split(',').collect();
    let service = Some(dice.pick(&services).replace('*', any)).filter(|name| !name.is_empty());
    let places: Vec<_> = words.get(3).unwrap_or(&"*").split(',').collect();
    let place = dice.pick(&places);
    let mut asked = asked(dice, direction);
    match &mut asked {
        Asked::Out { target, address, asker } => {
            aim(dice, target, address, place);
            subjects.split(',').for_each(|subject| become_one(dice, asker, subject));
        }
        Asked::In { peer } => {
            let (scheme, host) = place.split_once(':').unwrap_or((place, "*"));
            if scheme != "*" {
                scheme.clone_into(&mut peer.scheme);
            }
            match address_in(host) {
                Some(address) => peer.address = address,
                None if host != "*" => peer.names.push(format!("dns:{}", host.replace('*', "q"))),
                None => {}
            }
            for subject in subjects.split(',') {
                match subject.split_once(':') {
                    Some(("net", net)) => peer.address = address_in(net).unwrap(),
                    Some(_) => peer.names.push(subject.replace('*', "q")),
                    None if subject == "anonymous" => peer.names.clear(),
                    None => {}
                }
            }
        }
        Asked::Local { target, asker, .. } => {
            if let Some(name) = place.strip_prefix("unix:") {
                *target = name.replace('*', any);
            }
            subjects.split(',').for_each(|subject| become_one(dice, asker, subject));
        }
    }
    (service.unwrap_or_else(|| self::service(dice).to_owned()), asked)
}

fn aim(dice: &mut Dice, target: &mut String, address: &mut IpAddr, place: &str) {
    let (scheme, rest) = place.split_once(':').unwrap_or((place, "*"));
    let end = rest.find(']').map_or(0, |end| end + 1);
    let (host, ports) = match rest.get(end..).and_then(|behind| behind.find(':')) {
        Some(colon) => (&rest[..end + colon], &rest[end + colon + 1..]),
        None => (rest, ""),
    };
    let scheme = if scheme == "*" { dice.pick(&["tcp", "tls", "ws"]) } else { scheme };
    let default = match scheme {
        "tls" => "9001",
        "ws" => "80",
        _ => "9000",
    };
    let port = match ports.split_once('-').map_or(ports, |(first, _)| first) {
        "*" => dice.pick(&["7", "81", "9002"]),
        "" => default,
        first => first,
    };
    let host = match address_in(host) {
        Some(inside) if dice.pick(&[true, false]) => {
            *address = inside;
            "other".to_owned()
        }
        Some(IpAddr::V4(inside)) => inside.to_string(),
        Some(IpAddr::V6(inside)) => format!("[{inside}]"),
        None if host == "*" => dice.pick(&["other", "h", "198.51.100.1"]).to_owned(),
        None => host.replace('*', "q"),
    };
    *target = format!("{scheme}://{host}:{port}");
}

/// An address in the network or at the address that a rule has.
fn address_in(host: &str) -> Option<IpAddr> {
    if host == "localhost" {
        return "127.0.0.1".parse().ok();
    }
    let host = host.trim_matches(['[', ']']);
    match host.split_once('/').map_or(host, |(first, _)| first) {
        "0.0.0.0" => "11.0.0.1".parse().ok(),
        "::" => "2001:db8::1".parse().ok(),
        first => first.parse().ok(),
    }
}

fn become_one(dice: &mut Dice, asker: &mut LocalIdentity, subject: &str) {
    let Some((kind, value)) = subject.split_once(':') else { return };
    let name = Some(value.replace('*', dice.pick(&["", "x"])));
    match kind {
        "user" => asker.uid = value.parse().ok(),
        "group" => asker.gid = value.parse().ok(),
        "unit" => asker.unit = name,
        "user-unit" => asker.user_unit = name,
        "login" => asker.logins.extend(name),
        _ => asker.socket = name,
    }
}

pub(crate) fn rule(dice: &mut Dice, direction: Direction) -> String {
    let action = dice.pick(&["allow", "allow", "deny", "deny", "permissive"]);
    let services = dice.pick(&["a", "b", "ab", "*", "*", "a*", "*a", "a,b", "b*,ab", "*a*"]);
    let hosts = [
        "",
        ":*",
        ":h",
        ":a.h",
        ":*.h",
        ":*.a.h",
        ":localhost",
        ":10.0.0.0/8",
        ":10.0.0.0/16",
        ":127.0.0.0/8",
        ":0.0.0.0/0",
        ":[::/0]",
        ":10.0.0.1",
        ":127.0.0.1",
        ":[::1]",
        ":192.0.2.1",
        ":169.254.0.0/16",
    ];
    let mut place = |ports: &[&str]| {
        let (scheme, hosts) = (dice.pick(&["tcp", "tls", "*", "*"]), dice.pick(&hosts));
        let ports = dice.pick(ports);
        let hosts = if hosts.is_empty() && !ports.is_empty() { ":*" } else { hosts };
        format!("{scheme}{hosts}{ports}")
    };
    let rest = match direction {
        Direction::Out => {
            let ports = ["", ":*", ":*", ":80", ":80-9000", ":1-79"];
            let places = [place(&ports), place(&ports)];
            let places = &places[..dice.pick(&[1, 1, 2])];
            format!("{}{}", places.join(","), of_outward_asker(dice))
        }
        Direction::In => {
            let place = place(&[""]);
            let from = dice.pick(&[
                "",
                "",
                "",
                " for anonymous",
                " for net:10.0.0.0/8",
                " for anonymous,net:127.0.0.0/8",
                " for dns:*.h",
                " for dns:h,login:bob",
                " for uri:spiffe://x/*",
                " for uri:spiffe://*,net:10.0.0.0/8",
                " for login:eve",
            ]);
            format!("{place}{from}")
        }
        Direction::Local => {
            let place = dice.pick(&["", "", "unix:a*", "unix:b", "unix:b,unix:a"]);
            format!("{place}{}", of_asker(dice))
        }
    };
    format!("{action} {direction} {services} {rest}")
}

/// A program that asks for what is on another host may have logged in.
fn of_outward_asker(dice: &mut Dice) -> &'static str {
    match dice.pick(&["", "", "", " for login:bob", " for user:1,login:eve,login:bob"]) {
        "" => of_asker(dice),
        subjects => subjects,
    }
}

fn of_asker(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "",
        "",
        "",
        "",
        " for user:0",
        " for user:1,user:2",
        " for user:2",
        " for group:1",
        " for group:2,group:3",
        " for user:1,group:2",
        " for unit:a*.service",
        " for unit:ab.service,group:1",
        " for unit:*",
        " for user:1,user-unit:*.scope",
        " for user:1,user:0,user-unit:a.service",
        " for socket:s",
    ])
}

pub(crate) fn query_with<T>(service: &str, asked: &Asked, with: impl FnOnce(&Query<'_>) -> T) -> T {
    let service = &name(service);
    match asked {
        Asked::Out { target, address, asker } => {
            let target = &remote(target);
            with(&Query::Out { service, target, address: Some(*address), asker })
        }
        Asked::In { peer } => {
            let schemes = Schemes::default();
            with(&Query::In { service, peer: Peer::of(peer, &schemes) })
        }
        Asked::Local { target, asker, owner } => {
            let target = &name(target);
            with(&Query::Local { service, target, asker, owner: *owner })
        }
    }
}
