//! What is written down about decisions: one line each, bounded, with exact counts of what was
//! left out.

use std::time::{Duration, Instant};

use libipc::identity::{LocalIdentity, RemoteIdentity};
use libipc::interface::broker::BrokerError;
use libipc::interface::control::Counter;
use libipc::name::ServiceName;
use policy::config::{Config, LogDecisions};
use policy::decide::Candidate;

use crate::answer;

/// The record of decisions.
#[derive(Debug)]
pub(crate) struct Audit {
    decisions: LogDecisions,
    per_second: usize,
    left: usize,
    suppressed: u64,
    second: Instant,
    allowed: u64,
    denied: u64,
    failed: u64,
    let_in: u64,
    kept_out: u64,
    busy: u64,
}

impl Audit {
    /// An empty record.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let mut audit = Self {
            decisions: LogDecisions::Denied,
            per_second: 0,
            left: 0,
            suppressed: 0,
            second: now,
            allowed: 0,
            denied: 0,
            failed: 0,
            let_in: 0,
            kept_out: 0,
            busy: 0,
        };
        audit.configure(config);
        audit.left = audit.per_second;
        audit
    }

    /// Takes what a new configuration says; counts go on.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.decisions = config.log_decisions;
        self.per_second = config.limits.log_lines_per_second;
    }

    /// A client got its connection.
    pub(crate) fn allowed(
        &mut self,
        who: &LocalIdentity,
        asked: &ServiceName,
        candidate: &Candidate,
        now: Instant,
    ) {
        self.allowed += 1;
        if self.decisions == LogDecisions::All && self.may_write(now) {
            tracing::info!(
                event = "allowed",
                service = asked.as_str(),
                target = ?candidate.target.to_string(),
                rule = ?answer::rule_with_source(&candidate.verdict),
                uid = who.uid,
                pid = who.pid,
            );
        }
    }

    /// A client got an error.
    pub(crate) fn failed(
        &mut self,
        who: &LocalIdentity,
        asked: &ServiceName,
        error: &BrokerError,
        now: Instant,
    ) {
        let denied = matches!(error, BrokerError::Denied { .. });
        if denied {
            self.denied += 1;
        } else {
            self.failed += 1;
        }
        let wanted = match self.decisions {
            LogDecisions::All => true,
            LogDecisions::Denied => denied,
            LogDecisions::None => false,
        };
        if wanted && self.may_write(now) {
            tracing::info!(
                event = if denied { "denied" } else { "failed" },
                service = asked.as_str(),
                reason = ?error.to_string(),
                uid = who.uid,
                pid = who.pid,
            );
        }
    }

    /// A client was turned away at the door.
    pub(crate) fn busy(&mut self, who: &LocalIdentity, limit: &str) {
        self.busy += 1;
        if self.decisions != LogDecisions::None && self.may_write(self.second) {
            tracing::info!(event = "busy", limit, uid = who.uid, pid = who.pid);
        }
    }

    /// A remote peer may go on to a service.
    pub(crate) fn let_in(
        &mut self,
        peer: &RemoteIdentity,
        service: &ServiceName,
        rule: &str,
        now: Instant,
    ) {
        self.let_in += 1;
        if self.decisions == LogDecisions::All && self.may_write(now) {
            let address = peer.address.to_string();
            tracing::info!(event = "let-in", service = service.as_str(), address, rule = ?rule);
        }
    }

    /// A remote peer may not.
    pub(crate) fn kept_out(&mut self, peer: &RemoteIdentity, service: &ServiceName, now: Instant) {
        self.kept_out += 1;
        if self.decisions != LogDecisions::None && self.may_write(now) {
            let address = peer.address.to_string();
            tracing::info!(event = "kept-out", service = service.as_str(), address);
        }
    }

    /// A remote peer was let in, but the service did not take the connection.
    pub(crate) fn service_down(
        &mut self,
        peer: &RemoteIdentity,
        service: &ServiceName,
        now: Instant,
    ) {
        self.failed += 1;
        if self.decisions != LogDecisions::None && self.may_write(now) {
            let address = peer.address.to_string();
            tracing::info!(event = "service-down", service = service.as_str(), address);
        }
    }

    /// Writes down how much was left out, once the second is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.second) < Duration::from_secs(1) {
            return;
        }
        self.second = now;
        self.left = self.per_second;
        if self.suppressed > 0 {
            tracing::info!(event = "suppressed", lines = self.suppressed);
            self.suppressed = 0;
        }
    }

    /// All counts since the start.
    pub(crate) fn counters(&self) -> Vec<Counter> {
        [
            ("allowed", self.allowed),
            ("denied", self.denied),
            ("failed", self.failed),
            ("let-in", self.let_in),
            ("kept-out", self.kept_out),
            ("busy", self.busy),
        ]
        .into_iter()
        .map(|(name, value)| Counter { name: name.to_owned(), value })
        .collect()
    }

    fn may_write(&mut self, now: Instant) -> bool {
        self.tick(now);
        if self.left == 0 {
            self.suppressed += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}
