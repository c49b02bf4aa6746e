//! From a name to where it leads: what the client wishes, else redirects, else this host.

use std::fmt;

use libipc::identity::{LocalIdentity, RemoteIdentity};
use libipc::name::ServiceName;
use libipc::network::{self, NetworkError};

use crate::config::Config;
use crate::rule::Source;
use crate::target::{Author, Target, TargetError};

/// Redirects that one name may pass, and hops between hosts that one request may make.
pub const HOPS_MOST: usize = 8;

/// Ways that one name may lead.
pub const CANDIDATES_MOST: usize = 32;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A program of this host.
    Local(&'a LocalIdentity),
    /// A peer on another host, and how many hosts the request has passed.
    Remote(&'a RemoteIdentity, u8),
}

/// One step of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// The name that was looked up.
    pub name: ServiceName,
    /// Where it led, in the form that rules use; without secrets.
    pub target: String,
    /// Where that is written.
    pub source: Source,
}

/// One end that a name leads to.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) hops: Vec<Hop>,
    pub(crate) target: Target,
    /// The last name that the client chose: the one that policy is asked about.
    pub(crate) service: ServiceName,
}

/// All ways that `name` leads, in the order in which they are to be tried.
pub(crate) fn routes(
    config: &Config,
    name: &ServiceName,
    network: Option<&str>,
    asker: Asker<'_>,
) -> Result<Vec<Route>, RouteError> {
    let identity = match asker {
        Asker::Local(identity) => Some(identity),
        Asker::Remote(_, hops) if usize::from(hops) > HOPS_MOST => {
            return Err(RouteError::TooManyHosts);
        }
        Asker::Remote(..) => None,
    };
    let mut walk = Walk { config, asker: identity, routes: Vec::new() };
    let wishes = match (identity, network) {
        (Some(_), Some(text)) => wishes(config, name, text)?,
        _ => Vec::new(),
    };
    if wishes.is_empty() {
        walk.look_up(name, Vec::new(), name)?;
    }
    for target in wishes {
        let hop = Hop { name: name.clone(), target: target.to_string(), source: Source::Client };
        match target {
            Target::Local(next) => walk.look_up(&next, vec![hop], &next)?,
            Target::Remote(remote) => {
                let service = remote.service.clone().unwrap_or_else(|| name.clone());
                let target = Target::Remote(remote);
                walk.end(Route { hops: vec![hop], target, service })?;
            }
        }
    }
    Ok(walk.routes)
}

fn wishes(config: &Config, name: &ServiceName, text: &str) -> Result<Vec<Target>, RouteError> {
    let entries = network::parse(text).map_err(RouteError::Network)?;
    let own = entries.into_iter().filter(|entry| entry.name == *name);
    own.map(|entry| {
        Target::parse(entry.target.expose(), Author::Client, config.schemes())
            .map_err(|error| RouteError::Wish { name: entry.name, error })
    })
    .collect()
}

struct Walk<'w> {
    config: &'w Config,
    asker: Option<&'w LocalIdentity>,
    routes: Vec<Route>,
}

impl Walk<'_> {
    /// Follows `name` through redirects to its ends.
    fn look_up(
        &mut self,
        name: &ServiceName,
        hops: Vec<Hop>,
        service: &ServiceName,
    ) -> Result<(), RouteError> {
        let Some(redirect) = self.config.redirects.first(name, self.asker) else {
            let target = Target::Local(name.clone());
            return self.end(Route { hops, target, service: service.clone() });
        };
        let passed = hops.iter().filter(|hop| hop.source != Source::Client).count();
        if passed >= HOPS_MOST {
            return Err(RouteError::TooManyHops { name: name.clone() });
        }
        for destination in &redirect.to {
            let target = destination.of(name, self.config.schemes()).map_err(|error| {
                RouteError::Redirect { name: name.clone(), at: redirect.source.clone(), error }
            })?;
            let mut hops = hops.clone();
            let (target_text, source) = (target.to_string(), redirect.source.clone());
            hops.push(Hop { name: name.clone(), target: target_text, source });
            let service = service.clone();
            match target {
                Target::Local(next) => self.look_up(&next, hops, &service)?,
                Target::Remote(_) => {
                    self.end(Route { hops, target, service })?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, route: Route) -> Result<(), RouteError> {
        if self.routes.len() >= CANDIDATES_MOST {
            return Err(RouteError::TooManyCandidates);
        }
        self.routes.push(route);
        Ok(())
    }
}

/// Why a name leads nowhere. No text of it shows a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RouteError {
    /// The client's `IPC_NETWORK` cannot be read.
    Network(NetworkError),
    /// The client's `IPC_NETWORK` has no target for this name.
    Wish {
        /// The name.
        name: ServiceName,
        /// What is wrong with its target.
        error: TargetError,
    },
    /// A redirect makes no target of this name.
    Redirect {
        /// The name.
        name: ServiceName,
        /// The redirect.
        at: Source,
        /// What is wrong with what it makes.
        error: TargetError,
    },
    /// More than [`HOPS_MOST`] redirects, one after the other.
    TooManyHops {
        /// The name that would be led on.
        name: ServiceName,
    },
    /// The request has passed more than [`HOPS_MOST`] hosts.
    TooManyHosts,
    /// More than [`CANDIDATES_MOST`] ways.
    TooManyCandidates,
    /// A peer on another host asked for what does not end on this one.
    Elsewhere {
        /// The last step of the first way that the name leads.
        hop: Box<Hop>,
    },
}

/// What there is to be done where a peer asks for what lies on another host.
pub const ELSEWHERE_CURE: &str =
    "lead to it on the host where the peer is, by a redirect and a rule there";

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(error) => error.fmt(f),
            Self::Wish { name, error } => write!(f, "IPC_NETWORK, {name}: {error}"),
            Self::Redirect { name, at, error } => {
                write!(f, "the redirect {at} makes no target of {name}: {error}")
            }
            Self::TooManyHops { name } => {
                write!(f, "{name} would be led on after {HOPS_MOST} redirects, which is the most")
            }
            Self::TooManyHosts => {
                write!(f, "the request has passed more than {HOPS_MOST} hosts")
            }
            Self::TooManyCandidates => {
                write!(f, "the name leads more than {CANDIDATES_MOST} ways, which is the most")
            }
            Self::Elsewhere { hop } => write!(
                f,
                "{} is led to {} ({}), and peers of other hosts are led on within this host alone",
                hop.name, hop.target, hop.source
            ),
        }
    }
}

impl std::error::Error for RouteError {}
