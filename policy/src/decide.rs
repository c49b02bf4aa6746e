//! Where a name leads for whoever asks, and whether that is allowed: route and verdict together.

use libipc::identity::LocalIdentity;
use libipc::name::ServiceName;
use std::net::IpAddr;

use crate::config::Config;
use crate::cure::cure;
use crate::evaluate::{evaluate, evaluate_recording};
use crate::explain::{Considered, Told};
use crate::host::Host;
use crate::peer::Peer;
use crate::query::{Query, Verdict};
use crate::route::{Asker, Hop, Route, RouteError, routes};
use crate::rule::Direction;
use crate::target::{RemoteTarget, Target};

/// Who asks for what.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// The name that is asked for.
    pub asked: &'r ServiceName,
    /// The client's `IPC_NETWORK`, whole or only the entries of the name. Of no effect for a peer
    /// on another host.
    pub network: Option<&'r str>,
    /// Who asks.
    pub asker: Asker<'r>,
    /// The user that a service of this host belongs to, if there is one that is known.
    pub service_owner: &'r dyn Fn(&ServiceName) -> Option<u32>,
}

/// What is to be done about a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The ways that the name leads, in the order in which they are to be tried; at least one.
    pub candidates: Vec<Candidate>,
}

/// One way that a name leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// How it leads there; empty if the name leads to the service of this host that has it.
    pub hops: Vec<Hop>,
    /// Where it ends.
    pub target: Target,
    /// The service that policy was asked about: the last name that the client chose.
    pub service: ServiceName,
    /// Which rules were asked.
    pub direction: Direction,
    /// What they say.
    pub verdict: Verdict,
}

/// A decision with everything that led to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// As in [`Decision`].
    pub candidates: Vec<Explained>,
}

/// One way that a name leads, and the rules that were looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explained {
    /// The way.
    pub candidate: Candidate,
    /// The rules of its direction, in their order, up to the one that decided.
    pub considered: Vec<Considered>,
    /// How many of them are left out, where there are very many: none that decided.
    pub omitted: usize,
}

/// Decides about `request`.
///
/// # Errors
///
/// [`RouteError`] if the name leads nowhere. That rules deny every way is no error: the candidates
/// say so.
pub fn decide(config: &Config, request: &Request<'_>) -> Result<Decision, RouteError> {
    let explained = judge_all(config, request, |query, _| evaluate(&config.rules, query))?;
    Ok(Decision { candidates: explained.into_iter().map(|one| one.candidate).collect() })
}

/// Decides about `request` and tells why, by the same code as [`decide`].
///
/// # Errors
///
/// As [`decide`].
pub fn explain(config: &Config, request: &Request<'_>) -> Result<Explanation, RouteError> {
    let candidates = judge_all(config, request, |query, told| {
        evaluate_recording(&config.rules, query, &mut |rule, outcome| {
            told.look_at(rule, outcome, query);
        })
    })?;
    Ok(Explanation { candidates })
}

/// Decides once more about a target whose address is known now: that of the peer of what the
/// transport daemon brought. The verdict names the rule that decided about this very address.
#[must_use]
pub fn recheck(
    config: &Config,
    service: &ServiceName,
    target: &RemoteTarget,
    asker: Asker<'_>,
    address: IpAddr,
) -> Verdict {
    let asker = &local_facts(asker);
    let query = Query::Out { service, target, address: Some(address), asker };
    let asked_for = target.host.address();
    if asked_for.is_some_and(|asked_for| asked_for != address.to_canonical()) {
        return Verdict::Deny {
            rule: None,
            reason: format!("{address} is not the address that was asked for"),
            cure: cure(&query, None),
        };
    }
    evaluate(&config.rules, &query)
}

/// What is answered about an `address` that turned out to be one of this very host, where `verdict`
/// lets it pass by a rule that does not name it.
#[must_use]
pub fn refuse_own(
    service: &ServiceName,
    target: &RemoteTarget,
    asker: &LocalIdentity,
    (address, verdict): (IpAddr, &Verdict),
) -> Verdict {
    let named = RemoteTarget { host: Host::from(address), ..target.clone() };
    let query = Query::Out { service, target: &named, address: Some(address), asker };
    Verdict::Deny {
        rule: None,
        reason: format!("{address} is an address of this host, and no rule names it"),
        cure: cure(&query, verdict.rule()),
    }
}

/// Asks `judge` about every way that the request leads.
fn judge_all(
    config: &Config,
    request: &Request<'_>,
    mut judge: impl FnMut(&Query<'_>, &mut Told) -> Verdict,
) -> Result<Vec<Explained>, RouteError> {
    let routes = routes(config, request.asked, request.network, request.asker)?;
    let (mut explained, ways) = (Vec::new(), routes.len());
    let mut elsewhere = None;
    for route in routes {
        let mut told = Told::new(ways);
        let judge = &mut |query: &Query<'_>| judge(query, &mut told);
        let Some((direction, verdict)) = judge_route(config, request, &route, judge) else {
            elsewhere = elsewhere.or(route.hops.last().cloned());
            continue;
        };
        let Route { hops, target, service, .. } = route;
        let candidate = Candidate { hops, target, service, direction, verdict };
        let Told { considered, omitted, .. } = told;
        explained.push(Explained { candidate, considered, omitted });
    }
    match elsewhere {
        Some(hop) if explained.is_empty() => Err(RouteError::Elsewhere { hop: Box::new(hop) }),
        _ => Ok(explained),
    }
}

/// Asks about one way; `None` if it is none for this asker.
fn judge_route(
    config: &Config,
    request: &Request<'_>,
    route: &Route,
    judge: &mut dyn FnMut(&Query<'_>) -> Verdict,
) -> Option<(Direction, Verdict)> {
    let service = &route.service;
    match (request.asker, &route.target) {
        (Asker::Local(asker), Target::Local(target)) => {
            let owner = (request.service_owner)(target);
            let query = Query::Local { service, target, asker, owner };
            Some((Direction::Local, judge(&query)))
        }
        (Asker::Local(asker), Target::Remote(target)) => {
            let query = Query::Out { service, target, address: None, asker };
            Some((Direction::Out, judge(&query)))
        }
        (Asker::Remote(peer, _), Target::Local(_)) => Some((
            Direction::In,
            judge(&Query::In { service, peer: Peer::of(peer, config.schemes()) }),
        )),
        // Nobody comes here to be led on to another host.
        (Asker::Remote(..), Target::Remote(_)) => None,
    }
}

/// What rules of direction `out` may know of an asker: nothing, of a peer on another host.
fn local_facts(asker: Asker<'_>) -> LocalIdentity {
    match asker {
        Asker::Local(identity) => identity.clone(),
        Asker::Remote(..) => LocalIdentity::default(),
    }
}

#[cfg(test)]
mod tests;
