//! Requests for a connection: policy's candidates, one by one, until one connects.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libipc::identity::LocalIdentity;
use libipc::interface::broker::{BrokerError, Connect, Connected, Handoff, Kind, Resolve};
use libipc::interface::transport::{DIAL, Dial, Dialed, Hello, TransportError};
use libipc::name::ServiceName;
use libipc::rundir::Instance;
use libipc::secret::Secret;
use libipc::varlink::{self, CallFlags};
use policy::decide::{Candidate, Decision, decide};
use policy::query::Verdict;
use policy::route::{Asker, RouteError};
use policy::target::{RemoteTarget, Target};
use sys::door::{Door, DoorError};

use super::quota::Turn;
use super::{Broker, Caller, busy, milliseconds};
use crate::action::{Action, Answer, CallId, ClientId, Socket};
use crate::answer;
use crate::service::ServiceSettings;
use crate::world::World;

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Request {
    asked: ServiceName,
    network: Option<Secret>,
    take: Vec<Handoff>,
    started: Instant,
    deadline: Instant,
    revision: u64,
    candidates: Vec<Candidate>,
    /// Which candidate is tried now.
    current: usize,
    /// What the ones before it said.
    failures: Vec<BrokerError>,
    state: State,
}

/// What the current candidate waits for.
#[derive(Debug)]
enum State {
    /// Nothing yet.
    New,
    /// Its turn.
    Queued { until: Instant },
    /// A transport daemon.
    Dialling { call: CallId, until: Instant },
}

/// How one candidate ended.
enum Outcome {
    /// The client has its connection.
    Done,
    /// Something is under way.
    Waiting,
    /// Not this one.
    Failed(BrokerError),
}

/// Longest time that a request may take, whatever the client says.
const TIMEOUT_MOST: Duration = Duration::from_secs(600);

/// Our own guard behind the time that a daemon was given.
const GUARD: Duration = Duration::from_millis(200);

impl Broker {
    pub(super) fn connect(
        &mut self,
        client: ClientId,
        wanted: &Connect,
        world: &dyn World,
        now: Instant,
    ) {
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
        self.begin(client, asked, network, &wanted.take, (now, timeout), world);
    }

    pub(super) fn looked_up(
        &mut self,
        client: ClientId,
        name: &str,
        network: Secret,
        world: &dyn World,
        now: Instant,
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
        let span = (now, self.live.config.limits.timeout);
        self.begin(client, asked, network, &[Handoff::Descriptor], span, world);
    }

    fn begin(
        &mut self,
        client: ClientId,
        asked: ServiceName,
        network: Option<Secret>,
        take: &[Handoff],
        (now, timeout): (Instant, Duration),
        world: &dyn World,
    ) {
        let Some(known) = self.clients.get(&client) else { return };
        let identity = known.identity.clone();
        match self.decide(&asked, network.as_ref(), &identity, world) {
            Ok(decision) => {
                let request = Request {
                    asked,
                    network,
                    take: take.to_vec(),
                    started: now,
                    deadline: now + timeout,
                    revision: self.revision,
                    candidates: decision.candidates,
                    current: 0,
                    failures: Vec::new(),
                    state: State::New,
                };
                self.store(client, request);
                self.go_on(client, world, now);
            }
            Err(error) => {
                let error = answer::of_route(&asked, &error);
                self.audit.failed(&identity, &asked, &error, now);
                self.finish_with(client, &error);
            }
        }
    }

    fn decide(
        &self,
        asked: &ServiceName,
        network: Option<&Secret>,
        identity: &LocalIdentity,
        world: &dyn World,
    ) -> Result<Decision, RouteError> {
        let owner = |service: &ServiceName| {
            let place = ServiceSettings::of(&self.live.config, service).socket;
            world.door(service, place).ok().map(|door| door.owner)
        };
        let request = policy::decide::Request {
            asked,
            network: network.map(Secret::expose),
            asker: Asker::Local(identity),
            service_owner: &owner,
        };
        decide(&self.live.config, &request)
    }

