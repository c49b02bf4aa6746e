//! All rules, in their order, and found quickly.

use std::collections::HashMap;

use crate::address::{Address, Hosts, Place};
use crate::merge::Merge;
use crate::pattern::Pattern;
use crate::rule::{Direction, Rule};
use crate::scheme::Schemes;
use crate::subject::Subjects;

/// The rules of a configuration. In each direction, the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    schemes: Schemes,
    lists: [List; 3],
}

/// The rules of one direction.
#[derive(Clone, Debug, Default)]
struct List {
    rules: Vec<Rule>,
    /// Indices of the rules about services without wildcards, by service.
    by_service: HashMap<Box<str>, Vec<usize>>,
    /// Indices of the other rules about hosts with a name, by that name.
    by_host: HashMap<Box<str>, Vec<usize>>,
    /// Indices of all other rules.
    others: Vec<usize>,
}

impl Rules {
    /// Takes `rules` in their order. `schemes` are those that they were read with.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>, schemes: Schemes) -> Self {
        let mut lists = <[List; 3]>::default();
        for rule in rules {
            let [out, inward, local] = &mut lists;
            let list = match rule.direction {
                Direction::Out => out,
                Direction::In => inward,
                Direction::Local => local,
            };
            list.add(rule);
        }
        Self { schemes, lists }
    }

    /// The schemes that the rules were read with.
    #[must_use]
    pub fn schemes(&self) -> &Schemes {
        &self.schemes
    }

    /// All rules of `direction`, in their order.
    #[must_use]
    pub fn all(&self, direction: Direction) -> &[Rule] {
        &self.list(direction).rules
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.iter().map(|list| list.rules.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rules of `direction` that may be about `service`, at a place that has the name `host` or
    /// none, in their order: all that are, and some that are not.
    pub fn about<'r>(
        &'r self,
        direction: Direction,
        service: &str,
        host: Option<&str>,
    ) -> impl Iterator<Item = &'r Rule> + use<'r> {
        let list = self.list(direction);
        let of_service = list.by_service.get(service).map(Vec::as_slice).unwrap_or_default();
        let of_host = host.and_then(|host| list.by_host.get(host));
        let of_host = of_host.map(Vec::as_slice).unwrap_or_default();
        let indices = Merge::new([of_service, of_host, &list.others]);
        indices.filter_map(|index| list.rules.get(index))
    }

    /// Who every rule is about, to look accounts up again.
    pub(crate) fn subjects(&mut self) -> impl Iterator<Item = &mut Subjects> {
        let rules = self.lists.iter_mut().flat_map(|list| &mut list.rules);
        rules.map(|rule| &mut rule.subjects)
    }

    /// The rules that name accounts that do not exist, in their order.
    pub fn dormant(&self) -> impl Iterator<Item = &Rule> {
        let rules = self.lists.iter().flat_map(|list| &list.rules);
        rules.filter(|rule| !rule.subjects.dormant().is_empty())
    }

    fn list(&self, direction: Direction) -> &List {
        let [out, inward, local] = &self.lists;
        match direction {
            Direction::Out => out,
            Direction::In => inward,
            Direction::Local => local,
        }
    }
}

impl List {
    fn add(&mut self, rule: Rule) {
        let index = self.rules.len();
        let enter = |map: &mut HashMap<Box<str>, Vec<usize>>, key: &str| {
            let of_key = map.entry(key.into()).or_default();
            if of_key.last() != Some(&index) {
                of_key.push(index);
            }
        };
        if rule.services.iter().all(Pattern::is_exact) {
            for service in &rule.services {
                enter(&mut self.by_service, service.as_str());
            }
        } else if let Some(names) = host_names(&rule) {
            for name in names {
                enter(&mut self.by_host, name);
            }
        } else {
            self.others.push(index);
        }
        self.rules.push(rule);
    }
}

/// The names of all places of a rule of direction `out`, if each of them is a name.
fn host_names(rule: &Rule) -> Option<Vec<&str>> {
    let all: Option<Vec<&str>> = rule.places.iter().map(host_name).collect();
    all.filter(|_| rule.direction == Direction::Out)
}

fn host_name(place: &Place) -> Option<&str> {
    match place {
        Place::Remote(Address { hosts: Hosts::Name(name), .. }) => Some(name.as_str()),
        Place::Remote(_) | Place::Local(_) => None,
    }
}
