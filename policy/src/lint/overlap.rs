//! Which rules may match one request: a quick answer that errs on the side of yes.

use std::collections::HashMap;

use super::effort::{Effort, Exhausted};
use crate::address::{Address, Hosts, Place, Ports};
use crate::pattern::Pattern;
use crate::rule::{Action, Direction, Rule};
use crate::subject::{Account, Subjects};

/// The rules of one direction by the services that they are about.
pub(super) struct Neighbours<'r> {
    rules: &'r [Rule],
    by_service: HashMap<&'r str, Vec<usize>>,
    wild: Vec<usize>,
}

impl<'r> Neighbours<'r> {
    pub(super) fn of(rules: &'r [Rule]) -> Self {
        let mut neighbours = Self { rules, by_service: HashMap::new(), wild: Vec::new() };
        for (index, rule) in rules.iter().enumerate() {
            if !rule.services.iter().all(Pattern::is_exact) {
                neighbours.wild.push(index);
                continue;
            }
            for service in &rule.services {
                neighbours.by_service.entry(service.as_str()).or_default().push(index);
            }
        }
        neighbours
    }

    /// The rules with these numbers.
    pub(super) fn rules(&self, numbers: &[usize]) -> Vec<&'r Rule> {
        numbers.iter().filter_map(|number| self.rules.get(*number)).collect()
    }

    /// The rules that may match a request that the rule `own` matches, in their order.
    pub(super) fn around(&self, own: usize, effort: &Effort) -> Result<Vec<usize>, Exhausted> {
        let Some(rule) = self.rules.get(own) else { return Ok(Vec::new()) };
        effort.spend(1 + self.wild.len())?;
        let mut near: Vec<usize> = self.wild.clone();
        if rule.services.iter().all(Pattern::is_exact) {
            let of = |service: &Pattern| self.by_service.get(service.as_str());
            near.extend(rule.services.iter().filter_map(of).flatten());
        } else {
            effort.spend(self.by_service.len())?;
            let fits = |name: &&str| rule.services.iter().any(|service| service.matches(name));
            let named = self.by_service.iter().filter(|(name, _)| fits(name));
            near.extend(named.flat_map(|(_, rules)| rules));
        }
        near.sort_unstable();
        near.dedup();
        effort.spend(near.len())?;
        near.retain(|other| {
            *other == own || self.rules.get(*other).is_some_and(|other| may_share(rule, other))
        });
        Ok(near)
    }
}

fn may_share(one: &Rule, other: &Rule) -> bool {
    // Somebody, or an address, that is not known may be caught by two deny rules that are about
    // different ones.
    let both_catch = one.action == Action::Deny && other.action == Action::Deny;
    // A peer may have proven several names.
    let by_address_alone = one.direction == Direction::In;
    let near = |own: &Place, place: &Place| share_place(own, place, by_address_alone);
    let places = || {
        one.places.is_empty()
            || other.places.is_empty()
            || both_catch
            || one.places.iter().any(|own| other.places.iter().any(|place| near(own, place)))
    };
    let services = || {
        let near = |own: &Pattern| other.services.iter().any(|pattern| share_names(own, pattern));
        one.services.iter().any(near)
    };
    services() && places() && (both_catch || share_subjects(&one.subjects, &other.subjects))
}

/// Whether what stands before the first `*`, and behind the last, leaves room for one name.
pub(super) fn share_names(one: &Pattern, other: &Pattern) -> bool {
    if one.is_any() || other.is_any() {
        return true;
    }
    if one.is_exact() {
        return other.matches(one.as_str());
    }
    if other.is_exact() {
        return one.matches(other.as_str());
    }
    let (a, b) = (before(one), before(other));
    let (x, y) = (behind(one), behind(other));
    (a.starts_with(b) || b.starts_with(a)) && (x.ends_with(y) || y.ends_with(x))
}

fn before(pattern: &Pattern) -> &str {
    pattern.as_str().split('*').next().unwrap_or_default()
}

fn behind(pattern: &Pattern) -> &str {
    pattern.as_str().rsplit('*').next().unwrap_or_default()
}

fn share_place(one: &Place, other: &Place, by_address_alone: bool) -> bool {
    match (one, other) {
        (Place::Local(one), Place::Local(other)) => share_names(one, other),
        (Place::Remote(one), Place::Remote(other)) => share_address(one, other, by_address_alone),
        _ => false,
    }
}

fn share_address(one: &Address, other: &Address, by_address_alone: bool) -> bool {
    let scheme = match (&one.scheme, &other.scheme) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let ports = match (one.ports, other.ports) {
        (Ports::Range(low, high), Ports::Range(first, last)) => low <= last && first <= high,
        _ => true,
    };
    let hosts = match (&one.hosts, &other.hosts) {
        (Hosts::Network(one), Hosts::Network(other)) => one.contains(other) || other.contains(one),
        (one, other) => by_address_alone || share_hosts(one, other),
    };
    scheme && ports && hosts
}

fn share_hosts(one: &Hosts, other: &Hosts) -> bool {
    match (one, other) {
        (Hosts::Name(one), Hosts::Name(other)) => one == other,
        (Hosts::Below(_), Hosts::Name(name)) => one.has_name(name.as_str()),
        (Hosts::Name(name), Hosts::Below(_)) => other.has_name(name.as_str()),
        (Hosts::Below(domain), Hosts::Below(below)) => {
            domain == below || one.has_name(below.as_str()) || other.has_name(domain.as_str())
        }
        _ => true,
    }
}

fn share_subjects(one: &Subjects, other: &Subjects) -> bool {
    let users = share_accounts(&one.users, &other.users);
    let units = one.units.is_empty()
        || other.units.is_empty()
        || one.units.iter().any(|unit| other.units.iter().any(|other| share_names(unit, other)));
    users && units
}

fn share_accounts(some: &[Account], others: &[Account]) -> bool {
    let known = |account: &Account| others.iter().any(|other| other.id == account.id);
    some.is_empty() || others.is_empty() || some.iter().any(known)
}