    pub(super) fn resolve(&mut self, client: ClientId, wanted: &Resolve, world: &dyn World) {
        let Some(known) = self.clients.get(&client) else { return };
        let identity = known.identity.clone();
        if wanted.subject.is_some() || wanted.from.is_some() {
            let reason = "asking about others is not in this version";
            return self.fail(client, &invalid("as", &reason));
        }
        let asked = match ServiceName::new(&wanted.service) {
            Ok(asked) => asked,
            Err(error) => return self.fail(client, &invalid("service", &error)),
        };
        let owner = |service: &ServiceName| {
            let place = ServiceSettings::of(&self.live.config, service).socket;
            world.door(service, place).ok().map(|door| door.owner)
        };
        let request = policy::decide::Request {
            asked: &asked,
            network: wanted.network.as_ref().map(Secret::expose),
            asker: Asker::Local(&identity),
            service_owner: &owner,
        };
        match policy::decide::explain(&self.live.config, &request) {
            Ok(explanation) => {
                let who = answer::who(&identity);
                let resolved = answer::of_explanation(&asked, who, self.revision, &explanation);
                self.reply(client, varlink::reply(&resolved, false), None);
            }
            Err(error) => self.fail(client, &answer::of_route(&asked, &error)),
        }
    }

    /// Tries candidates until one connects, waits, or none is left.
    fn go_on(&mut self, client: ClientId, world: &dyn World, now: Instant) {
        loop {
            let Some(request) = self.request(client) else { return };
            let Some(candidate) = request.candidates.get(request.current).cloned() else {
                let error = request.verdict_of_all();
                return self.end_with(client, &error, now);
            };
            match self.attempt(client, &candidate, world, now) {
                Outcome::Done | Outcome::Waiting => return,
                Outcome::Failed(error) => {
                    let is_last_word = answer::is_last_word(&error);
                    let Some(request) = self.request(client) else { return };
                    request.failures.push(error.clone());
                    request.current += 1;
                    if is_last_word {
                        return self.end_with(client, &error, now);
                    }
                }
            }
        }
    }

    fn attempt(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        world: &dyn World,
        now: Instant,
    ) -> Outcome {
        match (&candidate.target, &candidate.verdict) {
            (Target::Local(service), verdict) => {
                let place = ServiceSettings::of(&self.live.config, service).socket;
                let door = world.door(service, place);
                if let Verdict::Deny { rule, .. } = verdict {
                    // A name that no rule mentions and nobody serves is unknown, not forbidden.
                    return Outcome::Failed(match (door, rule) {
                        (Err(DoorError::NotFound), None) => answer::unknown(service),
                        _ => answer::denied(candidate),
                    });
                }
                self.open_door(client, candidate, service, door, now)
            }
            (Target::Remote(_), Verdict::Deny { .. }) => Outcome::Failed(answer::denied(candidate)),
            (Target::Remote(remote), Verdict::Allow { .. }) => {
                self.dial(client, candidate, remote, world, now)
            }
        }
    }

    fn open_door(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        service: &ServiceName,
        door: Result<Door, DoorError>,
        now: Instant,
    ) -> Outcome {
        let door = match door {
            Ok(door) => door,
            Err(error) => return Outcome::Failed(answer::no_door(service, &error)),
        };
        let settings = ServiceSettings::of(&self.live.config, service);
        if !settings.may_belong_to(door.owner, self.private_uid()) {
            return Outcome::Failed(answer::foreign_owner(service, door.owner));
        }
        let (has_door, trusts_broker) = (settings.door, settings.trusts_broker);
        let is_private = self.is_private();
        let Some(known) = self.clients.get(&client) else { return Outcome::Done };
        if known.is_old {
            if !trusts_broker && !is_private {
                return Outcome::Failed(answer::no_handoff(candidate, &[Handoff::Door]));
            }
            self.deliver(client, candidate, Handoff::Descriptor, door.descriptor, now);
            return Outcome::Done;
        }
        let takes_doors =
            known.request.as_ref().is_some_and(|request| request.take.contains(&Handoff::Door));
        match (has_door, takes_doors) {
            (true, true) => {
                self.deliver(client, candidate, Handoff::Door, door.descriptor, now);
                Outcome::Done
            }
            (true, false) => Outcome::Failed(answer::no_handoff(candidate, &[Handoff::Door])),
            (false, _) => Outcome::Failed(answer::no_handoff(candidate, &[])),
        }
    }

    /// The one user of a private instance, who owns its services.
    pub(super) fn private_uid(&self) -> Option<u32> {
        self.is_private().then_some(self.uid)
    }

    fn is_private(&self) -> bool {
        self.directory.instance() != Instance::System
    }

