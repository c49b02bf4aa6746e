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
        let names: BTreeSet<ServiceName> = self
            .registry
            .names()
            .chain(self.live.config.services.keys())
            .take(MOST)
            .cloned()
            .chain(redirected.take(MOST))
            .collect();
        let may_reach = |name: &&ServiceName| {
            let decision = self.decide(name, None, identity, at);
            decision.is_ok_and(|decision| {
                decision.candidates.iter().any(|candidate| candidate.verdict.is_allow())
            })
        };
        names.iter().take(MOST).filter(may_reach).map(ToString::to_string).collect()
    }
}
