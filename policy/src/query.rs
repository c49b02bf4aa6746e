//! What policy is asked, and what it answers.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use libipc::identity::LocalIdentity;
use libipc::name::ServiceName;

use crate::peer::Peer;
use crate::rule::{Direction, RuleText};
use crate::target::RemoteTarget;

/// One question to policy, with all the facts it is decided by.
#[derive(Clone, Copy, Debug)]
pub enum Query<'q> {
    /// May a program of this host reach a place on another?
    Out {
        /// The service, as the client chose it.
        service: &'q ServiceName,
        /// The place.
        target: &'q RemoteTarget,
        /// The address that the target's name was found to have; `None` while it is a name. Of no
        /// importance if the target is an address itself.
        address: Option<IpAddr>,
        /// The program. What is not known of it is `None`.
        asker: &'q LocalIdentity,
    },
    /// May a peer on another host reach a service of this one?
    In {
        /// The service, as the peer chose it.
        service: &'q ServiceName,
        /// The peer.
        peer: Peer<'q>,
    },
    /// May a program of this host reach a service of this host?
    Local {
        /// The service, as the client chose it.
        service: &'q ServiceName,
        /// The service that this finally leads to.
        target: &'q ServiceName,
        /// The program.
        asker: &'q LocalIdentity,
        /// The user that the final service belongs to, if there is one that is known.
        owner: Option<u32>,
    },
}

impl Query<'_> {
    /// Which rules are asked.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match self {
            Self::Out { .. } => Direction::Out,
            Self::In { .. } => Direction::In,
            Self::Local { .. } => Direction::Local,
        }
    }

    /// The service that is asked for.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Out { service, .. } | Self::In { service, .. } | Self::Local { service, .. } => {
                service
            }
        }
    }
}

/// What policy answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Yes.
    Allow {
        /// The rule that decided. If `addresses` has entries of several rules, the first of those
        /// that let something pass; which one decides is known with the address.
        rule: Arc<RuleText>,
        /// The rule is `permissive`: it would have been a no.
        permissive: bool,
        /// In direction `out`, and where our daemons know addresses: which of the target's
        /// addresses may be tried. The first entry that contains an address decides about it; an
        /// address in none of them is refused. Addresses are compared in their canonical form
        /// (`IpAddr::to_canonical`).
        ///
        /// An address of this very host that is in no special range may be tried only if the
        /// entry that decides about it is that single address: then a rule names it.
        addresses: Arc<[AddressRule]>,
    },
    /// No.
    Deny {
        /// The rule that decided; `None` if no rule matched.
        rule: Option<Arc<RuleText>>,
        /// Why, for people.
        reason: String,
        /// The rule that would allow exactly this; where a rule denies it, its comment says before
        /// which place it has to stand.
        cure: String,
    },
}

/// What a verdict says about the addresses of one network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressRule {
    /// The addresses.
    pub network: IpNet,
    /// Whether they may be tried.
    pub allow: bool,
    /// The rule that says so.
    pub rule: Arc<RuleText>,
}

impl Verdict {
    /// Whether the answer is yes.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The rule that decided, if one did.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleText> {
        match self {
            Self::Allow { rule, .. } => Some(rule),
            Self::Deny { rule, .. } => rule.as_deref(),
        }
    }
}
