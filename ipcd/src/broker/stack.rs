//! From the socket that was dialled up the stack of its scheme, and policy's second look at it.

use std::net::{IpAddr, SocketAddr};

use libipc::interface::broker::{BrokerError, Handoff};
use libipc::interface::transport::{
    ATTACH, Agreed, Dialed, Hello, TransportError, WRAP, Wrap, Wrapped,
};
use libipc::secret::Secret;
use libipc::varlink::{self, CallFlags};
use policy::decide::{Candidate, recheck, refuse_own};
use policy::query::Verdict;
use policy::route::Asker;
use policy::target::{RemoteTarget, Target};

use super::dial::GUARD;
use super::registration::{connected, known_speaks_varlink};
use super::requests::{Offer, State};
use super::{Broker, Caller, Moment, milliseconds};
use crate::action::{Action, Answer, CallId, ClientId, Socket};
use crate::answer;
use crate::channel::read_reply;
use crate::connections::{Carried, Handed};

/// How far up its stack a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The first daemon connects.
    Dial,
    /// The daemon at this place of the stack wraps what the one before has made.
    Wrap(usize),
    /// That daemon is to hand over its end of what it knows under this number.
    Attach(usize, u64),
}

/// What one stage brought.
enum Brought {
    Socket(Socket),
    Agreed(u64),
    /// The first daemon keeps what it has connected to this address.
    Kept {
        id: u64,
        address: SocketAddr,
    },
}

impl Broker {
    /// A transport daemon answered for the current candidate.
    pub(super) fn answered(
        &mut self,
        client: ClientId,
        call: CallId,
        answer: Answer,
        at: Moment<'_>,
    ) {
        let Some(request) = self.request(client) else { return };
        let State::Dialling { stage, .. } = request.state else { return };
        let waited = milliseconds(request.waited(at.now));
        let Some(candidate) = request.candidates.get(request.current).cloned() else { return };
        let depth = self.depth(&candidate);
        let is_last = |stage| matches!(stage, Stage::Wrap(place) if place + 1 == depth);
        let brought = match self.denied_at(client, &candidate, &answer) {
            Some(denied) => Err(denied),
            None => read(&candidate, stage, answer, waited),
        };
        let outcome = brought.and_then(|brought| match brought {
            Brought::Agreed(id) if self.gives_itself(client) && is_last(stage) => {
                self.join_up(client, (call, stage), (&candidate, id), at)
            }
            Brought::Agreed(id) => {
                self.attach(client, (call, stage), id);
                Ok(())
            }
            Brought::Kept { id, address } => {
                if let Some(request) = self.request(client) {
                    request.reached = Some(address);
                }
                self.join_up(client, (call, stage), (&candidate, id), at)
            }
            Brought::Socket(socket) => self.climb_on(client, (&candidate, stage), socket, at),
        });
        if let Err(error) = outcome {
            self.release(client, at);
            self.failed(client, error, at);
        }
    }

    /// Whether a client's own connection is what becomes the stream: it cannot take another.
    pub(super) fn gives_itself(&self, client: ClientId) -> bool {
        let request = self.clients.get(&client).and_then(|known| known.request.as_ref());
        let takes = request.map(|request| request.take.as_slice()).unwrap_or_default();
        takes.contains(&Handoff::Upgrade) && !takes.contains(&Handoff::Descriptor)
    }

    /// Daemons in the stack of a candidate's scheme.
    fn depth(&self, candidate: &Candidate) -> usize {
        let Target::Remote(remote) = &candidate.target else { return 0 };
        self.live.config.schemes().stack(&remote.scheme).unwrap_or_default().len()
    }

    /// The last daemon of the stack relays to the client's own connection.
    fn join_up(
        &mut self,
        client: ClientId,
        (before, stage): (CallId, Stage),
        (candidate, id): (&Candidate, u64),
        at: Moment<'_>,
    ) -> Result<(), BrokerError> {
        let Target::Remote(remote) = &candidate.target else { return Ok(()) };
        let reached = self.request(client).and_then(|request| request.reached);
        if stage == Stage::Dial && reached.is_none_or(|reached| reached.port() != remote.port) {
            return Err(answer::wrong_descriptor(candidate));
        }
        let stack = self.live.config.schemes().stack(&remote.scheme).unwrap_or_default();
        let daemon = stack.last().map(ToString::to_string).unwrap_or_default();
        let candidate = self.decide_again(client, candidate, at)?;
        let address = reached.map(|reached| reached.ip().to_canonical());
        let handed = Handed { carried: Carried::Relayed { daemon, id }, address };
        let answer = known_speaks_varlink(self, client).then(|| connected(&candidate));
        self.release(client, at);
        let listed = self.end_with_success(client, &candidate, handed, at);
        let call = self.next_call(listed.map_or(Caller::Nobody, |id| Caller::Joined { id }));
        let message = varlink::call(ATTACH, &Agreed { id }, CallFlags::default());
        self.actions.push(Action::Join { client, answer, before, call, message });
        Ok(())
    }

