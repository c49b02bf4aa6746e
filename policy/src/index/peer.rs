//! Rules by the peers that they are about, in direction `in`.

use super::globs::Globs;
use super::postings::Table;
use super::ranges::Networks;
use super::target::{add_domains, networks, places, those};
use crate::address::Hosts;
use crate::bits::Bits;
use crate::pattern::Pattern;
use crate::peer::{Kind, Peer};
use crate::rule::{Action, Rule};

/// Rules by what a peer has proven, and by its address.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    any_host: Bits,
    hosts: Table<Box<str>>,
    domains: Table<Box<str>>,
    networks: Networks,
    /// Deny rules about names: they are also about whoever has proven none.
    denied_names: Bits,
    near: Networks,
    anywhere: Bits,
    any_scheme: Bits,
    schemes: Table<Box<str>>,
    proofs: Vec<Proofs>,
}

/// Rules by what has to be proven of one kind.
#[derive(Clone, Debug)]
struct Proofs {
    kind: Kind,
    values: Globs,
    free: Bits,
    /// Deny rules that want something of this kind.
    denied: Bits,
}

impl Peers {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let count = rules.len();
        let hosts = places(rules).filter_map(|(address, rule)| match &address.hosts {
            Hosts::Name(name) => Some((name.as_str().into(), rule)),
            Hosts::Any | Hosts::Below(_) | Hosts::Localhost | Hosts::Network(_) => None,
        });
        let domains = places(rules).filter_map(|(address, rule)| match &address.hosts {
            Hosts::Below(name) => Some((name.as_str().into(), rule)),
            Hosts::Any | Hosts::Name(_) | Hosts::Localhost | Hosts::Network(_) => None,
        });
        let schemes =
            places(rules).filter_map(|(address, rule)| Some((address.scheme.clone()?, rule)));
        let near = rules.iter().enumerate().flat_map(|(rule, own)| {
            own.subjects.networks.iter().map(move |network| (*network, rule))
        });
        let denies = |rule: usize| rules.get(rule).is_some_and(|rule| rule.action == Action::Deny);
        let mut denied_names =
            those(rules, |address| matches!(address.hosts, Hosts::Name(_) | Hosts::Below(_)));
        denied_names.keep(&Bits::of(count, denies));
        Self {
            any_host: those(rules, |address| address.hosts == Hosts::Any),
            hosts: Table::of(hosts, count),
            domains: Table::of(domains, count),
            networks: networks(rules),
            denied_names,
            near: Networks::of(near, count),
            anywhere: Bits::of(count, |rule| {
                rules.get(rule).is_none_or(|rule| rule.subjects.networks.is_empty())
            }),
            any_scheme: those(rules, |address| address.scheme.is_none()),
            schemes: Table::of(schemes, count),
            proofs: Kind::ALL.into_iter().filter_map(|kind| Proofs::of(rules, kind)).collect(),
        }
    }

    /// Leaves the rules that may be about `peer`.
    pub(super) fn narrow(&self, rules: &mut Bits, peer: &Peer<'_>) {
        let mut fitting = self.any_scheme.clone();
        self.schemes.add_to(peer.scheme, &mut fitting);
        rules.keep(&fitting);
        let mut fitting = self.any_host.clone();
        self.networks.add_to(peer.address, &mut fitting);
        let mut is_named = false;
        for name in peer.proven(Kind::Dns) {
            is_named = true;
            self.hosts.add_to(&*name, &mut fitting);
            add_domains(&self.domains, &name, &mut fitting);
        }
        if !is_named {
            fitting.add(&self.denied_names);
        }
        rules.keep(&fitting);
        let mut fitting = self.anywhere.clone();
        self.near.add_to(peer.address, &mut fitting);
        rules.keep(&fitting);
        for proofs in &self.proofs {
            proofs.narrow(rules, peer);
        }
    }
}

impl Proofs {
    /// `None` if no rule wants anything of this kind.
    fn of(rules: &[Rule], kind: Kind) -> Option<Self> {
        let wanted = |rule: &Rule| -> Vec<Pattern> {
            let own = rule.subjects.proofs.iter().filter(|proof| proof.kind == kind);
            own.map(|proof| proof.value.clone()).collect()
        };
        let wanted: Vec<Vec<Pattern>> = rules.iter().map(wanted).collect();
        let wants = |rule: usize| wanted.get(rule).is_some_and(|own| !own.is_empty());
        let denies = |rule: usize| rules.get(rule).is_some_and(|rule| rule.action == Action::Deny);
        let some = (0..rules.len()).any(wants);
        some.then(|| Self {
            kind,
            free: Bits::of(rules.len(), |rule| !wants(rule)),
            denied: Bits::of(rules.len(), |rule| wants(rule) && denies(rule)),
            values: Globs::of(wanted.iter().map(Vec::as_slice)),
        })
    }

    fn narrow(&self, rules: &mut Bits, peer: &Peer<'_>) {
        let mut fitting = self.free.clone();
        let mut is_proven = false;
        for value in peer.proven(self.kind) {
            is_proven = true;
            self.values.add_to(&value, &mut fitting);
        }
        if !is_proven {
            fitting.add(&self.denied);
        }
        rules.keep(&fitting);
    }
}
