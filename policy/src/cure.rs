//! The rule that would allow exactly one request.

use std::net::IpAddr;

use libipc::identity::LocalIdentity;

use crate::address::{Hosts, LOCALHOST, single};
use crate::host::Host;
use crate::query::Query;
use crate::special;

/// The text of the rule that, before all others, would allow exactly what `query` asks. Empty for
/// the one service that no rule can name, because its name means any service.
pub(crate) fn cure(query: &Query<'_>) -> String {
    let service = query.service();
    if service.as_str() == "any" {
        return String::new();
    }
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
        Query::In { peer, .. } => {
            let scheme = &peer.scheme;
            let name = peer.names.iter().find_map(|name| name.strip_prefix("dns:"));
            let address = || Hosts::Network(single(peer.address)).to_string();
            let who = name.map_or_else(address, ToOwned::to_owned);
            format!("allow in {service} {scheme}:{who}")
        }
        Query::Local { asker, .. } => format!("allow local {service}{}", whom(asker)),
    }
}

fn whom(asker: &LocalIdentity) -> String {
    asker.uid.map(|uid| format!(" for user:{uid}")).unwrap_or_default()
}