    /// What was made is wrapped by the next daemon; behind the last one it is the client's.
    fn climb_on(
        &mut self,
        client: ClientId,
        (candidate, stage): (&Candidate, Stage),
        socket: Socket,
        at: Moment<'_>,
    ) -> Result<(), BrokerError> {
        let Target::Remote(remote) = &candidate.target else { return Ok(()) };
        if !self.may_bring(remote, stage, &socket) {
            return Err(answer::wrong_descriptor(candidate));
        }
        let is_decided = self.live.config.schemes().dials_addresses(&remote.scheme);
        if let Some(request) = self.request(client)
            && stage == Stage::Dial
        {
            request.reached = socket.peer.filter(|_| is_decided);
        }
        let candidate = self.decide_again(client, candidate, at)?;
        let next = match stage {
            Stage::Dial => 1,
            Stage::Wrap(place) | Stage::Attach(place, _) => place + 1,
        };
        let stack = self.live.config.schemes().stack(&remote.scheme).unwrap_or_default();
        if let Some(daemon) = stack.get(next).cloned() {
            let is_last = next + 1 == stack.len();
            self.wrap(client, (&daemon, next, is_last), (remote, socket), at);
            return Ok(());
        }
        let carried = match (stage, stack.last()) {
            (Stage::Attach(_, id), Some(daemon)) => {
                Carried::Relayed { daemon: daemon.to_string(), id }
            }
            _ => Carried::Socket { number: socket.number },
        };
        let reached = self.request(client).and_then(|request| request.reached);
        let address = reached.map(|reached| reached.ip().to_canonical());
        let (descriptor, handed) = (socket.descriptor, Handed { carried, address });
        self.release(client, at);
        let offer = Offer { handoff: Handoff::Descriptor, descriptor, handed };
        self.deliver(client, &candidate, offer, at);
        Ok(())
    }

    fn wrap(
        &mut self,
        client: ClientId,
        (daemon, place, is_last): (&str, usize, bool),
        (remote, socket): (&RemoteTarget, Socket),
        at: Moment<'_>,
    ) {
        let Some(request) = self.request(client) else { return };
        let State::Dialling { until, .. } = request.state else { return };
        let left = until.saturating_duration_since(at.now).saturating_sub(GUARD);
        let parameters = Wrap {
            host: remote.host.bare(),
            options: remote.options_for(daemon, false),
            hello: if is_last { hello_for(remote) } else { None },
            deadline_ms: milliseconds(left).max(1),
        };
        let message = varlink::call(WRAP, &parameters, CallFlags::default());
        let socket = Some(socket.descriptor);
        let call = self.call(daemon, message, socket, Caller::Client(client));
        if let Some(request) = self.request(client) {
            request.state = State::Dialling { call, until, stage: Stage::Wrap(place) };
        }
    }

    fn attach(&mut self, client: ClientId, (call, stage): (CallId, Stage), id: u64) {
        let (Stage::Wrap(place) | Stage::Attach(place, _)) = stage else { return };
        let message = varlink::call(ATTACH, &Agreed { id }, CallFlags::default());
        let call = self.call_via(call, message, None, Caller::Client(client));
        let Some(request) = self.request(client) else { return };
        if let State::Dialling { until, .. } = request.state {
            request.state = State::Dialling { call, until, stage: Stage::Attach(place, id) };
        }
    }

