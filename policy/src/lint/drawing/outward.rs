//! Direction `out`.

use std::collections::BTreeSet;

use super::addresses::Addresses;
use super::asker::{Askers, BEHIND};
use super::{Drawing, all_services, cases, each_with_each, services};
use crate::address::{Address, Hosts, LOCALHOST, Place, Ports};
use crate::host::Host;
use crate::lint::effort::{Effort, Exhausted};
use crate::lint::region::{Axis, Block, Region};
use crate::rule::Rule;
use crate::scheme::{Schemes, default_port};

const SCHEME: usize = BEHIND;
const HOST: usize = BEHIND + 1;
const ADDRESS: usize = BEHIND + 2;
const PORT: usize = BEHIND + 3;

/// Cases that are looked at in about the time that it takes to compare two rules.
const CASES_PER_STEP: usize = 16;

/// Targets, as far as some rules tell them apart.
struct Targets<'t> {
    schemes: Vec<&'t str>,
    /// Names of hosts; before them, as one more case, a host that is an address.
    hosts: Vec<String>,
    addresses: Addresses,
    /// First ports of ranges that go on to the next one.
    ports: Vec<u16>,
}

pub(super) fn draw(
    rules: &[&Rule],
    schemes: &Schemes,
    effort: &Effort,
) -> Result<Drawing, Exhausted> {
    let askers = Askers::of(rules);
    let targets = Targets::of(rules, schemes);
    let cases = targets.hosts.len() + targets.addresses.count() + targets.ports.len();
    effort.spend(rules.len() * cases / CASES_PER_STEP)?;
    let mut axes = vec![all_services()];
    axes.extend(askers.axes());
    axes.push(Axis::cases(targets.schemes.len()));
    axes.push(Axis::cases(targets.hosts.len() + 1));
    axes.push(Axis::cases(targets.addresses.count()));
    axes.push(Axis::cases(targets.ports.len()));
    let requests = askers.requests(&Region(axes), &targets.all(schemes), effort)?;
    let blocks = |rule: &&Rule| {
        let who = each_with_each(&[services(rule)], &askers.blocks(rule));
        each_with_each(&who, &targets.blocks(rule))
    };
    let rules = rules.iter().map(blocks).collect();
    Ok(Drawing { requests, rules, refused: Block::new(), passed: None })
}

fn addresses<'r>(rules: &[&'r Rule]) -> impl Iterator<Item = &'r Address> {
    let places = rules.iter().flat_map(|rule| &rule.places);
    places.filter_map(|place| match place {
        Place::Remote(address) => Some(address),
        Place::Local(_) => None,
    })
}

impl<'t> Targets<'t> {
    fn of(rules: &[&Rule], schemes: &'t Schemes) -> Self {
        let all: Vec<&Address> = addresses(rules).collect();
        let schemes: Vec<&str> = schemes.names().collect();
        let networks = all.iter().flat_map(|address| address.hosts.networks()).copied();
        let mut ports = BTreeSet::from([1]);
        let mut tell_apart = |first: u16, last: u16| {
            ports.insert(first);
            ports.extend(last.checked_add(1));
        };
        for address in &all {
            match address.ports {
                Ports::Any => {}
                Ports::Range(first, last) => tell_apart(first, last),
                Ports::Default => {
                    let defaults = schemes.iter().filter_map(|scheme| default_port(scheme));
                    defaults.for_each(|port| tell_apart(port, port));
                }
            }
        }
        Self {
            addresses: Addresses::of(networks),
            hosts: hosts(&all),
            ports: ports.into_iter().collect(),
            schemes,
        }
    }

    /// What goes together: of a target that is a name the address is known, unless its scheme
    /// finds the way itself.
    fn all(&self, schemes: &Schemes) -> Vec<Block> {
        let scheme = |dials: bool| {
            let fits = |case: usize| {
                self.schemes.get(case).is_some_and(|one| schemes.dials_addresses(one) == dials)
            };
            (SCHEME, cases(self.schemes.len(), fits))
        };
        let host =
            |is_name: bool| (HOST, cases(self.hosts.len() + 1, |case| (case > 0) == is_name));
        let address = |is_known: bool| {
            let unknown = self.addresses.unknown();
            (ADDRESS, cases(self.addresses.count(), |case| (case != unknown) == is_known))
        };
        vec![
            vec![scheme(true), address(true)],
            vec![scheme(false), host(false), address(true)],
            vec![scheme(false), host(true), address(false)],
        ]
    }

