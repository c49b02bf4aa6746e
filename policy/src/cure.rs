//! The rule that would allow exactly one request.

use std::net::IpAddr;

use libipc::identity::LocalIdentity;

use crate::address::{Hosts, LOCALHOST, single};
use crate::described::UNNAMED;
use crate::host::Host;
use crate::peer::{Kind, Peer};
use crate::query::Query;
use crate::rule::RuleText;
use crate::special;
use crate::subject::is_user_manager;

/// The text of the rule that would allow exactly what `query` asks, with the place before which it
/// has to stand as its comment, where a rule `denies`: behind that one it would change nothing.
/// Empty for the one service that no rule can name, because its name means any service.
pub(crate) fn cure(query: &Query<'_>, denies: Option<&RuleText>) -> String {
    if query.service().as_str() == "any" {
        return String::new();
    }
    let rule = allowing(query);
    match denies {
        Some(denies) => format!("{rule}   # before {}", denies.source()),
        None => rule,
    }
}

fn allowing(query: &Query<'_>) -> String {
    let service = query.service();
    match query {
        Query::Out { target, address, asker, .. } => {
            // An address that no rule about the target's name reaches.
            let unnamed = |address: &IpAddr| match target.host.name() {
                Some(name) => name == LOCALHOST || special::range_of(*address).is_some(),
                None => false,
            };
            let named = address.filter(unnamed);
            let host = named.map_or_else(|| target.host.clone(), Host::from);
            let (scheme, port) = (&target.scheme, target.port);
            format!("allow out {service} {scheme}:{host}:{port}{}", whom(asker))
        }
        Query::In { peer, .. } => format!("allow in {service} {}", peer_as_rule(peer)),
        Query::Local { asker, .. } => format!("allow local {service}{}", whom(asker)),
    }
}

/// What a rule says to mean this peer: by its name, else by what else it has proven, else by its
/// address.
fn peer_as_rule(peer: &Peer<'_>) -> String {
    let scheme = peer.scheme;
    if let Some(name) = peer.proven(Kind::Dns).next() {
        return format!("{scheme}:{name}");
    }
    let first = |kind: Kind| peer.proven(kind).next().map(|value| format!("{kind}:{value}"));
    if let Some(proof) = Kind::ALL.into_iter().find_map(first) {
        return format!("{scheme}:* for {proof}");
    }
    match peer.address {
        Some(address) => format!("{scheme}:{}", Hosts::Network(single(address))),
        None if peer.is_anonymous() => format!("{scheme}:* for anonymous"),
        None => format!("{scheme}:*"),
    }
}

/// A service of the system is known by its unit, everybody else by the user.
fn whom(asker: &LocalIdentity) -> String {
    let is_service = |unit: &&String| unit.ends_with(".service") && !is_user_manager(unit);
    let unit = asker.unit.as_ref().filter(is_service).map(|unit| format!("unit:{unit}"));
    let user = || asker.uid.filter(|uid| *uid != UNNAMED).map(|uid| format!("user:{uid}"));
    let socket = asker.socket.as_ref().map(|socket| format!("socket:{socket}"));
    let all: Vec<_> = unit.or_else(user).into_iter().chain(socket).collect();
    if all.is_empty() { String::new() } else { format!(" for {}", all.join(",")) }
}
