//! One connection that was handed over.

use std::net::IpAddr;
use std::time::Instant;

use libipc::interface::Identity;
use libipc::interface::control::{Connection, ConnectionKind};
use libipc::name::ServiceName;
use policy::config::Config;
use policy::decide::{Candidate, recheck};
use policy::evaluate::evaluate;
use policy::peer::Peer;
use policy::query::Query;
use policy::resolved::program_of;
use policy::route::Asker;
use policy::rule::Direction;
use policy::target::{RemoteTarget, Target};
use sys::diag::SocketNumber;

use super::ConnectionId;
use crate::action::ClientId;
use crate::answer;

/// One connection that was handed over.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The name that was asked for.
    pub(crate) asked: ServiceName,
    /// The name that policy was asked about.
    pub(crate) service: ServiceName,
    /// Where it led, without user, secret and options.
    pub(crate) target: Target,
    /// The address that answered, where it is known.
    pub(crate) address: Option<IpAddr>,
    /// Which rules were asked.
    pub(crate) direction: Direction,
    /// The one that decided, with where it is written.
    pub(crate) rule: String,
    /// Who has it.
    pub(crate) who: Identity,
    /// How it is carried.
    pub(crate) carried: Carried,
    /// When it was handed over first,
    pub(crate) opened: Instant,
    /// and how often,
    pub(crate) times: u64,
    /// the last time under this configuration.
    pub(crate) revision: u64,
}

/// How a connection is carried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Carried {
    /// The client connects to the service itself, as often as it likes.
    Name,
    /// The client holds a connected socket, of which the kernel knows this number.
    Socket { number: Option<SocketNumber> },
    /// A service took it over on the connection where it registered, under this number. A peer's
    /// TCP connection has a number of the kernel too.
    Registered { registration: ClientId, id: u64, number: Option<SocketNumber> },
    /// A daemon moves the bytes, and knows them under this number.
    Relayed { daemon: String, id: u64 },
}

/// How something was handed over, and the address that answered, where it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Handed {
    /// How it is carried from now on.
    pub(crate) carried: Carried,
    /// The other host's address.
    pub(crate) address: Option<IpAddr>,
}

impl Handed {
    /// Something on this host.
    pub(crate) fn here(carried: Carried) -> Self {
        Self { carried, address: None }
    }
}

/// A client's process: by its number, which may be another process's later.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Process(pub(crate) u32);

impl Entry {
    /// What `candidate` led to for `who`.
    pub(crate) fn new(
        asked: &ServiceName,
        candidate: &Candidate,
        who: Identity,
        handed: Handed,
        opened: Instant,
    ) -> Self {
        Self {
            asked: asked.clone(),
            service: candidate.service.clone(),
            target: without_secrets(&candidate.target),
            address: handed.address,
            direction: candidate.direction,
            rule: answer::rule_with_source(&candidate.verdict),
            who,
            carried: handed.carried,
            opened,
            times: 1,
            revision: 0,
        }
    }

    /// The process with which it ends at the latest.
    pub(super) fn process(&self) -> Option<Process> {
        match (&self.who, &self.carried) {
            (_, Carried::Relayed { .. }) | (Identity::Remote(_), _) => None,
            (Identity::Local(local), _) => local.pid.map(Process),
        }
    }

    /// Whether `config` would deny it. `owner` is the user that a service of this host belongs to.
    pub(crate) fn is_stale(&self, config: &Config, owner: Option<u32>) -> bool {
        let (service, rules) = (&self.service, &config.rules);
        let verdict = match (&self.who, &self.target) {
            (Identity::Remote(peer), _) => {
                let peer = Peer::of(peer, config.schemes());
                evaluate(rules, &Query::In { service, peer })
            }
            (Identity::Local(asker), Target::Local(target)) => {
                evaluate(rules, &Query::Local { service, target, asker, owner })
            }
            (Identity::Local(asker), Target::Remote(target)) => match self.address {
                Some(address) => recheck(config, service, target, Asker::Local(asker), address),
                None => evaluate(rules, &Query::Out { service, target, address: None, asker }),
            },
        };
        !verdict.is_allow()
    }

    /// Who carries the bytes, for people.
    pub(crate) fn carrier(&self) -> String {
        match &self.carried {
            Carried::Name | Carried::Socket { .. } | Carried::Registered { .. } => {
                "direct".to_owned()
            }
            Carried::Relayed { daemon, .. } => format!("through ipcd-{}", program_of(daemon)),
        }
    }

    /// The entry as it travels.
    pub(crate) fn listed(&self, id: ConnectionId, stale: bool, now: Instant) -> Connection {
        let age = now.saturating_duration_since(self.opened).as_millis();
        Connection {
            id: id.0,
            kind: self.kind(),
            service: self.asked.to_string(),
            target: self.target.to_string(),
            direction: self.direction.to_string(),
            rule: self.rule.clone(),
            client: answer::who_is(&self.who),
            opened_ms: u64::try_from(age).unwrap_or(u64::MAX),
            carrier: self.carrier(),
            stale,
            revision: self.revision,
            times: self.times,
            cookie: self.number().map(|number| number.cookie),
            namespace: self.number().and_then(|number| number.namespace),
            who: self.who.clone(),
        }
    }

    fn number(&self) -> Option<SocketNumber> {
        match self.carried {
            Carried::Socket { number } | Carried::Registered { number, .. } => number,
            Carried::Name | Carried::Relayed { .. } => None,
        }
    }

    /// What is listed.
    pub(crate) fn kind(&self) -> ConnectionKind {
        match &self.carried {
            Carried::Name => ConnectionKind::Name,
            Carried::Socket { .. } => ConnectionKind::Socket,
            Carried::Registered { .. } => ConnectionKind::Registered,
            Carried::Relayed { .. } => ConnectionKind::Relayed,
        }
    }
}

/// A table that lives long holds no secret.
fn without_secrets(target: &Target) -> Target {
    match target {
        Target::Local(name) => Target::Local(name.clone()),
        Target::Remote(remote) => Target::Remote(RemoteTarget {
            scheme: remote.scheme.clone(),
            host: remote.host.clone(),
            port: remote.port,
            service: remote.service.clone(),
            user: None,
            secret: None,
            options: std::collections::BTreeMap::new(),
        }),
    }
}
