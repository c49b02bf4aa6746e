//! Rules of one direction as sets of requests: what each wants on each axis in which requests
//! differ. The axes have no more cases than these rules tell apart.

use std::rc::Rc;

use super::effort::{Effort, Exhausted};
use super::region::{Axis, Block, Demand, Region};
use super::words::{Language, Patterns};
use crate::bits::Bits;
use crate::pattern::Pattern;
use crate::rule::{Direction, Rule};
use crate::scheme::Schemes;

mod addresses;
mod asker;
mod inward;
mod local;
mod outward;

/// Some rules of one direction.
pub(super) struct Drawing {
    /// All requests that there can be.
    pub(super) requests: Vec<Region>,
    /// For each rule, in their order, what it matches: what any of these blocks has.
    pub(super) rules: Vec<Vec<Block>>,
    /// Those of the requests that are refused where no rule matches, and those that pass; a
    /// request may be in both, since who owns a service is no part of it.
    pub(super) refused: Block,
    pub(super) passed: Option<Block>,
}

/// Draws `rules`, all of `direction`.
pub(super) fn draw(
    rules: &[&Rule],
    direction: Direction,
    schemes: &Schemes,
    effort: &Effort,
) -> Result<Drawing, Exhausted> {
    match direction {
        Direction::Out => outward::draw(rules, schemes, effort),
        Direction::In => inward::draw(rules, schemes, effort),
        Direction::Local => local::draw(rules, effort),
    }
}

/// The axis of the service, in every direction the first.
const SERVICE: usize = 0;

fn all_services() -> Axis {
    Axis::name(Language::Service)
}

/// What `rule` wants of the service.
fn services(rule: &Rule) -> Block {
    if rule.services.iter().any(Pattern::is_any) {
        return Vec::new();
    }
    vec![(SERVICE, matching(&rule.services))]
}

fn matching(patterns: &[Pattern]) -> Demand {
    Demand::Match(Patterns::from(patterns))
}

fn cases(bound: usize, is_in: impl Fn(usize) -> bool) -> Demand {
    Demand::Cases(Rc::new(Bits::of(bound, is_in)))
}

/// Every block of the one with every block of the other.
fn each_with_each(some: &[Block], others: &[Block]) -> Vec<Block> {
    let joined = |one: &Block| {
        let one = one.clone();
        others.iter().map(move |other| [one.clone(), other.clone()].concat())
    };
    some.iter().flat_map(joined).collect()
}
