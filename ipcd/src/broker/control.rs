//! What administrators may call about the broker itself.

use std::time::Instant;

use libipc::interface::control::{
    ControlError, Metrics, Monitor, Problem, Reloaded, Status, Taken,
};
use libipc::varlink::{self, Call};

use super::quota::{Full, Share};
use super::requests::invalid;
use super::strangers::Strangers;
use super::{Broker, Moment, Role, busy, milliseconds};
use crate::action::ClientId;
use crate::metrics;
use crate::monitors::Monitors;

/// Problems and dormant rules that are told at most: an answer has to fit into what may wait for a
/// client. The log, and `ipc check`, tell all.
const TOLD_MOST: usize = 100;

/// Characters of a text of theirs that are told.
const TEXT_MOST: usize = 500;

impl Broker {
    pub(super) fn status(&mut self, client: ClientId, at: Moment<'_>) {
        if self.permits(client) {
            let status = self.state(at);
            self.reply(client, varlink::reply(&status, false), None);
        }
    }

    /// How the broker does.
    fn state(&self, at: Moment<'_>) -> Status {
        let since = |then: Instant| milliseconds(at.now.saturating_duration_since(then));
        let (refused, refused_ms) = match &self.refused {
            Some((refusal, when)) => (refusal.problems(), Some(since(*when))),
            None => (Vec::new(), None),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance: self.directory.instance().as_str().to_owned(),
            rundir: self.directory.path().display().to_string(),
            uptime_ms: since(self.started),
            revision: self.revision,
            loaded_ms: since(self.loaded),
            origins: self.live.origins.clone(),
            rules: number(self.live.config.rules.len()),
            dormant: told(self.live.dormant(), cut),
            refused: told(refused, cut_problem),
            refused_ms,
            clients: number(self.quota.clients()),
            connections: number(self.connections.len()),
            taken: self.taken(),
            transports: self.carriers(),
            counters: self.audit.counters(),
        }
    }

    fn taken(&self) -> Vec<Taken> {
        let limits = &self.live.config.limits;
        let (user, by_one) = self.connections.held_by_one().unwrap_or_default();
        let of_all = |limit, used, most| Share { limit, used, most, user: None };
        let more = [
            of_all("connections-listed", self.connections.held(), limits.connections_listed),
            Share {
                limit: "connections-listed-per-user",
                used: by_one,
                most: limits.connections_listed_per_user,
                user,
            },
            of_all("monitors", self.monitors.len(), limits.monitors),
        ];
        let all = self.quota.taken(self.most()).into_iter().chain(more);
        let taken = |Share { limit, used, most, user }| Taken {
            limit: limit.to_owned(),
            used: number(used),
            most: number(most),
            user,
        };
        all.map(taken).collect()
    }

    pub(super) fn metrics(&mut self, client: ClientId, at: Moment<'_>) {
        if self.permits(client) {
            let text = metrics::text(&self.state(at), self.audit.tally(), &self.connections);
            self.reply(client, varlink::reply(&Metrics { text }, false), None);
        }
    }

    pub(super) fn monitor(&mut self, client: ClientId, call: &Call<'_>, wanted: &Monitor) {
        if !self.permits(client) {
            return;
        }
        if !call.more {
            let reason = "Monitor is answered many times: call it with more";
            return self.fail(client, &invalid("more", &reason));
        }
        let most = self.live.config.limits.monitors;
        if self.monitors.len() >= most {
            self.audit.limit_reached("monitors");
            return self.fail(client, &busy(Full { limit: "monitors", most }));
        }
        if let Some(known) = self.clients.get_mut(&client) {
            known.role = Role::Watching;
        }
        self.monitors.begin(client, wanted);
        let begun = Monitors::begun(self.revision);
        self.reply(client, begun, None);
    }

    /// A client that watches has not yet read what it was told.
    pub(crate) fn fell_behind(&mut self, client: ClientId) {
        self.monitors.fell_behind(client);
    }

    /// A client that watches has read everything; what it is to be told now.
    pub(crate) fn caught_up(&mut self, client: ClientId) -> Option<varlink::Bytes> {
        self.monitors.caught_up(client)
    }