    fn blocks(&self, rule: &Rule) -> Vec<Block> {
        let places = addresses(&[rule]).collect::<Vec<_>>();
        let of = |place: &&Address| each_with_each(&self.hosts(rule, place), &self.ports(place));
        places.iter().flat_map(of).collect()
    }

    fn hosts(&self, rule: &Rule, place: &Address) -> Vec<Block> {
        let passes = rule.action.lets_pass();
        let host = |fits: &dyn Fn(&str) -> bool| {
            let name = |case: usize| case.checked_sub(1).and_then(|case| self.hosts.get(case));
            let fits = |case: usize| name(case).is_some_and(|name| fits(name));
            (HOST, cases(self.hosts.len() + 1, fits))
        };
        let ordinary = passes.then(|| (ADDRESS, self.addresses.ordinary()));
        match &place.hosts {
            Hosts::Any => vec![ordinary.into_iter().collect()],
            Hosts::Name(_) | Hosts::Below(_) => {
                let named = host(&|name| place.hosts.has_name(name));
                vec![std::iter::once(named).chain(ordinary).collect()]
            }
            Hosts::Localhost | Hosts::Network(_) if passes => {
                vec![vec![(ADDRESS, self.addresses.passing(place.hosts.networks()))]]
            }
            Hosts::Network(_) => {
                vec![vec![(ADDRESS, self.addresses.inside(place.hosts.networks(), true))]]
            }
            Hosts::Localhost => vec![
                vec![(ADDRESS, self.addresses.inside(place.hosts.networks(), true))],
                vec![host(&|name| name == LOCALHOST)],
            ],
        }
    }

    fn ports(&self, place: &Address) -> Vec<Block> {
        let scheme = |fits: &dyn Fn(&str) -> bool| {
            let fits = |case: usize| self.schemes.get(case).is_some_and(|scheme| fits(scheme));
            (SCHEME, cases(self.schemes.len(), fits))
        };
        let port = |first: u16, last: u16| {
            let fits = |case: usize| {
                self.ports.get(case).is_some_and(|port| (first..=last).contains(port))
            };
            (PORT, cases(self.ports.len(), fits))
        };
        let own = place.scheme.as_ref().map(|_| scheme(&|scheme| place.has_scheme(scheme)));
        match place.ports {
            Ports::Any => vec![own.into_iter().collect()],
            Ports::Range(first, last) => vec![own.into_iter().chain([port(first, last)]).collect()],
            Ports::Default => {
                let schemes = self.schemes.iter().filter(|scheme| place.has_scheme(scheme));
                let with_port = schemes.filter_map(|one| Some((one, default_port(one)?)));
                with_port
                    .map(|(one, default)| {
                        vec![scheme(&|other| other == *one), port(default, default)]
                    })
                    .collect()
            }
        }
    }
}

/// Every name that some places tell apart, one below each domain, and one that none of them has.
fn hosts(places: &[&Address]) -> Vec<String> {
    let written = |place: &&Address| match &place.hosts {
        Hosts::Name(name) | Hosts::Below(name) => Some(name.to_string()),
        Hosts::Any | Hosts::Localhost | Hosts::Network(_) => None,
    };
    let mut names: BTreeSet<String> = places.iter().filter_map(written).collect();
    names.insert(LOCALHOST.to_owned());
    let below = places.iter().filter_map(|place| match &place.hosts {
        Hosts::Below(name) => Some(name.as_str()),
        _ => None,
    });
    let fresh: Vec<String> = below.chain([""]).map(|domain| below_only(domain, &names)).collect();
    names.extend(fresh);
    let is_host = |name: &String| Host::parse(name).is_ok_and(|host| host.name() == Some(name));
    names.into_iter().filter(is_host).collect()
}

/// A name below `domain` that is none of `names`.
fn below_only(domain: &str, names: &BTreeSet<String>) -> String {
    let mut label = "q".to_owned();
    loop {
        let name = if domain.is_empty() { label.clone() } else { format!("{label}.{domain}") };
        if !names.contains(&name) {
            return name;
        }
        label.push('q');
    }
}
