//! Decisions in the words of the broker's interface: what the log, monitors and counters are told.

use libipc::interface::Identity;
use libipc::interface::broker::BrokerError;
use libipc::interface::control::{Decision, Verdict};
use libipc::name::ServiceName;
use policy::decide::Candidate;
use policy::query;

use crate::answer;

/// Why a connection that a rule allows is there.
const ALLOWED: &str = "a rule allows it";

/// Why a connection is there that only a `permissive` rule lets pass.
const PERMISSIVE: &str = "a permissive rule lets it pass; it would be denied";

/// A decision of which nothing is known yet but who asked for what.
pub(crate) fn about(who: Identity, asked: Option<&ServiceName>, revision: u64) -> Decision {
    Decision {
        verdict: None,
        service: asked.map(ToString::to_string).unwrap_or_default(),
        target: String::new(),
        direction: None,
        allowed: false,
        rule: None,
        reason: String::new(),
        client: answer::who_is(&who),
        revision,
        carrier: None,
        connection: None,
        missed: None,
        who,
    }
}

/// The request got the connection that `candidate` describes.
pub(crate) fn allowed(decision: Decision, candidate: &Candidate) -> Decision {
    let verdict = verdict_of_allowed(candidate);
    let reason = if verdict == Verdict::Permissive { PERMISSIVE } else { ALLOWED };
    Decision { allowed: true, reason: reason.to_owned(), ..led_to(decision, candidate, verdict) }
}

/// The request got `error`, which is about `candidate`.
pub(crate) fn failed(
    decision: Decision,
    candidate: Option<&Candidate>,
    error: &BrokerError,
) -> Decision {
    let verdict = verdict_of(error);
    let decision = if let Some(candidate) = candidate {
        led_to(decision, candidate, verdict)
    } else {
        let target = error.target().unwrap_or_default().to_owned();
        Decision { verdict: Some(verdict), target, ..decision }
    };
    match error {
        // Rules may have changed, or decide about an address: the error knows the one that did.
        BrokerError::Denied { rule, reason, .. } => {
            Decision { rule: rule.clone(), reason: reason.clone(), ..decision }
        }
        error => Decision { reason: error.to_string(), ..decision },
    }
}

/// Fills in where a request led, and what rules say about that.
fn led_to(decision: Decision, candidate: &Candidate, verdict: Verdict) -> Decision {
    Decision {
        verdict: Some(verdict),
        target: candidate.target.to_string(),
        direction: Some(candidate.direction.to_string()),
        rule: candidate.verdict.rule().map(answer::with_source),
        ..decision
    }
}

/// What a rule that allows a connection says of it.
pub(crate) fn verdict_of_allowed(candidate: &Candidate) -> Verdict {
    match candidate.verdict {
        query::Verdict::Allow { permissive: true, .. } => Verdict::Permissive,
        _ => Verdict::Allowed,
    }
}

/// The candidate that an error is about: the one with its target, else the first.
pub(crate) fn candidate_of<'c>(
    candidates: &'c [Candidate],
    error: &BrokerError,
) -> Option<&'c Candidate> {
    let target = error.target().unwrap_or_default();
    let about = candidates.iter().find(|candidate| candidate.target.to_string() == target);
    about.or(candidates.first())
}

/// What an error says of a request.
pub(crate) fn verdict_of(error: &BrokerError) -> Verdict {
    match error {
        BrokerError::Denied { .. } | BrokerError::Unauthenticated { .. } => Verdict::Denied,
        BrokerError::Busy { .. } => Verdict::Busy,
        _ => Verdict::Failed,
    }
}
