//! Which rules of a direction may be about a request, found without looking at each.
//!
//! For every fact of a request there is a table that leads to the rules which want it so. A rule
//! that is in all of the answers may match; one that is missing from any of them does not. So an
//! index may answer too much, never too little, and the evaluator looks at each rule that is left.

use crate::bits::Bits;
use crate::query::Query;
use crate::rule::{Direction, Rule};

use self::asker::Askers;
use self::globs::Globs;
use self::peer::Peers;
use self::target::Targets;

mod asker;
mod globs;
mod peer;
mod postings;
mod ranges;
mod target;

/// The rules of one direction by what they want.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    services: Globs,
    askers: Askers,
    places: Places,
}

/// What stands where a rule has its ADDRESS.
#[derive(Clone, Debug)]
enum Places {
    Targets(Targets),
    Peers(Peers),
    Local(Globs),
}

impl Default for Places {
    fn default() -> Self {
        Self::Local(Globs::default())
    }
}

impl Index {
    /// Takes the rules of `direction`, in their order.
    pub(crate) fn of(rules: &[Rule], direction: Direction) -> Self {
        let services = rules.iter().map(|rule| rule.services.as_slice());
        Self {
            services: Globs::of(services),
            askers: Askers::of(rules),
            places: match direction {
                Direction::Out => Places::Targets(Targets::of(rules)),
                Direction::In => Places::Peers(Peers::of(rules)),
                Direction::Local => Places::Local(target::local(rules)),
            },
        }
    }

    /// Whether rules name so many networks that an answer about a name is long.
    pub(crate) fn has_many_networks(&self) -> bool {
        match &self.places {
            Places::Targets(targets) => targets.has_many_networks(),
            Places::Peers(_) | Places::Local(_) => false,
        }
    }

    /// Whether a rule names this host, or a domain that it is in.
    pub(crate) fn is_named(&self, host: &str) -> bool {
        match &self.places {
            Places::Targets(targets) => targets.is_named(host),
            Places::Peers(_) | Places::Local(_) => false,
        }
    }

    /// All rules that may match `query`, and some that do not.
    pub(crate) fn about(&self, query: &Query<'_>) -> Bits {
        let mut rules = self.services.about(query.service().as_str());
        match (query, &self.places) {
            (Query::Out { target, address, asker, .. }, Places::Targets(targets)) => {
                self.askers.narrow(&mut rules, asker);
                targets.narrow(&mut rules, target, *address);
            }
            (Query::In { peer, .. }, Places::Peers(peers)) => peers.narrow(&mut rules, peer),
            (Query::Local { target, asker, .. }, Places::Local(targets)) => {
                self.askers.narrow(&mut rules, asker);
                rules.keep(&targets.about(target.as_str()));
            }
            _ => {}
        }
        rules
    }
}

#[cfg(test)]
mod tests;
