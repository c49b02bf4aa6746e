//! Requests for a connection: policy's candidates, one by one, until one connects.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libipc::identity::LocalIdentity;
use libipc::interface::Identity;
use libipc::interface::broker::{BrokerError, Connect, Connected, Handoff, Kind};
use libipc::name::ServiceName;
use libipc::secret::Secret;
use libipc::varlink;
use policy::decide::{Candidate, Decision, decide};
use policy::query::Verdict;
use policy::route::{Asker, RouteError};
use policy::target::Target;

use super::notes::Given;
use super::stack::Stage;
use super::{Broker, Moment, Speech};
use crate::action::{Action, CallId, ClientId};
use crate::answer;
use crate::connections::{ConnectionId, Handed};
use crate::decision;
use crate::world::Remembering;

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) asked: ServiceName,
    pub(super) network: Option<Secret>,
    pub(super) take: Vec<Handoff>,
    pub(super) is_upgrade: bool,
    pub(super) waits: bool,
    started: Instant,
    pub(super) deadline: Instant,
    /// The configuration that decided.
    pub(super) revision: u64,
    pub(super) candidates: Vec<Candidate>,
    /// Which candidate is tried now.
    pub(super) current: usize,
    /// What the ones before it said.
    failures: Vec<BrokerError>,
    pub(super) state: State,
    /// The network address that was connected to, if policy was asked about it.
    pub(super) reached: Option<SocketAddr>,
}

/// What a client asked for.
struct Wanted {
    asked: ServiceName,
    network: Option<Secret>,
    take: Vec<Handoff>,
    /// Bytes for the service may follow the call.
    is_upgrade: bool,
    waits: bool,
    timeout: Duration,
}

/// What the current candidate waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing yet.
    New,
    /// The service, which is not there yet. What to say if it does not come.
    Waiting { service: ServiceName, until: Instant, error: BrokerError },
    /// Its turn.
    Queued { until: Instant },
    /// Somebody who looks at its login.
    Proving { call: CallId },
    /// A transport daemon.
    Dialling { call: CallId, until: Instant, stage: Stage },
}

/// How one candidate ended.
pub(super) enum Outcome {
    /// The client has its connection.
    Done,
    /// Something is under way.
    Waiting,
    /// Not this one.
    Failed(BrokerError),
}

/// What a client gets.
pub(super) struct Offer {
    pub(super) handoff: Handoff,
    pub(super) descriptor: OwnedFd,
    pub(super) handed: Handed,
}

/// Longest time that a client may ask for.
const TIMEOUT_MOST: Duration = Duration::from_secs(600);

impl Broker {
    pub(super) fn connect(
        &mut self,
        client: ClientId,
        is_upgrade: bool,
        wanted: Connect,
        at: Moment<'_>,
    ) {
        let asked = match ServiceName::new(&wanted.service) {
            Ok(asked) => asked,
            Err(error) => return self.refuse_call(client, is_upgrade, &invalid("service", &error)),
        };
        let timeout = time_for(wanted.timeout_ms, self.live.config.limits.timeout);
        let mut take = wanted.take;
        take.retain(|handoff| is_upgrade || *handoff != Handoff::Upgrade);
        let waits = wanted.wait == Some(true);
        let network = wanted.network;
        self.begin(client, Wanted { asked, network, take, is_upgrade, waits, timeout }, at);
    }

