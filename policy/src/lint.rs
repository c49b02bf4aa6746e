//! Lines of a configuration that are valid and probably not meant.
//!
//! Only what is certain is reported, so that a warning is worth reading.

use settings::Problem;

use crate::address::{Address, Hosts, Place};
use crate::config::{Config, Warning, WarningKind};
use crate::described::Invented;
use crate::pattern::Pattern;
use crate::rule::{Action, Direction, Rule};
use crate::scheme::Schemes;

use self::dead::{Use, judge};
use self::effort::{Effort, Exhausted};
use self::overlap::Neighbours;

mod dead;
mod drawing;
mod effort;
mod overlap;
mod redirects;
mod region;
mod words;

/// How much work it may be to find rules without effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Thoroughness {
    /// So much that a broker which reads its configuration is not kept from its clients.
    Quick,
    /// So much that somebody who has asked for it waits.
    Thorough,
}

impl Thoroughness {
    fn steps(self) -> u64 {
        match self {
            Self::Quick => 1_000_000,
            Self::Thorough => 200_000_000,
        }
    }

    /// For one rule.
    fn steps_most(self) -> u64 {
        match self {
            Self::Quick => 20_000,
            Self::Thorough => 20_000_000,
        }
    }
}

/// What is odd about `config`, in the order of directions and rules, then of redirects.
#[must_use]
pub fn lint(config: &Config, thoroughness: Thoroughness) -> Vec<Warning> {
    let mut problems = Vec::new();
    let mut open = Open::default();
    // A rule about somebody who does not exist is looked at as if he did.
    let invented = Invented::default();
    let mut awake = config.clone();
    awake.wake(&invented);
    let effort = Effort::new(thoroughness.steps());
    for direction in [Direction::Out, Direction::In, Direction::Local] {
        let rules = awake.rules.all(direction);
        let neighbours = Neighbours::of(rules);
        for (own, rule) in rules.iter().enumerate() {
            let share = effort.share(thoroughness.steps_most());
            match use_of(&neighbours, own, config.schemes(), &share) {
                Ok((found, near)) => problems.extend(idle(config, rule, found, &near)),
                Err(Exhausted) => open.add(rule),
            }
            effort.return_rest(&share);
            problems.extend(opens_all(rule));
        }
    }
    problems.extend(redirects::lint(config));
    let lint = problems.into_iter().map(|problem| Warning { kind: WarningKind::Lint, problem });
    let open = open.problem().map(|problem| Warning { kind: WarningKind::Open, problem });
    lint.chain(open).collect()
}

/// What the rule `own` is good for, and the rules that were compared with it.
fn use_of<'r>(
    neighbours: &Neighbours<'r>,
    own: usize,
    schemes: &Schemes,
    effort: &Effort,
) -> Result<(Use, Vec<&'r Rule>), Exhausted> {
    let near = neighbours.around(own, effort)?;
    let place = near.iter().position(|other| *other == own).unwrap_or_default();
    let near = neighbours.rules(&near);
    let Some(rule) = near.get(place) else { return Ok((Use::Matters, near)) };
    if is_last_word(rule) && !near.iter().take(place).any(|other| is_last_word(other)) {
        return Ok((Use::Matters, near));
    }
    Ok((judge(&near, place, schemes, effort)?, near))
}

/// Whether a rule denies everything: what would happen anyway, said so that it can be read.
fn is_last_word(rule: &Rule) -> bool {
    rule.action == Action::Deny && is_everything(rule)
}

fn is_everything(rule: &Rule) -> bool {
    rule.services.iter().any(Pattern::is_any)
        && rule.subjects.is_everybody()
        && (rule.places.is_empty() || rule.places.iter().any(is_everywhere))
}

/// Rules about which there was no time to say anything.
#[derive(Default)]
struct Open {
    first: Option<Problem>,
    others: usize,
}

impl Open {
    fn add(&mut self, rule: &Rule) {
        if self.first.is_some() {
            self.others += 1;
            return;
        }
        let message = "there are too many rules to find out whether this one matters";
        self.first = Some(Problem::new(&rule.position, message));
    }

    fn problem(self) -> Option<Problem> {
        let help = match self.others {
            0 => "ipc check takes more time for it than a broker that starts".to_owned(),
            others => format!("and {others} others; ipc check takes more time for it"),
        };
        Some(self.first?.with_help(help))
    }
}

/// What is said of a rule without effect.
fn idle(config: &Config, rule: &Rule, found: Use, near: &[&Rule]) -> Option<Problem> {
    let problem = |message: String| Problem::new(&rule.position, message);
    let name = |index: usize| near.get(index).map(|other| (other, other.text.source()));
    Some(match found {
        Use::Matters => return None,
        Use::NeverMatches => match contradiction(config.schemes(), rule) {
            Some(problem) => problem,
            None => problem("the rule never matches: nothing can be as it wants it".to_owned())
                .with_help("what it names exists nowhere, or excludes each other: correct it"),
        },
        Use::Behind(other) => {
            let (other, source) = name(other)?;
            problem(format!("the rule never decides: `{other}` stands before it"))
                .with_help(format_args!("that is at {source}; the first rule that matches decides"))
        }
        Use::BehindSeveral => {
            problem("the rule never decides: rules before it take all that it is about".to_owned())
                .with_help("the first rule that matches decides")
        }
        Use::Idle(Some(other)) => {
            let (other, source) = name(other)?;
            problem(format!("the rule changes nothing: without it `{other}` decides the same"))
                .with_help(format_args!("that is at {source}"))
        }
        Use::Idle(None) if rule.action == Action::Deny => {
            problem("the rule changes nothing: no rule behind it lets this pass".to_owned())
                .with_help("leave it out, or give it a reason, which whoever is refused is told")
        }
        Use::Idle(None) => {
            let message = "the rule changes nothing: root and the owner of a service are allowed";
            problem(message.to_owned()).with_help("leave it out")
        }
    })
}

/// A rule of direction `in` that no peer can match.
fn contradiction(schemes: &Schemes, rule: &Rule) -> Option<Problem> {
    if rule.direction != Direction::In || !rule.action.lets_pass() {
        return None;
    }
    let needs_proof = |address: &Address| match &address.hosts {
        Hosts::Any => !rule.subjects.anonymous,
        Hosts::Name(_) | Hosts::Below(_) => true,
        Hosts::Localhost | Hosts::Network(_) => false,
    };
    let impossible = |address: &Address| {
        let proves = |scheme: &str| schemes.proves_names(scheme) && !rule.subjects.anonymous;
        needs_proof(address) && address.scheme.as_deref().is_some_and(|scheme| !proves(scheme))
    };
    let mut addresses = rule.places.iter().filter_map(|place| match place {
        Place::Remote(address) => Some(address),
        Place::Local(_) => None,
    });
    let all = addresses.all(impossible);
    all.then(|| {
        let message = "the rule never matches: of such a peer nothing is proven but its address";
        let help = "write addresses, or `for anonymous` beside an address of *";
        Problem::new(&rule.position, message).with_help(help)
    })
}

fn opens_all(rule: &Rule) -> Option<Problem> {
    (rule.action == Action::Permissive && is_everything(rule)).then(|| {
        let message = format!("the rule lets everything pass in direction {}", rule.direction);
        Problem::new(&rule.position, message)
            .with_help("name the services or the places that are to be tried out")
    })
}

fn is_everywhere(place: &Place) -> bool {
    matches!(place, Place::Remote(Address { scheme: None, hosts: Hosts::Any, .. }))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
