//! An explanation in the words of `org.ipcd.Broker.Resolve`, the same from the running broker and
//! from files.

use std::borrow::Cow;
use std::fmt;

use libipc::identity::LocalIdentity;
use libipc::interface::broker::{self, Resolved, Subject};
use libipc::name::ServiceName;

use crate::accounts::Accounts;
use crate::config::Config;
use crate::decide::{Candidate, Explained, Request, explain};
use crate::described::{self, DescribedError};
use crate::explain::Considered;
use crate::query::Verdict;
use crate::route::{Asker, Hop, RouteError};
use crate::rule::{Direction, Source};
use crate::target::Target;

/// Where a name leads for somebody, and why: the question behind `ipc why`.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The name that is asked for.
    pub asked: &'q ServiceName,
    /// The entries of `IPC_NETWORK` for it.
    pub network: Option<&'q str>,
    /// Who asks.
    pub who: Who<'q>,
    /// The user that a service of this host belongs to, if there is one that is known.
    pub service_owner: &'q dyn Fn(&ServiceName) -> Option<u32>,
    /// How clients reach a service of this host now.
    pub service_reach: &'q dyn Fn(&ServiceName) -> Reach,
}

/// How clients reach a service of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Files are asked, which do not know.
    Unknown,
    /// It has registered, and gets the connections on which clients ask.
    Registered,
    /// It has a socket of its own.
    Socket,
    /// In no way now: why, and what to do.
    Unserved(String),
}

/// Who asks in a [`Question`].
#[derive(Clone, Copy, Debug)]
pub enum Who<'w> {
    /// A program that is known, and what people call it.
    Known(&'w LocalIdentity, &'w str),
    /// A program that is described.
    Described(&'w Subject),
    /// A peer on another host, as [`described::peer`] reads it.
    Peer(&'w str),
}

/// Answers a question. Names of accounts in it are looked up in `accounts`.
///
/// # Errors
///
/// [`QuestionError`] if nobody is described, or the name leads nowhere.
pub fn answer(
    config: &Config,
    question: &Question<'_>,
    accounts: &dyn Accounts,
    revision: u64,
) -> Result<Resolved, QuestionError> {
    let ask = |asker: Asker<'_>, who: String| {
        let Question { asked, network, service_owner, .. } = *question;
        let request = Request { asked, network, asker, service_owner };
        let explanation = explain(config, &request).map_err(QuestionError::Route)?;
        Ok(Resolved {
            service: asked.to_string(),
            asker: who,
            revision,
            candidates: explanation
                .candidates
                .iter()
                .map(|explained| of_explained(explained, question.service_reach))
                .collect(),
        })
    };
    match question.who {
        Who::Known(identity, text) => ask(Asker::Local(identity), text.to_owned()),
        Who::Described(subject) => {
            let identity = described::program(subject, accounts)?;
            ask(Asker::Local(&identity), described::program_text(subject))
        }
        Who::Peer(text) => {
            let peer = described::peer(text, config.schemes())?;
            ask(Asker::Remote(&peer, 0), text.to_owned())
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum QuestionError {
    /// Nobody is described.
    Described(DescribedError),
    /// The name leads nowhere.
    Route(RouteError),
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Described(error) => error.fmt(f),
            Self::Route(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QuestionError {}

impl From<DescribedError> for QuestionError {
    fn from(error: DescribedError) -> Self {
        Self::Described(error)
    }
}

fn of_explained(
    explained: &Explained,
    service_reach: &dyn Fn(&ServiceName) -> Reach,
) -> broker::Candidate {
    let candidate = &explained.candidate;
    let (carrier, unserved) = carrier(candidate, service_reach);
    let verdict = &candidate.verdict;
    let (permissive, reason, cure) = match verdict {
        Verdict::Allow { permissive: true, .. } => {
            (true, "a permissive rule lets it pass, and it is recorded".to_owned(), None)
        }
        Verdict::Allow { rule, .. } if *rule.source() == Source::BuiltIn => {
            (false, "the owner of a service, and root, are allowed".to_owned(), None)
        }
        Verdict::Allow { .. } if !explained.considered.iter().any(|rule| rule.matched) => {
            let reason =
                "at addresses that a rule lets pass; which it is, is seen when it is known";
            (false, reason.to_owned(), None)
        }
        Verdict::Allow { .. } => (false, "a rule allows it".to_owned(), None),
        Verdict::Deny { reason, cure, .. } => (false, reason.clone(), Some(cure.clone())),
    };
    broker::Candidate {
        hops: candidate.hops.iter().map(of_hop).collect(),
        target: candidate.target.to_string(),
        carrier,
        unserved,
        verdict: broker::Verdict {
            allowed: verdict.is_allow(),
            permissive,
            direction: candidate.direction.to_string(),
            service: candidate.service.to_string(),
            rule: verdict.rule().map(|rule| rule.shown().into_owned()),
            source: verdict.rule().map(|rule| rule.source().to_string()),
            reason,
            cure,
            considered: explained.considered.iter().map(of_considered).collect(),
            omitted: u64::try_from(explained.omitted).ok().filter(|omitted| *omitted > 0),
        },
    }
}

fn of_hop(hop: &Hop) -> broker::Hop {
    broker::Hop {
        name: hop.name.to_string(),
        target: hop.target.clone(),
        source: hop.source.to_string(),
    }
}

fn of_considered(considered: &Considered) -> broker::Considered {
    broker::Considered {
        rule: considered.rule.shown().into_owned(),
        source: considered.rule.source().to_string(),
        matched: considered.matched,
        note: considered.note.clone(),
    }
}

/// Who will carry the bytes, for people, and why nobody can if that is so.
fn carrier(
    candidate: &Candidate,
    service_reach: &dyn Fn(&ServiceName) -> Reach,
) -> (String, Option<String>) {
    let service = match &candidate.target {
        Target::Local(service) => service,
        Target::Remote(remote) if remote.scheme == "tcp" => {
            return ("direct: the client gets the TCP socket".to_owned(), None);
        }
        Target::Remote(remote) => {
            return (format!("through ipcd-{}", program_of(&remote.scheme)), None);
        }
    };
    // Of what a rule denies, nobody is told whether it is there.
    let is_told = candidate.verdict.is_allow() || candidate.verdict.rule().is_none();
    let reach = if is_told { service_reach(service) } else { Reach::Unknown };
    let carrier = match (reach, candidate.direction) {
        (Reach::Unserved(why), _) => return ("nobody".to_owned(), Some(why)),
        (Reach::Registered, Direction::Local) => {
            format!("direct: the client's own connection is passed on to {service}")
        }
        (Reach::Socket, Direction::Local) => {
            format!("direct: the client connects to {service} itself")
        }
        _ => format!("to {service} on this host"),
    };
    (carrier, None)
}

/// The program that a daemon's short name stands for.
#[must_use]
pub fn program_of(daemon: &str) -> Cow<'_, str> {
    match daemon {
        "tcp" => "tcpd".into(),
        "udp" => "udpd".into(),
        "tls" => "tlsd".into(),
        "ws" => "websocketd".into(),
        other => other.into(),
    }
}