    pub(super) fn looked_up(
        &mut self,
        client: ClientId,
        name: &str,
        network: &Secret,
        at: Moment<'_>,
    ) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.speech = Speech::Lookup;
        let Ok(asked) = ServiceName::new(name) else {
            self.actions.push(Action::Drop { client });
            return;
        };
        let network = libipc::network::entries_for(&asked, network.expose());
        let Ok(network) = network else {
            self.actions.push(Action::Drop { client });
            return;
        };
        let wanted = Wanted { network, ..self.plain(asked, vec![Handoff::Descriptor]) };
        self.begin(client, wanted, at);
    }

    /// Somebody connected to a front.
    pub(super) fn asked_by_front(&mut self, client: ClientId, asked: ServiceName, at: Moment<'_>) {
        let wanted = self.plain(asked, vec![Handoff::Upgrade]);
        self.begin(client, wanted, at);
    }

    fn plain(&self, asked: ServiceName, take: Vec<Handoff>) -> Wanted {
        let timeout = self.live.config.limits.timeout;
        Wanted { asked, network: None, take, is_upgrade: false, waits: false, timeout }
    }

    fn begin(&mut self, client: ClientId, mut wanted: Wanted, at: Moment<'_>) {
        self.forget_logins(client);
        let Some(identity) = self.identity(client, at) else { return };
        // What policy asks about a service's owner, its door answers: one look for both.
        let world = Remembering::new(at.world);
        let at = Moment { world: &world, ..at };
        let narrowed = self.clients.get(&client).and_then(|known| known.narrowed.clone());
        let network = match narrowed {
            Some(narrowed) => narrowed.network_of(&wanted.asked),
            None => Ok(wanted.network.take()),
        };
        let decision = network.and_then(|network| {
            wanted.network = network;
            self.decide(&wanted.asked, wanted.network.as_ref(), &identity, at)
                .map_err(|error| answer::of_route(&error))
        });
        match decision {
            Ok(decision) => {
                let request = Request::new(wanted, decision, self.revision, at.now);
                if let Some(known) = self.clients.get_mut(&client) {
                    known.request = Some(request);
                }
                self.prove_or_go_on(client, at);
            }
            Err(error) => {
                let Some(who) = self.written(client, at) else { return };
                let about = decision::about(who, Some(&wanted.asked), self.revision);
                self.note_failed(about, &[], &error, at.now);
                self.refuse_call(client, wanted.is_upgrade, &error);
            }
        }
    }

    /// Whether a client's request was decided by a configuration that is no longer the live one.
    pub(super) fn is_outdated(&self, client: ClientId) -> bool {
        let request = self.clients.get(&client).and_then(|known| known.request.as_ref());
        request.is_some_and(|request| request.revision != self.revision)
    }

    pub(super) fn decide(
        &self,
        asked: &ServiceName,
        network: Option<&Secret>,
        identity: &LocalIdentity,
        at: Moment<'_>,
    ) -> Result<Decision, RouteError> {
        let request = policy::decide::Request {
            asked,
            network: network.map(Secret::expose),
            asker: Asker::Local(identity),
            service_owner: &|service| self.owner_of(service, at),
        };
        decide(&self.live.config, &request)
    }

    /// Tries candidates until one connects, waits, or none is left.
    pub(super) fn go_on(&mut self, client: ClientId, at: Moment<'_>) {
        if self.is_outdated(client) {
            return self.try_again(client, at);
        }
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else {
            let error = request.verdict_of_all();
            return self.wait_or_end(client, error, at);
        };
        if let Outcome::Failed(error) = self.attempt(client, &candidate, at) {
            self.failed(client, error, at);
        }
    }

    /// The current candidate failed: the next one, unless the far side has spoken.
    pub(super) fn failed(&mut self, client: ClientId, error: BrokerError, at: Moment<'_>) {
        if answer::is_last_word(&error) {
            return self.end_with(client, &error, at);
        }
        let Some(request) = self.request(client) else { return };
        request.failures.push(error);
        request.current += 1;
        self.go_on(client, at);
    }

    fn attempt(&mut self, client: ClientId, candidate: &Candidate, at: Moment<'_>) -> Outcome {
        match (&candidate.target, &candidate.verdict) {
            (Target::Local(service), _) => self.attempt_local(client, candidate, service, at),
            (Target::Remote(_), Verdict::Deny { .. }) => Outcome::Failed(answer::denied(candidate)),
            (Target::Remote(remote), Verdict::Allow { .. }) => {
                self.dial(client, candidate, remote, at)
            }
        }
    }

    pub(super) fn deliver(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        offer: Offer,
        at: Moment<'_>,
    ) {
        self.end_with_success(client, candidate, offer.handed, at);
        let Some(known) = self.clients.get(&client) else { return };
        if known.speech == Speech::Lookup {
            self.actions.push(Action::Provide { client, descriptor: offer.descriptor });
            return;
        }
        let answer = Connected {
            handoff: offer.handoff,
            kind: Kind::Stream,
            target: candidate.target.to_string(),
            rule: answer::rule_with_source(&candidate.verdict),
        };
        self.reply(client, varlink::reply(&answer, false), Some(offer.descriptor));
    }

    /// The request has its connection: it is written down, and over.
    pub(super) fn end_with_success(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        handed: Handed,
        at: Moment<'_>,
    ) -> Option<ConnectionId> {
        let known = self.clients.get_mut(&client)?;
        let request = known.request.take()?;
        let who = Identity::Local((*known.identity).clone());
        let is_told = self.is_told(decision::verdict_of_allowed(candidate));
        let who = if is_told { self.written(client, at).unwrap_or(who) } else { who };
        // What was decided before a reload has been decided again.
        let (asked, revision) = (&request.asked, self.revision);
        Some(self.note_allowed(Given { who, asked, candidate, handed, revision }, at.now))
    }

    /// Ends a request without an answer: nobody is there to hear it.
    pub(super) fn end_request(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        match &request.state {
            State::New => {}
            State::Waiting { .. } => self.stop_waiting(client),
            State::Proving { call } => {
                let call = *call;
                self.login_abandoned(call);
            }
            State::Queued { until } => {
                let until = *until;
                self.timers.remove(&(until, client));
                let user = self.clients.get(&client).and_then(|known| known.identity.uid);
                self.quota.stop_waiting(user, client);
            }
            State::Dialling { call, .. } => {
                let call = *call;
                self.calls.remove(&call);
                self.actions.push(Action::Cancel { call });
                self.release(client, at);
            }
        }
        if let Some(known) = self.clients.get_mut(&client) {
            known.request = None;
        }
    }

    pub(super) fn end_with(&mut self, client: ClientId, error: &BrokerError, at: Moment<'_>) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        let Some(request) = known.request.take() else { return };
        let Some(who) = self.written(client, at) else { return };
        let about = decision::about(who, Some(&request.asked), request.revision);
        self.note_failed(about, &request.candidates, error, at.now);
        let is_narrowed = self.clients.get(&client).is_none_or(|known| known.narrowed.is_some());
        let error = match self.identity(client, at) {
            Some(identity) if !is_narrowed => self.with_known(error.clone(), &identity, at),
            _ => error.clone(),
        };
        self.refuse_call(client, request.is_upgrade, &error);
    }

    /// Answers with an error in the client's own way: a front's and the first libipc's have none
    /// but the end.
    fn refuse_call(&mut self, client: ClientId, is_upgrade: bool, error: &BrokerError) {
        let speech = self.clients.get(&client).map_or(Speech::Varlink, |known| known.speech);
        if speech != Speech::Varlink {
            self.actions.push(Action::Drop { client });
            return;
        }
        if is_upgrade {
            self.actions.push(Action::Refuse { client, message: varlink::error(error) });
        } else {
            self.fail(client, error);
        }
    }

    pub(super) fn request(&mut self, client: ClientId) -> Option<&mut Request> {
        self.clients.get_mut(&client)?.request.as_mut()
    }
}

