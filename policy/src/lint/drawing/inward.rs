//! Direction `in`.

use super::addresses::Addresses;
use super::{Drawing, Language, SERVICE, all_services, cases, each_with_each, matching, services};
use crate::address::{Address, Hosts, Place};
use crate::lint::effort::{Effort, Exhausted};
use crate::lint::region::{Axis, Block, Region};
use crate::pattern::Pattern;
use crate::peer::Kind;
use crate::rule::{Action, Rule};
use crate::scheme::Schemes;

const SCHEME: usize = SERVICE + 1;
const ADDRESS: usize = SERVICE + 2;
const PROVEN: usize = SERVICE + 3;
/// One axis for each kind of what can be proven.
const KINDS: usize = SERVICE + 4;

/// Cases that are looked at in about the time that it takes to compare two rules.
const CASES_PER_STEP: usize = 16;

/// Peers, as far as some rules tell them apart.
struct Peers<'p> {
    schemes: Vec<&'p str>,
    addresses: Addresses,
}

/// Cases of what is proven: nothing at all, or something, with or without each kind.
const PROVEN_CASES: usize = 1 + (1 << Kind::ALL.len());

fn number(kind: Kind) -> usize {
    Kind::ALL.iter().position(|one| *one == kind).unwrap_or_default()
}

fn is_proven(case: usize, kind: Kind) -> bool {
    case.checked_sub(1).is_some_and(|kinds| kinds >> number(kind) & 1 == 1)
}

fn proven(fits: impl Fn(usize) -> bool) -> Block {
    vec![(PROVEN, cases(PROVEN_CASES, fits))]
}

pub(super) fn draw(
    rules: &[&Rule],
    schemes: &Schemes,
    effort: &Effort,
) -> Result<Drawing, Exhausted> {
    let places = rules.iter().flat_map(|rule| addresses(rule));
    let networks = places.flat_map(|place| place.hosts.networks().iter().copied());
    let near = rules.iter().flat_map(|rule| rule.subjects.networks.iter().copied());
    let peers = Peers {
        schemes: schemes.names().collect(),
        addresses: Addresses::of(networks.chain(near)),
    };
    effort.spend(rules.len() * peers.addresses.count() / CASES_PER_STEP)?;
    let mut axes = vec![
        all_services(),
        Axis::cases(peers.schemes.len()),
        Axis::cases(peers.addresses.count()),
        Axis::cases(PROVEN_CASES),
    ];
    axes.extend(
        Kind::ALL.map(|kind| {
            Axis::names(if kind == Kind::Dns { Language::Dns } else { Language::Text })
        }),
    );
    let all = Region(axes);
    let mut requests = Vec::new();
    for block in peers.all(schemes) {
        requests.extend(all.clone().within(&block, effort)?);
    }
    let rules = rules.iter().map(|rule| peers.blocks(rule)).collect();
    Ok(Drawing { requests, rules, refused: Block::new(), passed: None })
}

fn addresses(rule: &Rule) -> impl Iterator<Item = &Address> {
    rule.places.iter().filter_map(|place| match place {
        Place::Remote(address) => Some(address),
        Place::Local(_) => None,
    })
}

impl Peers<'_> {
    /// What goes together: only by some schemes is anything proven.
    fn all(&self, schemes: &Schemes) -> Vec<Block> {
        let proves =
            |case: usize| self.schemes.get(case).is_some_and(|scheme| schemes.proves_names(scheme));
        let address = cases(self.addresses.count(), |case| self.addresses.of_peers(case));
        let mut anonymous = proven(|case| case == 0);
        anonymous.push((ADDRESS, address.clone()));
        let mut known = proven(|case| case > 0);
        known.push((ADDRESS, address));
        known.push((SCHEME, cases(self.schemes.len(), proves)));
        vec![anonymous, known]
    }

    fn blocks(&self, rule: &Rule) -> Vec<Block> {
        let places: Vec<Block> =
            addresses(rule).flat_map(|address| self.place(rule, address)).collect();
        let mut blocks = each_with_each(&[services(rule)], &places);
        let subjects = &rule.subjects;
        let catches_unknown = rule.action == Action::Deny;
        if !subjects.networks.is_empty() {
            let inside = self.addresses.inside(&subjects.networks, catches_unknown);
            blocks = each_with_each(&blocks, &[vec![(ADDRESS, inside)]]);
        }
        if subjects.anonymous {
            blocks = each_with_each(&blocks, &[proven(|case| case == 0)]);
        }
        for kind in Kind::ALL {
            let wanted = subjects.proofs.iter().filter(|proof| proof.kind == kind);
            let wanted: Vec<Pattern> = wanted.map(|proof| proof.value.clone()).collect();
            if !wanted.is_empty() {
                blocks = each_with_each(&blocks, &has_proven(rule, kind, &wanted));
            }
        }
        blocks
    }

    fn place(&self, rule: &Rule, address: &Address) -> Vec<Block> {
        let catches_unknown = rule.action == Action::Deny;
        let by_scheme: Block = address
            .scheme
            .iter()
            .map(|_| {
                let fits = |case: usize| {
                    self.schemes.get(case).is_some_and(|scheme| address.has_scheme(scheme))
                };
                (SCHEME, cases(self.schemes.len(), fits))
            })
            .collect();
        let hosts = match &address.hosts {
            Hosts::Any if rule.subjects.anonymous || catches_unknown => vec![Block::new()],
            Hosts::Any => vec![proven(|case| case > 0)],
            Hosts::Name(name) => has_proven(rule, Kind::Dns, &[Pattern::new(name.as_str())]),
            Hosts::Below(name) => {
                has_proven(rule, Kind::Dns, &[Pattern::new(&format!("*.{name}"))])
            }
            Hosts::Localhost | Hosts::Network(_) => {
                let networks = address.hosts.networks();
                vec![vec![(ADDRESS, self.addresses.inside(networks, catches_unknown))]]
            }
        };
        each_with_each(&[by_scheme], &hosts)
    }
}

/// Peers that have proven something of `kind` that is `wanted`; for a deny rule, also those that
/// have proven nothing of that kind.
fn has_proven(rule: &Rule, kind: Kind, wanted: &[Pattern]) -> Vec<Block> {
    let mut named = proven(|case| is_proven(case, kind));
    named.push((KINDS + number(kind), matching(wanted)));
    let mut blocks = vec![named];
    if rule.action == Action::Deny {
        blocks.push(proven(|case| !is_proven(case, kind)));
    }
    blocks
}