    pub(super) fn reload_for(&mut self, client: ClientId, at: Moment<'_>) {
        if !self.permits(client) {
            return;
        }
        match self.reload(at) {
            Ok(done) => self.reply(client, varlink::reply(&done, false), None),
            Err(refusal) => {
                let problems = told(refusal.problems(), cut_problem);
                let error = ControlError::ConfigurationInvalid { problems };
                self.reply(client, varlink::error(&error), None);
            }
        }
    }

    /// Takes a new configuration, or notes why it was refused; the old one stays then.
    pub(crate) fn reload(&mut self, at: Moment<'_>) -> Result<Reloaded, crate::reload::Refusal> {
        let live = at.world.load().inspect_err(|refusal| {
            tracing::error!(event = "reload-refused", problems = ?refusal.to_string());
            self.refused = Some((refusal.clone(), at.now));
        })?;
        self.audit.configure(&live.config);
        self.live = live;
        self.strangers = Strangers::default();
        self.revision += 1;
        self.refused = None;
        self.loaded = at.now;
        self.judge_registered();
        let (would_be_denied, ended) = self.judge_handed_over(at);
        let revision = self.revision;
        tracing::info!(event = "reloaded", revision, would_be_denied, ended);
        Ok(Reloaded { revision, would_be_denied, ended })
    }

    /// Whether the client is an administrator; answers it if not.
    pub(super) fn permits(&mut self, client: ClientId) -> bool {
        let admins = &self.live.config.admin_gids;
        let is_admin = self.may_do_more_than_ask(client)
            && self.clients.get(&client).is_some_and(|known| {
                let who = &known.identity;
                let groups = who.groups.iter().flatten().chain(&who.gid);
                who.uid.is_some_and(|uid| uid == 0 || uid == self.uid)
                    || groups.into_iter().any(|group| admins.contains(group))
            });
        if !is_admin {
            let reason =
                "only root, the broker's own user and the groups in admin-groups may, through the \
                 broker's own socket"
                    .to_owned();
            let error = varlink::error(&ControlError::NotPermitted { reason });
            self.reply(client, error, None);
        }
        is_admin
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// As much of a list as is told.
fn told<T>(all: Vec<T>, cut: impl Fn(T) -> T) -> Vec<T> {
    all.into_iter().take(TOLD_MOST).map(cut).collect()
}

fn cut_problem(problem: Problem) -> Problem {
    let Problem { file, line, column, message, help } = problem;
    Problem { file: cut(file), line, column, message: cut(message), help: help.map(cut) }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::QUEUE_BYTES_MOST;

    fn problem(text: &str) -> Problem {
        let text = || text.to_owned();
        Problem { file: text(), line: 1, column: 1, message: text(), help: Some(text()) }
    }

    #[test]
    fn a_hundred_problems_are_told_and_500_characters_of_each_text() {
        let numbers = |count: usize| (0..count).map(|number| number.to_string()).collect();
        let told_of = |count| told(numbers(count), cut);
        assert_eq!(told_of(TOLD_MOST), numbers(100));
        assert_eq!(told_of(TOLD_MOST + 1), numbers(100), "the others are not");
        let longest = "ü".repeat(TEXT_MOST);
        assert_eq!(cut(longest.clone()), longest);
        assert_eq!(cut(longest.clone() + "x"), longest.clone() + "…");
        let told = told(vec![problem(&longest); TOLD_MOST + 1], cut_problem);
        assert_eq!(told, vec![problem(&longest); TOLD_MOST]);
    }

    #[test]
    fn what_is_told_of_problems_fits_into_what_may_wait_for_a_client() {
        let problems = told(vec![problem(&"x".repeat(100_000)); 10_000], cut_problem);
        let rules = told(vec!["x".repeat(100_000); 10_000], cut);
        let bytes = serde_json::to_vec(&(problems, rules)).unwrap().len();
        assert!(bytes < QUEUE_BYTES_MOST / 2, "{bytes}");
    }
}