impl Request {
    fn new(wanted: Wanted, decision: Decision, revision: u64, now: Instant) -> Self {
        Self {
            asked: wanted.asked,
            network: wanted.network,
            take: wanted.take,
            is_upgrade: wanted.is_upgrade,
            waits: wanted.waits,
            started: now,
            deadline: now + wanted.timeout,
            revision,
            candidates: decision.candidates,
            current: 0,
            failures: Vec::new(),
            state: State::New,
            reached: None,
        }
    }

    /// The call that asked for it.
    pub(super) fn to_connect(&self) -> Connect {
        Connect {
            service: self.asked.to_string(),
            network: self.network.clone(),
            timeout_ms: None,
            wait: Some(self.waits),
            take: self.take.clone(),
        }
    }

    pub(super) fn start_over(&mut self, decision: Decision, revision: u64) {
        self.candidates = decision.candidates;
        self.revision = revision;
        self.current = 0;
        self.failures.clear();
        self.state = State::New;
    }

    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// An equal share of the time left for each candidate that may still be tried.
    pub(super) fn share_of_time(&self, now: Instant) -> Duration {
        let left = self.deadline.saturating_duration_since(now);
        let rest = self.candidates.get(self.current..).unwrap_or_default();
        let able = rest.iter().filter(|candidate| candidate.verdict.is_allow()).count().max(1);
        left / u32::try_from(able).unwrap_or(u32::MAX)
    }

    /// What to say when no candidate connected: of several failures the last that was not a
    /// denial, since that one was tried.
    fn verdict_of_all(&self) -> BrokerError {
        let tried =
            self.failures.iter().rfind(|error| !matches!(error, BrokerError::Denied { .. }));
        tried.or(self.failures.first()).cloned().unwrap_or_else(|| answer::unknown(&self.asked))
    }
}

pub(super) fn invalid(field: &str, reason: &impl ToString) -> BrokerError {
    BrokerError::InvalidRequest { field: field.to_owned(), reason: reason.to_string() }
}

/// How long a request may take for which its client has `asked` so many milliseconds, or has left
/// that to the configuration.
fn time_for(asked: Option<u64>, configured: Duration) -> Duration {
    asked.map_or(configured, |asked| Duration::from_millis(asked).min(TIMEOUT_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_time_that_it_asks_for_up_to_ten_minutes() {
        let configured = Duration::from_secs(3_600);
        let of = |asked| time_for(asked, configured).as_millis();
        assert_eq!([of(Some(0)), of(Some(599_999))], [0, 599_999]);
        for more in [600_000, 600_001, u64::MAX] {
            assert_eq!(of(Some(more)), 600_000, "{more}");
        }
        assert_eq!(of(None), 3_600_000, "the administrator's word stands");
    }
}
