//! The one place where rules meet a request: the first that matches decides.
//!
//! [`evaluate`] is a pure function of the rules and the [`Query`]. Enforcement, `ipc why` and the
//! second look at an address all call it.

use std::sync::{Arc, LazyLock};

use libipc::identity::LocalIdentity;
use libipc::name::ServiceName;

use crate::address::{Address, Hosts, Place};
use crate::cure::cure;
use crate::fact::Fact;
use crate::peer::{Kind, Peer};
use crate::query::{AddressRule, Query, Verdict};
use crate::rule::{Action, Rule, RuleText, Source};
use crate::rules::Rules;

mod outward;

/// What one rule made of a request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// It is about other services.
    OtherService,
    /// It is about somebody else.
    OtherSubject,
    /// It is about somebody who this may be; nobody can tell.
    UnknownSubject,
    /// It is about other schemes.
    OtherScheme,
    /// It is about other hosts or peers or, in direction `local`, another final service.
    OtherPlace,
    /// It is about other ports.
    OtherPort,
    /// It lets pass whoever has proven something, and nothing is proven about this peer.
    NothingProven,
    /// It lets pass any address but this one, which only a rule that names it lets pass.
    NotNamed,
    /// It decides about some of the addresses that the target's name may have.
    SomeAddresses,
    /// It decides.
    Decides,
}

/// Told of every rule that was looked at, in their order.
pub type Record<'r> = dyn FnMut(&Rule, Outcome) + 'r;

/// Answers `query` by the first of `rules` that matches; what no rule matches is denied.
///
/// A fact that is not known keeps an allow or permissive rule from matching, and lets a deny rule
/// match. In direction `out`, a target that is a name is answered with what the rules say of each
/// network, or denied if no address can pass.
#[must_use]
pub fn evaluate(rules: &Rules, query: &Query<'_>) -> Verdict {
    let decide = || decide(rules, rules.about(query), query, &mut |_, _| {});
    match rules.key(query) {
        // What would allow it names the host, and is no part of what hosts have in common.
        Some(key) => match rules.memo().get_or(key, decide) {
            Verdict::Deny { rule, reason, .. } => {
                let cure = cure(query, rule.as_deref());
                Verdict::Deny { rule, reason, cure }
            }
            allow @ Verdict::Allow { .. } => allow,
        },
        None => decide(),
    }
}

/// As [`evaluate`], and tells `record` of every rule of the direction up to the one that decides.
pub fn evaluate_recording(rules: &Rules, query: &Query<'_>, record: &mut Record<'_>) -> Verdict {
    decide(rules, rules.all(query.direction()).iter(), query, record)
}

fn decide<'r>(
    rules: &Rules,
    considered: impl Iterator<Item = &'r Rule>,
    query: &Query<'_>,
    record: &mut Record<'_>,
) -> Verdict {
    if cfg!(feature = "always-deny") {
        return refused(query, "this program was built to deny everything".to_owned());
    }
    match query {
        Query::Out { target, address, asker, .. } => outward::decide(
            &outward::Goal::new(target, *address, asker, rules.schemes()),
            considered,
            query,
            record,
        ),
        Query::In { peer, .. } => {
            let found = first(considered, record, |rule| {
                concerns(rule, query, |rule| rule.subjects.match_remote(peer))?;
                inward_place(rule, peer)
            });
            found.map_or_else(|| unmatched(query), |rule| matched(rule, query, Vec::new()))
        }
        Query::Local { target, asker, owner, .. } => {
            let found = first(considered, record, |rule| {
                concerns(rule, query, |rule| rule.subjects.match_local(asker))?;
                local_place(rule, target)
            });
            match found {
                Some(rule) => matched(rule, query, Vec::new()),
                None if owns(asker, *owner) => built_in_allow(),
                None => unmatched(query),
            }
        }
    }
}

/// The first rule that `matches`.
fn first<'r>(
    mut considered: impl Iterator<Item = &'r Rule>,
    record: &mut Record<'_>,
    matches: impl Fn(&Rule) -> Result<(), Outcome>,
) -> Option<&'r Rule> {
    considered.find(|rule| {
        let outcome = matches(rule).err();
        record(rule, outcome.unwrap_or(Outcome::Decides));
        outcome.is_none()
    })
}

/// Whether `rule` is about this service and, as `subject` says, about whoever asks.
fn concerns(
    rule: &Rule,
    query: &Query<'_>,
    subject: impl Fn(&Rule) -> Fact,
) -> Result<(), Outcome> {
    let service = query.service().as_str();
    if !rule.services.iter().any(|pattern| pattern.matches(service)) {
        return Err(Outcome::OtherService);
    }
    require(subject(rule), rule.action, Outcome::OtherSubject, Outcome::UnknownSubject)
}

