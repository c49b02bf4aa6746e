//! Redirects that are never used, or that lead nowhere.

use std::collections::HashMap;

use settings::Problem;

use super::overlap::share_names;
use crate::address::Place;
use crate::config::Config;
use crate::redirect::{Destination, Redirect};
use crate::rule::{Direction, Rule};
use crate::target::{RemoteTarget, Target};

/// What is odd about the redirects of `config`, in their order.
pub(super) fn lint(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = HashMap::new();
    for redirect in config.redirects.all() {
        problems.extend(never_used(redirect, &mut seen));
        problems.extend(leads_nowhere(config, redirect));
    }
    problems
}

/// A redirect behind another one of the same names in the same file.
fn never_used<'c>(
    redirect: &'c Redirect,
    seen: &mut HashMap<(&'c str, &'c str), &'c Redirect>,
) -> Option<Problem> {
    let key = (&*redirect.position.file, redirect.from.as_str());
    if let Some(earlier) = seen.get(&key) {
        let message = format!("the redirect is never used: {} stands before it", earlier.source);
        return Some(Problem::new(&redirect.position, message));
    }
    if redirect.subjects.is_everybody() {
        seen.insert(key, redirect);
    }
    None
}

/// A redirect to a place that no rule allows, whoever asks.
fn leads_nowhere(config: &Config, redirect: &Redirect) -> Option<Problem> {
    // Where another redirect leads here, the rules are asked about the name that it began with.
    let is_last = config.redirects.all().iter().flat_map(|other| &other.to).any(|to| match to {
        Destination::Name(name) => redirect.from.matches(name.as_str()),
        Destination::NameAround { .. } => true,
        Destination::Place(_) | Destination::PlaceWith(_) => false,
    });
    let is_about = |rule: &Rule| {
        is_last || rule.services.iter().any(|service| share_names(service, &redirect.from))
    };
    let mut places = redirect.to.iter().filter_map(|to| match to {
        Destination::Place(place) => Some(place),
        _ => None,
    });
    let forbidden = places.find(|place| {
        let mut rules = config.rules.all(Direction::Out).iter();
        !rules.any(|rule| rule.action.lets_pass() && is_about(rule) && may_match(rule, place))
    })?;
    let target = Target::Remote(forbidden.as_ref().clone());
    let message = format!("{} leads to {target}, which no rule allows", redirect.from);
    let whom = &redirect.subjects;
    let whom = if whom.is_everybody() { String::new() } else { format!(" for {whom}") };
    let mut rules = config.rules.all(Direction::Out).iter();
    let denies = rules.find(|rule| is_about(rule) && may_match(rule, forbidden));
    let before = denies.map(|rule| format!("   # before {}", rule.text.source()));
    let before = before.unwrap_or_default();
    let help = format!("allow out {} {}{whom}{before}", redirect.from, forbidden.address());
    Some(Problem::new(&redirect.position, message).with_help(help))
}

fn may_match(rule: &Rule, target: &RemoteTarget) -> bool {
    rule.places.iter().any(|place| match place {
        Place::Local(_) => false,
        Place::Remote(address) => {
            let hosts = &address.hosts;
            let named = target.host.name().is_none_or(|name| hosts.has_name(name));
            address.has_scheme(&target.scheme)
                && address.has_port(&target.scheme, target.port)
                && (named || !hosts.networks().is_empty())
        }
    })
}
