//! Every decision is noted here once: counted, written down, told to whoever watches; and what was
//! handed over is listed.

use std::time::Instant;

use libipc::interface::Identity;
use libipc::interface::broker::BrokerError;
use libipc::interface::control::{Decision, Verdict};
use libipc::name::ServiceName;
use policy::decide::Candidate;

use super::{Broker, Moment};
use crate::action::{Action, ClientId};
use crate::audit;
use crate::connections::{ConnectionId, Entry, Handed, Most};
use crate::decision;

/// What somebody got.
pub(super) struct Given<'g> {
    pub(super) who: Identity,
    pub(super) asked: &'g ServiceName,
    pub(super) candidate: &'g Candidate,
    pub(super) handed: Handed,
    /// The configuration that decided.
    pub(super) revision: u64,
}

impl Broker {
    /// Somebody gets a connection.
    pub(super) fn note_allowed(&mut self, given: Given<'_>, now: Instant) -> ConnectionId {
        let Given { who, asked, candidate, handed, revision } = given;
        let verdict = decision::verdict_of_allowed(candidate);
        self.audit.count(verdict, Some(candidate.direction));
        let is_written = self.audit.admits(verdict, &who, now);
        let decision = (is_written || !self.monitors.is_empty()).then(|| {
            let decision = decision::about(who.clone(), Some(asked), revision);
            decision::allowed(decision, candidate)
        });
        let entry = Entry::new(asked, candidate, who, handed, now);
        let entry = Entry { revision, ..entry };
        let carrier = Some(entry.carrier());
        let id = self.connections.begin(entry, self.most_listed(), now);
        if let Some(decision) = decision {
            self.tell(&Decision { carrier, connection: Some(id.0), ..decision }, is_written);
        }
        id
    }

    /// Somebody gets an error. `decision` says who asked for what under which configuration, and
    /// `candidates` where the name would have led.
    pub(super) fn note_failed(
        &mut self,
        decision: Decision,
        candidates: &[Candidate],
        error: &BrokerError,
        now: Instant,
    ) {
        let candidate = decision::candidate_of(candidates, error);
        let verdict = decision::verdict_of(error);
        self.audit.count(verdict, candidate.map(|candidate| candidate.direction));
        if let BrokerError::Busy { limit, .. } = error {
            self.audit.limit_reached(limit);
        }
        // Who floods causes more of them than are written: those are counted, and not made up.
        let is_written = self.audit.admits(verdict, &decision.who, now);
        if is_written || !self.monitors.is_empty() {
            self.tell(&decision::failed(decision, candidate, error), is_written);
        }
    }

    /// Whether anybody hears of such a decision.
    pub(super) fn is_told(&self, verdict: Verdict) -> bool {
        !self.monitors.is_empty() || self.audit.wants(verdict)
    }

    /// A client, as it is written down: with its unit.
    pub(super) fn written(&mut self, client: ClientId, at: Moment<'_>) -> Option<Identity> {
        let known = self.clients.get_mut(&client)?;
        if !known.has_units {
            known.learn_units(client, at);
        }
        Some(Identity::Local((*known.identity).clone()))
    }

    fn tell(&mut self, decision: &Decision, is_written: bool) {
        if is_written {
            audit::write(decision);
        }
        for (client, message) in self.monitors.tell(decision) {
            self.actions.push(Action::Tell { client, message });
        }
    }

    /// What is due by itself: to say how much the log left out, to look whether clients live.
    pub(super) fn keep_records(&mut self, at: Moment<'_>) {
        self.audit.tick(at.now);
        self.connections.sweep(at.now, |process, seen| at.world.lives(process.0, seen, at.now));
    }

    /// When [`Broker::keep_records`] has something to do.
    pub(super) fn next_record(&self) -> Option<Instant> {
        self.audit.next().into_iter().chain(self.connections.next_sweep()).min()
    }

    fn most_listed(&self) -> Most {
        let limits = &self.live.config.limits;
        Most { all: limits.connections_listed, per_user: limits.connections_listed_per_user }
    }
}