    fn dial(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        remote: &RemoteTarget,
        world: &dyn World,
        now: Instant,
    ) -> Outcome {
        let stack = self.live.config.schemes().stack(&remote.scheme).unwrap_or_default();
        let missing = stack.iter().find(|daemon| !world.has_transport(daemon));
        if let Some(missing) = missing {
            return Outcome::Failed(answer::transport_missing(candidate, missing));
        }
        if stack.len() != 1 {
            return Outcome::Failed(answer::not_in_this_version(candidate));
        }
        let Some(known) = self.clients.get(&client) else { return Outcome::Done };
        let takes = known.request.as_ref().map(|request| request.take.as_slice());
        if !takes.unwrap_or_default().contains(&Handoff::Descriptor) {
            return Outcome::Failed(answer::no_handoff(candidate, &[Handoff::Descriptor]));
        }
        let user = known.identity.uid;
        match self.quota.dial(user, client, self.most()) {
            Err(full) => Outcome::Failed(busy(full)),
            Ok(Turn::Now) => {
                self.start_dial(client, now);
                Outcome::Waiting
            }
            Ok(Turn::Later) => {
                let Some(request) = self.request(client) else { return Outcome::Done };
                let until = request.deadline;
                request.state = State::Queued { until };
                self.timers.insert((until, client));
                Outcome::Waiting
            }
        }
    }

    /// Calls the daemon for the current candidate. The place for it is taken already.
    fn start_dial(&mut self, client: ClientId, now: Instant) {
        let schemes = self.live.config.schemes().clone();
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else { return };
        let (Target::Remote(remote), Verdict::Allow { addresses, .. }) =
            (&candidate.target, &candidate.verdict)
        else {
            return;
        };
        let share = request.share_of_time(now);
        let parameters = Dial {
            host: remote.host.bare(),
            port: remote.port,
            addresses: answer::addresses(addresses, schemes.dials_addresses(&remote.scheme)),
            options: remote.options.clone(),
            hello: remote.service.as_ref().map(|service| Hello {
                service: service.to_string(),
                hops: 1,
                user: remote.user.clone(),
                secret: remote.secret.clone(),
            }),
            keep: None,
            deadline_ms: milliseconds(share).max(1),
        };
        let daemon = schemes.stack(&remote.scheme).and_then(<[_]>::first).cloned();
        let message = varlink::call(DIAL, &parameters, CallFlags::default());
        let call = self.call(&daemon.unwrap_or_default(), message, None, Caller::Client(client));
        let until = now + share + GUARD;
        if let Some(request) = self.request(client) {
            request.state = State::Dialling { call, until };
        }
        self.timers.insert((until, client));
    }

    /// A transport daemon answered for the current candidate.
    pub(super) fn answered(
        &mut self,
        client: ClientId,
        answer: Answer,
        world: &dyn World,
        now: Instant,
    ) {
        self.release(client, now);
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else { return };
        let outcome = match read_dialed(&candidate, answer, request.waited(now)) {
            Ok(socket) => self.check_and_deliver(client, &candidate, socket, world, now),
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return };
        let is_last_word = answer::is_last_word(&error);
        let Some(request) = self.request(client) else { return };
        request.failures.push(error.clone());
        request.current += 1;
        if is_last_word {
            self.end_with(client, &error, now);
        } else {
            self.go_on(client, world, now);
        }
    }

    /// Policy's second look: at the address that really answered, and under today's rules.
    fn check_and_deliver(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        socket: Socket,
        world: &dyn World,
        now: Instant,
    ) -> Result<(), BrokerError> {
        let Some(known) = self.clients.get(&client) else { return Ok(()) };
        let identity = known.identity.clone();
        let Some(request) = known.request.as_ref() else { return Ok(()) };
        let mut candidate = candidate.clone();
        if request.revision != self.revision {
            let decision = self.decide(&request.asked, request.network.as_ref(), &identity, world);
            candidate = decision
                .map_err(|error| answer::of_route(&request.asked, &error))?
                .candidates
                .into_iter()
                .find(|again| again.target == candidate.target)
                .ok_or_else(|| answer::route_changed(&candidate))?;
            if !candidate.verdict.is_allow() {
                return Err(answer::denied(&candidate));
            }
        }
        self.check_socket(&candidate, &socket, &identity)?;
        self.deliver(client, &candidate, Handoff::Descriptor, socket.descriptor, now);
        Ok(())
    }

    fn check_socket(
        &self,
        candidate: &Candidate,
        socket: &Socket,
        identity: &LocalIdentity,
    ) -> Result<(), BrokerError> {
        let Target::Remote(remote) = &candidate.target else { return Ok(()) };
        if !socket.is_connected_stream {
            return Err(answer::wrong_descriptor(candidate));
        }
        if !self.live.config.schemes().dials_addresses(&remote.scheme) {
            return Ok(());
        }
        let peer = socket.peer.filter(|peer| !socket.is_unix && peer.port() == remote.port);
        let Some(peer) = peer else { return Err(answer::wrong_descriptor(candidate)) };
        let again = policy::decide::recheck(
            &self.live.config,
            &candidate.service,
            remote,
            Asker::Local(identity),
            peer.ip().to_canonical(),
        );
        match again {
            Verdict::Allow { .. } => Ok(()),
            verdict @ Verdict::Deny { .. } => {
                Err(answer::denied(&Candidate { verdict, ..candidate.clone() }))
            }
        }
    }

