//! Requests for a connection: policy's candidates, one by one, until one connects.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libipc::identity::LocalIdentity;
use libipc::interface::broker::{BrokerError, Connect, Connected, Handoff, Kind};
use libipc::name::ServiceName;
use libipc::rundir::Instance;
use libipc::secret::Secret;
use libipc::varlink;
use policy::decide::{Candidate, Decision, decide};
use policy::query::Verdict;
use policy::route::{Asker, RouteError};
use policy::target::Target;
use sys::door::{Door, DoorError};

use super::stack::Stage;
use super::{Broker, Moment};
use crate::action::{Action, CallId, ClientId};
use crate::answer;
use crate::service::ServiceSettings;

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) asked: ServiceName,
    pub(super) network: Option<Secret>,
    pub(super) take: Vec<Handoff>,
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
    timeout: Duration,
}

/// What the current candidate waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing yet.
    New,
    /// Its turn.
    Queued { until: Instant },
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
}

/// Longest time that a request may take, whatever the client says.
const TIMEOUT_MOST: Duration = Duration::from_secs(600);

impl Broker {
    pub(super) fn connect(&mut self, client: ClientId, wanted: &Connect, at: Moment<'_>) {
        let asked = match ServiceName::new(&wanted.service) {
            Ok(asked) => asked,
            Err(error) => return self.fail(client, &invalid("service", &error)),
        };
        if wanted.wait == Some(true) {
            let reason = "waiting for a service is not in this version";
            return self.fail(client, &invalid("wait", &reason));
        }
        let timeout = wanted.timeout_ms.map(Duration::from_millis);
        let timeout = timeout.unwrap_or(self.live.config.limits.timeout).min(TIMEOUT_MOST);
        let network = wanted.network.clone();
        let wanted = Wanted { asked, network, take: wanted.take.clone(), timeout };
        self.begin(client, wanted, at);
    }

    pub(super) fn looked_up(
        &mut self,
        client: ClientId,
        name: &str,
        network: &Secret,
        at: Moment<'_>,
    ) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.is_old = true;
        let Ok(asked) = ServiceName::new(name) else {
            self.actions.push(Action::Drop { client });
            return;
        };
        let network = libipc::network::entries_for(&asked, network.expose());
        let Ok(network) = network else {
            self.actions.push(Action::Drop { client });
            return;
        };
        let timeout = self.live.config.limits.timeout;
        let wanted = Wanted { asked, network, take: vec![Handoff::Descriptor], timeout };
        self.begin(client, wanted, at);
    }

    fn begin(&mut self, client: ClientId, wanted: Wanted, at: Moment<'_>) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        let identity = known.identity.clone();
        match self.decide(&wanted.asked, wanted.network.as_ref(), &identity, at) {
            Ok(decision) => {
                let request = Request::new(wanted, decision, self.revision, at.now);
                if let Some(known) = self.clients.get_mut(&client) {
                    known.request = Some(request);
                }
                self.go_on(client, at);
            }
            Err(error) => {
                let error = answer::of_route(&wanted.asked, &error);
                self.audit.failed(&identity, &wanted.asked, &error, at.now);
                self.finish_with(client, &error);
            }
        }
    }

    pub(super) fn decide(
        &self,
        asked: &ServiceName,
        network: Option<&Secret>,
        identity: &LocalIdentity,
        at: Moment<'_>,
    ) -> Result<Decision, RouteError> {
        let owner = |service: &ServiceName| {
            let place = ServiceSettings::of(&self.live.config, service).socket;
            at.world.door(service, place).ok().map(|door| door.owner)
        };
        let request = policy::decide::Request {
            asked,
            network: network.map(Secret::expose),
            asker: Asker::Local(identity),
            service_owner: &owner,
        };
        decide(&self.live.config, &request)
    }

    /// Tries candidates until one connects, waits, or none is left.
    fn go_on(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else {
            let error = request.verdict_of_all();
            return self.end_with(client, &error, at);
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
            (Target::Local(service), verdict) => {
                let place = ServiceSettings::of(&self.live.config, service).socket;
                match (at.world.door(service, place), verdict) {
                    // A name that no rule mentions and nobody serves is unknown, not forbidden.
                    (Err(DoorError::NotFound), Verdict::Deny { rule: None, .. }) => {
                        Outcome::Failed(answer::unknown(service))
                    }
                    (_, Verdict::Deny { .. }) => Outcome::Failed(answer::denied(candidate)),
                    (Err(error), _) => Outcome::Failed(answer::no_door(service, &error)),
                    (Ok(door), _) => self.open_door(client, candidate, door, at),
                }
            }
            (Target::Remote(_), Verdict::Deny { .. }) => Outcome::Failed(answer::denied(candidate)),
            (Target::Remote(remote), Verdict::Allow { .. }) => {
                self.dial(client, candidate, remote, at)
            }
        }
    }

    /// Hands over the door of a service of this host, if the service and the client can use it.
    fn open_door(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        door: Door,
        at: Moment<'_>,
    ) -> Outcome {
        let Target::Local(service) = &candidate.target else { return Outcome::Done };
        let settings = ServiceSettings::of(&self.live.config, service);
        if !settings.may_belong_to(door.owner, self.private_uid()) {
            return Outcome::Failed(answer::foreign_owner(service, door.owner));
        }
        let Some(known) = self.clients.get(&client) else { return Outcome::Done };
        let takes = known.request.as_ref().map(|request| request.take.as_slice());
        let takes_door = takes.unwrap_or_default().contains(&Handoff::Door);
        let handoff = match (known.is_old, settings.door, takes_door) {
            // Such a client can use nothing but a connected descriptor.
            (true, ..) if settings.trusts_broker || self.is_private() => Handoff::Descriptor,
            (false, true, true) => Handoff::Door,
            (_, true, _) => {
                return Outcome::Failed(answer::no_handoff(candidate, &[Handoff::Door]));
            }
            (_, false, _) => return Outcome::Failed(answer::no_handoff(candidate, &[])),
        };
        self.deliver(client, candidate, Offer { handoff, descriptor: door.descriptor }, at);
        Outcome::Done
    }

    /// The one user of a private instance, who owns its services.
    pub(super) fn private_uid(&self) -> Option<u32> {
        self.is_private().then_some(self.uid)
    }

    fn is_private(&self) -> bool {
        self.directory.instance() != Instance::System
    }

    pub(super) fn deliver(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        offer: Offer,
        at: Moment<'_>,
    ) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        let Some(request) = known.request.take() else { return };
        self.audit.allowed(&known.identity, &request.asked, candidate, at.now);
        if known.is_old {
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

    /// Ends a request without an answer: nobody is there to hear it.
    pub(super) fn end_request(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        match request.state {
            State::New => {}
            State::Queued { until } => {
                self.timers.remove(&(until, client));
                let user = self.clients.get(&client).and_then(|known| known.identity.uid);
                self.quota.stop_waiting(user, client);
            }
            State::Dialling { call, .. } => {
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
        if let Some(request) = known.request.take() {
            self.audit.failed(&known.identity, &request.asked, error, at.now);
        }
        self.finish_with(client, error);
    }

    /// Answers with an error in the client's own protocol; the first libipc's has none.
    fn finish_with(&mut self, client: ClientId, error: &BrokerError) {
        if self.clients.get(&client).is_some_and(|known| known.is_old) {
            self.actions.push(Action::Drop { client });
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
