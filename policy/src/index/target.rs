//! Rules by the places that they are about, in directions `out` and `local`.

use std::net::IpAddr;

use super::globs::Globs;
use super::postings::Table;
use super::ranges::{Networks, Ports};
use crate::address::{self, Address, Hosts, Place};
use crate::bits::Bits;
use crate::pattern::Pattern;
use crate::rule::Rule;
use crate::target::RemoteTarget;

/// Rules by targets. A rule with several places may be found by the host of one and the port of
/// another.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    any_host: Bits,
    hosts: Table<Box<str>>,
    domains: Table<Box<str>>,
    networks: Networks,
    any_port: Bits,
    ports: Ports,
    any_scheme: Bits,
    schemes: Table<Box<str>>,
}

/// Rules with networks from which on answers about names are worth remembering.
const MANY_NETWORKS: usize = 32;

/// The places of all rules, each with the number of its rule.
pub(super) fn places(rules: &[Rule]) -> impl Iterator<Item = (&Address, usize)> + Clone {
    let numbered = rules.iter().enumerate();
    let places = numbered.flat_map(|(rule, own)| own.places.iter().map(move |one| (one, rule)));
    places.filter_map(|(place, rule)| match place {
        Place::Remote(address) => Some((address, rule)),
        Place::Local(_) => None,
    })
}

/// The rules of which a place is as `is_so` says.
pub(super) fn those(rules: &[Rule], is_so: impl Fn(&Address) -> bool) -> Bits {
    let mut bits = Bits::none(rules.len());
    let fitting = places(rules).filter(|(address, _)| is_so(address));
    fitting.for_each(|(_, rule)| bits.insert(rule));
    bits
}

/// Pairs of a network and its rule.
pub(super) fn networks(rules: &[Rule]) -> Networks {
    let pairs = places(rules).flat_map(|(address, rule)| {
        address.hosts.networks().iter().map(move |network| (*network, rule))
    });
    Networks::of(pairs, rules.len())
}

/// Rules of direction `local` by the service that a name finally leads to.
pub(super) fn local(rules: &[Rule]) -> Globs {
    let patterns = |rule: &Rule| -> Vec<Pattern> {
        let patterns = rule.places.iter().filter_map(|place| match place {
            Place::Local(pattern) => Some(pattern.clone()),
            Place::Remote(_) => None,
        });
        patterns.collect()
    };
    let patterns: Vec<Vec<Pattern>> = rules.iter().map(patterns).collect();
    Globs::of(patterns.iter().map(Vec::as_slice))
}

impl Targets {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let count = rules.len();
        let hosts = places(rules).filter_map(|(address, rule)| match &address.hosts {
            Hosts::Name(name) => Some((name.as_str().into(), rule)),
            Hosts::Localhost => Some((address::LOCALHOST.into(), rule)),
            Hosts::Any | Hosts::Below(_) | Hosts::Network(_) => None,
        });
        let domains = places(rules).filter_map(|(address, rule)| match &address.hosts {
            Hosts::Below(name) => Some((name.as_str().into(), rule)),
            Hosts::Any | Hosts::Name(_) | Hosts::Localhost | Hosts::Network(_) => None,
        });
        let ports = places(rules).filter_map(|(address, rule)| match address.ports {
            address::Ports::Range(first, last) => Some(((first, last), rule)),
            address::Ports::Any | address::Ports::Default => None,
        });
        let schemes =
            places(rules).filter_map(|(address, rule)| Some((address.scheme.clone()?, rule)));
        Self {
            any_host: those(rules, |address| address.hosts == Hosts::Any),
            hosts: Table::of(hosts, count),
            domains: Table::of(domains, count),
            networks: networks(rules),
            // Which port is the default one depends on the scheme, and is looked at later.
            any_port: those(rules, |address| !matches!(address.ports, address::Ports::Range(..))),
            ports: Ports::of(ports, count),
            any_scheme: those(rules, |address| address.scheme.is_none()),
            schemes: Table::of(schemes, count),
        }
    }

    pub(super) fn has_many_networks(&self) -> bool {
        self.networks.any.iter().nth(MANY_NETWORKS).is_some()
    }

    pub(super) fn is_named(&self, host: &str) -> bool {
        let mut naming = self.any_host.clone();
        naming.remove(&self.any_host);
        self.hosts.add_to(host, &mut naming);
        add_domains(&self.domains, host, &mut naming);
        naming.first().is_some()
    }

    /// Leaves the rules that may be about `target` at `address`.
    pub(super) fn narrow(&self, rules: &mut Bits, target: &RemoteTarget, address: Option<IpAddr>) {
        let mut fitting = self.any_scheme.clone();
        self.schemes.add_to(target.scheme.as_str(), &mut fitting);
        rules.keep(&fitting);
        let mut fitting = self.any_port.clone();
        self.ports.add_to(target.port, &mut fitting);
        rules.keep(&fitting);
        let mut fitting = self.any_host.clone();
        let address = target.host.address().or(address);
        self.networks.add_to(address.map(|address| address.to_canonical()), &mut fitting);
        if let Some(name) = target.host.name() {
            self.hosts.add_to(name, &mut fitting);
            add_domains(&self.domains, name, &mut fitting);
        }
        rules.keep(&fitting);
    }
}

/// Adds the rules about what lies below one of the domains of `name`.
pub(super) fn add_domains(domains: &Table<Box<str>>, name: &str, rules: &mut Bits) {
    let mut rest = name;
    while let Some((_, domain)) = rest.split_once('.') {
        domains.add_to(domain, rules);
        rest = domain;
    }
}
