//! An explanation in the words of `org.ipcd.Broker.Resolve`, the same from the running broker and
//! from files.

use std::borrow::Cow;

use libipc::interface::broker::{self, Resolved};
use libipc::name::ServiceName;

use crate::decide::{Explained, Explanation};
use crate::explain::Considered;
use crate::query::Verdict;
use crate::route::Hop;
use crate::target::Target;

/// The answer to `Resolve`. `who` asks, for people.
#[must_use]
pub fn resolved(
    asked: &ServiceName,
    who: String,
    revision: u64,
    explanation: &Explanation,
) -> Resolved {
    Resolved {
        service: asked.to_string(),
        asker: who,
        revision,
        candidates: explanation.candidates.iter().map(of_explained).collect(),
    }
}

fn of_explained(explained: &Explained) -> broker::Candidate {
    let candidate = &explained.candidate;
    let verdict = &candidate.verdict;
    let (permissive, reason, cure) = match verdict {
        Verdict::Allow { permissive, .. } => (*permissive, "a rule allows it".to_owned(), None),
        Verdict::Deny { reason, cure, .. } => (false, reason.clone(), Some(cure.clone())),
    };
    broker::Candidate {
        hops: candidate.hops.iter().map(of_hop).collect(),
        target: candidate.target.to_string(),
        carrier: carrier(&candidate.target),
        verdict: broker::Verdict {
            allowed: verdict.is_allow(),
            permissive,
            direction: candidate.direction.to_string(),
            service: candidate.service.to_string(),
            rule: verdict.rule().map(|rule| rule.as_str().to_owned()),
            source: verdict.rule().map(|rule| rule.source().to_string()),
            reason,
            cure,
            considered: explained.considered.iter().map(of_considered).collect(),
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
        rule: considered.rule.as_str().to_owned(),
        source: considered.rule.source().to_string(),
        matched: considered.matched,
        note: considered.note.clone(),
    }
}

/// Who will carry the bytes, for people.
fn carrier(target: &Target) -> String {
    match target {
        Target::Local(service) => format!("direct: the client connects to {service} itself"),
        Target::Remote(remote) if remote.scheme == "tcp" => {
            "direct: the client gets the TCP socket".to_owned()
        }
        Target::Remote(remote) => format!("through ipcd-{}", program_of(&remote.scheme)),
    }
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
