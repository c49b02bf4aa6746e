//! Direction `local`.

use super::asker::{Askers, BEHIND};
use super::{Drawing, Language, all_services, each_with_each, matching, services};
use crate::address::Place;
use crate::lint::effort::{Effort, Exhausted};
use crate::lint::region::{Axis, Block, Region};
use crate::pattern::Pattern;
use crate::rule::Rule;

/// The service that a name finally leads to.
const TARGET: usize = BEHIND;

pub(super) fn draw(rules: &[&Rule], effort: &Effort) -> Result<Drawing, Exhausted> {
    let askers = Askers::of(rules);
    let mut axes = vec![all_services()];
    axes.extend(askers.axes());
    axes.push(Axis::name(Language::Service));
    let requests = askers.requests(&Region(axes), &[Block::new()], effort)?;
    let blocks = |rule: &&Rule| {
        let who = each_with_each(&[services(rule)], &askers.blocks(rule));
        each_with_each(&who, &[target(rule)])
    };
    let rules = rules.iter().map(blocks).collect();
    // Behind all rules the owner of a service passes, who may be anybody, and root.
    let (refused, passed) = (askers.all_but_root(), Some(askers.known_users()));
    Ok(Drawing { requests, rules, refused, passed })
}

fn target(rule: &Rule) -> Block {
    let patterns = rule.places.iter().filter_map(|place| match place {
        Place::Local(pattern) => Some(pattern.clone()),
        Place::Remote(_) => None,
    });
    let patterns: Vec<Pattern> = patterns.collect();
    if patterns.is_empty() { Block::new() } else { vec![(TARGET, matching(&patterns))] }
}