    /// Policy's second look: under today's rules, and at the address that really answered.
    fn decide_again(
        &self,
        client: ClientId,
        candidate: &Candidate,
        at: Moment<'_>,
    ) -> Result<Candidate, BrokerError> {
        let mut candidate = candidate.clone();
        let Some(known) = self.clients.get(&client) else { return Ok(candidate) };
        let Some(request) = known.request.as_ref() else { return Ok(candidate) };
        if request.revision != self.revision {
            let network = request.network.as_ref();
            candidate = self
                .decide(&request.asked, network, &known.identity, at)
                .map_err(|error| answer::of_route(&error))?
                .candidates
                .into_iter()
                .find(|again| again.target == candidate.target)
                .ok_or_else(|| answer::route_changed(&candidate))?;
            if !candidate.verdict.is_allow() {
                return Err(answer::denied(&candidate));
            }
        }
        let (Some(reached), Target::Remote(remote)) = (request.reached, &candidate.target) else {
            return Ok(candidate);
        };
        let verdict = recheck(
            &self.live.config,
            &candidate.service,
            remote,
            Asker::Local(&known.identity),
            reached.ip().to_canonical(),
        );
        let again = Candidate { verdict, ..candidate };
        if again.verdict.is_allow() { Ok(again) } else { Err(answer::denied(&again)) }
    }

    /// Why the only addresses that a name has are forbidden, in policy's words: the daemon that
    /// resolved it knows no more than the networks that it was given.
    fn denied_at(
        &self,
        client: ClientId,
        candidate: &Candidate,
        answer: &Answer,
    ) -> Option<BrokerError> {
        let Answer::Reply { message, .. } = answer else { return None };
        let Ok(TransportError::AddressDenied { address, .. }) = serde_json::from_slice(message)
        else {
            return None;
        };
        let Target::Remote(remote) = &candidate.target else { return None };
        let (service, asker) = (&candidate.service, &self.clients.get(&client)?.identity);
        let reached = address.parse::<IpAddr>().ok()?.to_canonical();
        let config = &self.live.config;
        let mut verdict = recheck(config, service, remote, Asker::Local(asker), reached);
        if verdict.is_allow() {
            // The daemon knows one thing more: which addresses are this host's own.
            verdict = refuse_own(service, remote, asker, (reached, &verdict));
        }
        let Verdict::Deny { rule, reason, cure } = verdict else { return None };
        let reason = format!("it has the address {address}: {reason}");
        let verdict = Verdict::Deny { rule, reason, cure };
        Some(answer::denied(&Candidate { verdict, ..candidate.clone() }))
    }

    /// Whether a socket is what this stage may bring.
    fn may_bring(&self, remote: &RemoteTarget, stage: Stage, socket: &Socket) -> bool {
        let is_there = || {
            let peer = socket.peer.filter(|peer| peer.port() == remote.port);
            peer.is_some() && !socket.is_unix
        };
        socket.is_connected_stream
            && match stage {
                Stage::Dial if self.live.config.schemes().dials_addresses(&remote.scheme) => {
                    is_there()
                }
                Stage::Dial => true,
                Stage::Wrap(_) | Stage::Attach(..) => socket.is_unix,
            }
    }
}

/// What the far daemon is told, if the target names a service there.
pub(super) fn hello_for(remote: &RemoteTarget) -> Option<Hello> {
    let service = remote.service.as_ref()?;
    // A user without a secret says so; it is for the far side to judge.
    let secret = || remote.user.as_ref().map(|_| Secret::new(String::new()));
    Some(Hello {
        service: service.to_string(),
        hops: 1,
        user: remote.user.clone(),
        secret: remote.secret.clone().or_else(secret),
    })
}

fn read(
    candidate: &Candidate,
    stage: Stage,
    answer: Answer,
    waited_ms: u64,
) -> Result<Brought, BrokerError> {
    let Answer::Reply { message, socket } = answer else {
        return Err(answer::transport_gone(candidate));
    };
    if let Ok(error) = serde_json::from_slice::<TransportError>(&message) {
        return Err(answer::of_transport(candidate, error, waited_ms));
    }
    let brought = match stage {
        Stage::Dial => {
            read_reply::<Dialed>(&message).and_then(|dialed| match (dialed.id, socket) {
                (None, Some(socket)) => Some(Brought::Socket(socket)),
                (Some(id), None) => Some(Brought::Kept { id, address: dialed.address }),
                _ => None,
            })
        }
        Stage::Wrap(_) => read_reply::<Wrapped>(&message).map(|agreed| Brought::Agreed(agreed.id)),
        Stage::Attach(..) => socket.map(Brought::Socket),
    };
    brought.ok_or_else(|| answer::wrong_descriptor(candidate))
}