    fn deliver(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        handoff: Handoff,
        descriptor: OwnedFd,
        now: Instant,
    ) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        let Some(request) = known.request.take() else { return };
        self.audit.allowed(&known.identity, &request.asked, candidate, now);
        if known.is_old {
            self.actions.push(Action::Provide { client, descriptor });
            return;
        }
        let answer = Connected {
            handoff,
            kind: Kind::Stream,
            target: candidate.target.to_string(),
            rule: answer::rule_with_source(&candidate.verdict),
        };
        self.reply(client, varlink::reply(&answer, false), Some(descriptor));
    }

    /// The current candidate, or the wait for its turn, took too long.
    pub(super) fn timed_out(&mut self, client: ClientId, world: &dyn World, now: Instant) {
        let Some(request) = self.request(client) else { return };
        let waited = request.waited(now);
        let target = request.candidates.get(request.current).map(|one| one.target.to_string());
        let target = target.unwrap_or_default();
        match request.state {
            State::Queued { until } if until <= now => {
                let user = self.clients.get(&client).and_then(|known| known.identity.uid);
                self.quota.stop_waiting(user, client);
                let error = BrokerError::TimedOut { target, waited_ms: milliseconds(waited) };
                self.end_with(client, &error, now);
            }
            State::Dialling { call, until } if until <= now => {
                self.calls.remove(&call);
                self.actions.push(Action::Cancel { call });
                self.release(client, now);
                let error = BrokerError::TimedOut { target, waited_ms: milliseconds(waited) };
                let Some(request) = self.request(client) else { return };
                request.failures.push(error);
                request.current += 1;
                self.go_on(client, world, now);
            }
            _ => {}
        }
    }

    /// Gives the place of the current dial back, and starts the next of that user.
    fn release(&mut self, client: ClientId, now: Instant) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        let user = known.identity.uid;
        let Some(request) = known.request.as_mut() else { return };
        let State::Dialling { until, .. } = request.state else { return };
        request.state = State::New;
        self.timers.remove(&(until, client));
        while let Some(next) = self.quota.dialled(user) {
            let waiting = self.request(next).map(|request| match request.state {
                State::Queued { until } => Some(until),
                _ => None,
            });
            if let Some(Some(until)) = waiting {
                self.timers.remove(&(until, next));
                self.start_dial(next, now);
                return;
            }
        }
    }

    /// Ends a request without an answer: nobody is there to hear it.
    pub(super) fn end_request(&mut self, client: ClientId, _world: &dyn World, now: Instant) {
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
                self.release(client, now);
            }
        }
        if let Some(known) = self.clients.get_mut(&client) {
            known.request = None;
        }
    }

    fn end_with(&mut self, client: ClientId, error: &BrokerError, now: Instant) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        if let Some(request) = known.request.take() {
            self.audit.failed(&known.identity, &request.asked, error, now);
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

    fn request(&mut self, client: ClientId) -> Option<&mut Request> {
        self.clients.get_mut(&client)?.request.as_mut()
    }

    fn store(&mut self, client: ClientId, request: Request) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.request = Some(request);
        }
    }
}

impl Request {
    fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// An equal share of the time left for each candidate that may still be tried.
    fn share_of_time(&self, now: Instant) -> Duration {
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

fn read_dialed(
    candidate: &Candidate,
    answer: Answer,
    waited: Duration,
) -> Result<Socket, BrokerError> {
    let Answer::Reply { message, socket } = answer else {
        return Err(answer::transport_gone(candidate));
    };
    if let Ok(error) = serde_json::from_slice::<TransportError>(&message) {
        return Err(answer::of_transport(candidate, error, milliseconds(waited)));
    }
    let reply = varlink::read_reply(&message).ok();
    let is_dialed = reply.is_some_and(|reply| {
        reply.error.is_none() && varlink::read_parameters::<Dialed>(reply.parameters).is_ok()
    });
    socket.filter(|_| is_dialed).ok_or_else(|| answer::wrong_descriptor(candidate))
}

fn invalid(field: &str, reason: &impl ToString) -> BrokerError {
    BrokerError::InvalidRequest { field: field.to_owned(), reason: reason.to_string() }
}
