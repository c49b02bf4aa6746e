//! The way to another host: a transport daemon dials, and policy looks again at what came back.

use std::time::Duration;

use libipc::identity::LocalIdentity;
use libipc::interface::broker::{BrokerError, Handoff};
use libipc::interface::transport::{DIAL, Dial, Dialed, Hello, TransportError};
use libipc::varlink::{self, CallFlags};
use policy::decide::Candidate;
use policy::query::Verdict;
use policy::route::Asker;
use policy::target::{RemoteTarget, Target};

use super::quota::Turn;
use super::requests::{Offer, Outcome, State};
use super::{Broker, Caller, Moment, busy, milliseconds};
use crate::action::{Action, Answer, ClientId, Socket};
use crate::answer;

/// Our own guard behind the time that a daemon was given.
const GUARD: Duration = Duration::from_millis(200);

impl Broker {
    pub(super) fn dial(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        remote: &RemoteTarget,
        at: Moment<'_>,
    ) -> Outcome {
        let stack = self.live.config.schemes().stack(&remote.scheme).unwrap_or_default();
        let missing = stack.iter().find(|daemon| !at.world.has_transport(daemon));
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
                self.start_dial(client, at);
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
    fn start_dial(&mut self, client: ClientId, at: Moment<'_>) {
        let schemes = self.live.config.schemes().clone();
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else { return };
        let (Target::Remote(remote), Verdict::Allow { addresses, .. }) =
            (&candidate.target, &candidate.verdict)
        else {
            return;
        };
        let share = request.share_of_time(at.now);
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
        let until = at.now + share + GUARD;
        if let Some(request) = self.request(client) {
            request.state = State::Dialling { call, until };
        }
        self.timers.insert((until, client));
    }

    /// A transport daemon answered for the current candidate.
    pub(super) fn answered(&mut self, client: ClientId, answer: Answer, at: Moment<'_>) {
        self.release(client, at);
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else { return };
        let outcome = match read_dialed(&candidate, answer, request.waited(at.now)) {
            Ok(socket) => self.check_and_deliver(client, &candidate, socket, at),
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return };
        self.failed(client, error, at);
    }

    /// Policy's second look: at the address that really answered, and under today's rules.
    fn check_and_deliver(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        socket: Socket,
        at: Moment<'_>,
    ) -> Result<(), BrokerError> {
        let Some(known) = self.clients.get(&client) else { return Ok(()) };
        let identity = known.identity.clone();
        let Some(request) = known.request.as_ref() else { return Ok(()) };
        let mut candidate = candidate.clone();
        if request.revision != self.revision {
            let decision = self.decide(&request.asked, request.network.as_ref(), &identity, at);
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
        let offer = Offer { handoff: Handoff::Descriptor, descriptor: socket.descriptor };
        self.deliver(client, &candidate, offer, at);
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

    /// The current candidate, or the wait for its turn, took too long.
    pub(super) fn timed_out(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        let waited = request.waited(at.now);
        let target = request.candidates.get(request.current).map(|one| one.target.to_string());
        let target = target.unwrap_or_default();
        match request.state {
            State::Queued { until } if until <= at.now => {
                let user = self.clients.get(&client).and_then(|known| known.identity.uid);
                self.quota.stop_waiting(user, client);
                let error = BrokerError::TimedOut { target, waited_ms: milliseconds(waited) };
                self.end_with(client, &error, at);
            }
            State::Dialling { call, until } if until <= at.now => {
                self.calls.remove(&call);
                self.actions.push(Action::Cancel { call });
                self.release(client, at);
                let error = BrokerError::TimedOut { target, waited_ms: milliseconds(waited) };
                self.failed(client, error, at);
            }
            _ => {}
        }
    }

    /// Gives the place of the current dial back, and starts the next of that user.
    pub(super) fn release(&mut self, client: ClientId, at: Moment<'_>) {
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
                self.start_dial(next, at);
                return;
            }
        }
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
