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

    /// All rules that may match `query`, and some that do not. `never_known` says that nobody will
    /// tell the address of its target.
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