/// The rule about unknown facts, in one place: they hold for a deny rule, and for no other.
fn require(fact: Fact, action: Action, no: Outcome, unknown: Outcome) -> Result<(), Outcome> {
    match fact {
        Fact::True => Ok(()),
        Fact::False => Err(no),
        Fact::Unknown if action == Action::Deny => Ok(()),
        Fact::Unknown => Err(unknown),
    }
}

/// Whether `rule`, which matches `query`, does so only because something about whoever asks is not
/// known.
pub(crate) fn matches_in_doubt(rule: &Rule, query: &Query<'_>) -> bool {
    match query {
        Query::Out { asker, .. } | Query::Local { asker, .. } => {
            rule.subjects.match_local(asker) == Fact::Unknown
        }
        Query::In { peer, .. } => {
            // One that lets pass matches what is known, and nothing else.
            let certain = Rule { action: Action::Allow, ..rule.clone() };
            rule.subjects.match_remote(peer) == Fact::Unknown
                || inward_place(&certain, peer) == Err(Outcome::NothingProven)
        }
    }
}

fn local_place(rule: &Rule, target: &ServiceName) -> Result<(), Outcome> {
    let leads_there = |place: &Place| match place {
        Place::Local(pattern) => pattern.matches(target.as_str()),
        Place::Remote(_) => false,
    };
    let fits = rule.places.is_empty() || rule.places.iter().any(leads_there);
    if fits { Ok(()) } else { Err(Outcome::OtherPlace) }
}

fn inward_place(rule: &Rule, peer: &Peer<'_>) -> Result<(), Outcome> {
    nearest_place(rule, |address| {
        if !address.has_scheme(peer.scheme) {
            return Err(Outcome::OtherScheme);
        }
        let proven = proven(rule, &address.hosts, peer);
        require(proven, rule.action, Outcome::OtherPlace, Outcome::NothingProven)
    })
}

/// Whether the peer has proven to be one of `hosts`. An address needs no proof but the connection.
fn proven(rule: &Rule, hosts: &Hosts, peer: &Peer<'_>) -> Fact {
    match hosts {
        Hosts::Any if rule.subjects.anonymous || !peer.is_anonymous() => Fact::True,
        Hosts::Any => Fact::Unknown,
        Hosts::Name(_) | Hosts::Below(_) => peer.has_proven(Kind::Dns, |name| hosts.has_name(name)),
        Hosts::Localhost | Hosts::Network(_) => peer.is_inside(hosts.networks()),
    }
}

/// The outcome of the place of `rule` that comes nearest to matching.
fn nearest_place(
    rule: &Rule,
    place: impl Fn(&Address) -> Result<(), Outcome>,
) -> Result<(), Outcome> {
    let mut nearest = Outcome::OtherScheme;
    for address in addresses(rule) {
        match place(address) {
            Ok(()) => return Ok(()),
            Err(outcome) => nearest = nearest.max(outcome),
        }
    }
    Err(nearest)
}

/// The places of a rule of direction `out` or `in`.
fn addresses(rule: &Rule) -> impl Iterator<Item = &Address> {
    rule.places.iter().filter_map(|place| match place {
        Place::Remote(address) => Some(address),
        Place::Local(_) => None,
    })
}

/// The last rule of direction `local`, which is not written down.
fn owns(asker: &LocalIdentity, owner: Option<u32>) -> bool {
    asker.uid.is_some_and(|uid| uid == 0 || owner == Some(uid))
}

fn built_in_allow() -> Verdict {
    Verdict::Allow { rule: Arc::clone(&OWNER), permissive: false, addresses: Arc::default() }
}

fn matched(rule: &Rule, query: &Query<'_>, addresses: Vec<AddressRule>) -> Verdict {
    let text = Arc::clone(&rule.text);
    match rule.action {
        Action::Deny => Verdict::Deny {
            cure: cure(query, Some(&text)),
            rule: Some(text),
            reason: rule.reason.as_deref().unwrap_or("a rule denies it").to_owned(),
        },
        Action::Allow | Action::Permissive => {
            let (permissive, addresses) = (rule.action == Action::Permissive, addresses.into());
            Verdict::Allow { rule: text, permissive, addresses }
        }
    }
}

fn unmatched(query: &Query<'_>) -> Verdict {
    let reason = match query {
        Query::In { peer, .. } if peer.is_anonymous() => {
            "nothing is proven about the peer but its address, and no rule allows that"
        }
        Query::Out { .. } | Query::In { .. } | Query::Local { .. } => "no rule allows it",
    };
    refused(query, reason.to_owned())
}

fn refused(query: &Query<'_>, reason: String) -> Verdict {
    Verdict::Deny { rule: None, reason, cure: cure(query, None) }
}

/// The rule behind all others of direction `local`.
static OWNER: LazyLock<Arc<RuleText>> = LazyLock::new(|| {
    let text = "allow local * for the owner of the service and root";
    Arc::new(RuleText::new(text, Source::BuiltIn))
});

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
