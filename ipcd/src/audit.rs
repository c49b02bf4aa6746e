//! What is written down about decisions: exact counts of all, and bounded lines about those that
//! the configuration wants.

use std::time::Instant;

use libipc::interface::Identity;
use libipc::interface::control::{Counter, Decision, Verdict};
use policy::config::{Config, LogDecisions};
use policy::rule::Direction;

use crate::audit::budget::Budget;

pub(crate) use crate::audit::tally::Tally;

mod budget;
mod tally;

/// The record of decisions.
#[derive(Debug)]
pub(crate) struct Audit {
    decisions: LogDecisions,
    budget: Budget,
    tally: Tally,
}

impl Audit {
    /// An empty record.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            decisions: config.log_decisions,
            budget: Budget::new(config.limits.log_lines_per_second, now),
            tally: Tally::default(),
        }
    }

    /// Takes what a new configuration says; counts go on.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.decisions = config.log_decisions;
        self.budget.set_most(config.limits.log_lines_per_second);
    }

    /// Counts a decision.
    pub(crate) fn count(&mut self, verdict: Verdict, direction: Option<Direction>) {
        self.tally.count(verdict, direction);
    }

    /// Whether a line about such a decision of `who` is wanted and may be written now. The decision
    /// itself is counted elsewhere.
    pub(crate) fn admits(&mut self, verdict: Verdict, who: &Identity, now: Instant) -> bool {
        self.wants(verdict) && self.has_room(who, now)
    }

    /// Whether a line that `who` causes may be written now; one that may not is counted and told of.
    pub(crate) fn has_room(&mut self, who: &Identity, now: Instant) -> bool {
        self.tick(now);
        let has_room = self.budget.take(who);
        if !has_room {
            self.tally.line_left_out();
        }
        has_room
    }

    /// A limit is reached: its name, as the configuration has it.
    pub(crate) fn limit_reached(&mut self, limit: &str) {
        self.tally.limit_reached(limit);
    }

    /// When [`Audit::tick`] is to be called at the latest, so that what was left out is told.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.budget.next()
    }

    /// Writes down how much was left out, once the second is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(left_out) = self.budget.tick(now) {
            tracing::info!(event = "left-out", lines = left_out);
        }
    }

    /// All counts since the start.
    pub(crate) fn counters(&self) -> Vec<Counter> {
        self.tally.counters()
    }

    /// The counts themselves.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether lines about such decisions are written at all.
    pub(crate) fn wants(&self, verdict: Verdict) -> bool {
        match self.decisions {
            LogDecisions::All => true,
            LogDecisions::Denied => verdict.refuses_or_would(),
            LogDecisions::None => false,
        }
    }
}

/// One line, with a field for every fact that is known. What comes from outside is escaped.
pub(crate) fn write(decision: &Decision) {
    let Some(verdict) = decision.verdict else { return };
    let Decision { service, target, direction, rule, reason, client, revision, .. } = decision;
    let facts = Facts::of(&decision.who);
    tracing::info!(
        event = verdict.as_str(),
        service = service.as_str(),
        target = Some(target.as_str()).filter(|target| !target.is_empty()),
        direction = direction.as_deref(),
        rule = rule.as_deref(),
        reason = reason.as_str(),
        client = client.as_str(),
        client_pid = facts.pid,
        client_uid = facts.uid,
        client_gid = facts.gid,
        client_unit = facts.unit,
        client_socket = facts.socket,
        client_address = facts.address,
        client_names = facts.names,
        revision,
        carrier = decision.carrier.as_deref(),
        connection = decision.connection,
    );
}

/// What is known of whoever asked, each as a field.
#[derive(Debug, Default)]
struct Facts<'d> {
    pid: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    unit: Option<&'d str>,
    socket: Option<&'d str>,
    address: Option<String>,
    names: Option<String>,
}

impl<'d> Facts<'d> {
    fn of(who: &'d Identity) -> Self {
        match who {
            Identity::Local(local) => Self {
                pid: local.pid,
                uid: local.uid,
                gid: local.gid,
                unit: local.unit.as_deref().or(local.user_unit.as_deref()),
                socket: local.socket.as_deref(),
                ..Self::default()
            },
            Identity::Remote(remote) => Self {
                address: Some(remote.address.to_string()),
                names: (!remote.names.is_empty()).then(|| remote.names.join(" ")),
                ..Self::default()
            },
        }
    }
}
