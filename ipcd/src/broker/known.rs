//! The names that a client could have meant.

use std::collections::BTreeSet;

use libipc::identity::LocalIdentity;
use libipc::interface::broker::BrokerError;
use libipc::name::ServiceName;

use super::{Broker, Moment};

/// Names that are looked at, and so told, at most.
const MOST: usize = 32;

impl Broker {
    /// Adds to the error that a name is unknown those which the client may reach.
    pub(super) fn with_known(
        &self,
        error: BrokerError,
        identity: &LocalIdentity,
        at: Moment<'_>,
    ) -> BrokerError {
        match error {
            BrokerError::UnknownService { service, known } if known.is_empty() => {
                let known = self.known_to(identity, at);
                BrokerError::UnknownService { service, known }
            }
            error => error,
        }
    }

    /// Names of the configuration and of services that have registered, as far as policy lets this
    /// client reach what they lead to.
    fn known_to(&self, identity: &LocalIdentity, at: Moment<'_>) -> Vec<String> {
        let redirects = self.live.config.redirects.all().iter();
        let redirected = redirects.filter_map(|one| ServiceName::new(one.from.as_str()).ok());
        let own = self.registry.names().chain(self.live.config.services.keys()).cloned();
        let names = looked_at(own, redirected);
        let may_reach = |name: &&ServiceName| {
            let decision = self.decide(name, None, identity, at);
            decision.is_ok_and(|decision| {
                decision.candidates.iter().any(|candidate| candidate.verdict.is_allow())
            })
        };
        names.iter().filter(may_reach).map(ToString::to_string).collect()
    }
}

/// The names that are looked at: the first ones of the alphabet, where there are too many.
fn looked_at(
    own: impl Iterator<Item = ServiceName>,
    redirected: impl Iterator<Item = ServiceName>,
) -> BTreeSet<ServiceName> {
    let mut names: BTreeSet<_> = own.take(MOST).chain(redirected.take(MOST)).collect();
    while names.len() > MOST {
        names.pop_last();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_names_are_looked_at_as_the_limit_and_no_more() {
        let names = |from: usize, count: usize| {
            (from..from + count).map(|number| ServiceName::new(&format!("s{number:04}")).unwrap())
        };
        let of = |own, redirected| looked_at(names(0, own), names(5_000, redirected)).len();
        assert_eq!([of(32, 0), of(0, 32), of(16, 16)], [32; 3]);
        assert_eq!([of(33, 0), of(0, 33), of(16, 17), of(1_000, 1_000)], [32; 4]);
    }
}
