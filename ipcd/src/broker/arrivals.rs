//! Remote peers that ask for a service of this host.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libipc::identity::RemoteIdentity;
use libipc::interface::Identity;
use libipc::interface::broker::BrokerError;
use libipc::interface::transport::{
    ATTACH, Agreed, Arrival, Arrived, REFUSE, Refuse, SERVE, Serve, TransportError,
};
use libipc::name::ServiceName;
use libipc::varlink::{self, CallFlags};
use policy::decide::{Candidate, decide};
use policy::peer::Kind;
use policy::route::Asker;
use policy::target::Target;
use sys::door::Door;

use super::logins::Login;
use super::notes::Given;
use super::{Broker, Caller, Moment};
use crate::action::{Action, Answer, CallId};
use crate::answer;
use crate::channel::read_reply;
use crate::connections::{Carried, Handed};
use crate::decision;
use crate::service::ServiceSettings;

/// Calls to other daemons that are under way at most; a peer beyond is told to come again.
const CALLS_MOST: usize = 8192;

/// Calls beyond those that tell peers so; where these are under way too, nothing is said, and the
/// daemon that brought a peer tells it by itself.
const REFUSALS_MOST: usize = 1024;

/// How long a daemon may take to go on with a peer. It has its own, shorter limits.
const CLIMB_TIME: Duration = Duration::from_secs(20);

/// Time that a daemon gets for its part of a peer's way.
const SERVE_TIME: Duration = Duration::from_secs(15);

/// A peer that has said what it wants.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) service: ServiceName,
    pub(super) identity: RemoteIdentity,
}

/// A peer that was let in, while its way is made.
#[derive(Debug)]
pub(super) struct Arriving {
    service: ServiceName,
    identity: RemoteIdentity,
    candidate: Candidate,
    way: Passing,
    /// The configuration that let it in.
    revision: u64,
}

/// How a peer gets to its service.
#[derive(Debug)]
enum Passing {
    /// The daemon that brings it relays.
    Relayed { daemon: String, id: u64 },
    /// The service, which has registered, gets its connection.
    Handed,
}

/// Where a peer is let in.
enum Way {
    /// Through the door of a service with a socket of its own.
    Door(Door),
    /// To a service that has registered.
    Registered,
}

/// Why a peer gets nothing, and where the name would have led.
struct Refused {
    candidates: Vec<Candidate>,
    error: BrokerError,
}

/// A peer on its way up the stack of its scheme, before it has said what it wants.
#[derive(Debug)]
pub(super) struct Climbing {
    scheme: String,
    listener: String,
    address: SocketAddr,
    /// What daemons below have proven about it, if there was one that can.
    proven: Option<Vec<String>>,
    step: ClimbingStep,
}

#[derive(Debug)]
enum ClimbingStep {
    /// The daemon below hands the stream over, to this one.
    Fetched { next: String },
    /// This daemon serves it.
    Served { daemon: String },
}

/// Who brings a peer: a daemon, and the call on whose connection it did, if that was not `Listen`.
#[derive(Debug)]
pub(super) struct Bringer {
    pub(super) daemon: String,
    pub(super) via: Option<CallId>,
    /// What daemons below it have proven about the peer, if there was one that can.
    pub(super) proven: Option<Vec<String>>,
}

impl Bringer {
    /// A daemon that told of a peer by `Listen`.
    pub(super) fn listening(daemon: String) -> Self {
        Self { daemon, via: None, proven: None }
    }
}

impl Broker {
    pub(super) fn arrived(&mut self, from: Bringer, mut arrival: Arrival, at: Moment<'_>) {
        let login = Login::take(&mut arrival);
        match room_beside(self.calls.len()) {
            Room::ToDecide => {}
            room => {
                self.audit.limit_reached("calls");
                if room == Room::ToRefuse {
                    self.refuse(&from, arrival.id, true, at);
                }
                return;
            }
        }
        let config = &self.live.config;
        let schemes = config.schemes();
        let next = schemes.after(&arrival.scheme, &from.daemon).map(ToOwned::to_owned);
        let proven = if schemes.daemon_proves_names(&from.daemon) {
            Some(arrival.identity.names.clone())
        } else {
            from.proven.clone()
        };
        // A scheme that promises proof is nothing that another daemon may claim.
        let is_claim = schemes.proves_names(&arrival.scheme) && proven.is_none();
        match (&arrival.service, next) {
            (None, Some(next)) => self.climb(&from, &arrival, (next, proven), at),
            (Some(service), None) if !is_claim => {
                let identity = RemoteIdentity {
                    scheme: arrival.scheme.clone(),
                    address: arrival.address.ip().to_canonical(),
                    names: proven.into_iter().flatten().filter(|name| !is_login(name)).collect(),
                };
                let peer = ServiceName::new(service).map(|service| Peer { service, identity });
                match (peer, login) {
                    (Ok(peer), None) => self.judge(&from, &arrival, peer, at),
                    (Ok(peer), Some(login))
                        if self.live.config.schemes().proves_names(&arrival.scheme) =>
                    {
                        self.verify(from, (arrival, peer), login, at);
                    }
                    // Where it came by, everybody can have read it.
                    (Ok(_), Some(_)) => self.refuse_login(&from, arrival.id, false, at),
                    (Err(_), _) => self.refuse(&from, arrival.id, false, at),
                }
            }
            (Some(_), _) | (None, None) => self.refuse(&from, arrival.id, false, at),
        }
    }

    /// Asks policy about a peer that has said what it wants.
    pub(super) fn judge(&mut self, from: &Bringer, arrival: &Arrival, peer: Peer, at: Moment<'_>) {
        let Peer { service, identity } = peer;
        match self.way_for_peer(&service, &identity, arrival.hops, at) {
            Ok((way, candidate)) => {
                let (door, way) = match way {
                    Way::Door(door) => {
                        let way = Passing::Relayed { daemon: from.daemon.clone(), id: arrival.id };
                        (Some(door.descriptor), way)
                    }
                    Way::Registered => (None, Passing::Handed),
                };
                let revision = self.revision;
                let arriving = Arriving { service, identity, candidate, way, revision };
                let caller = Caller::Arrival(Box::new(arriving));
                let call = self.attach_to(from, arrival.id, door, caller);
                self.late.push_back((at.now + CLIMB_TIME, call));
            }
            Err(refused) => {
                let who = Identity::Remote(identity);
                let about = decision::about(who, Some(&service), self.revision);
                self.note_failed(about, &refused.candidates, &refused.error, at.now);
                let retry = matches!(refused.error, BrokerError::Busy { .. });
                self.refuse(from, arrival.id, retry, at);
            }
        }
    }

    /// Has the daemon that brought a peer go on with it, on the connection that it lives by.
    fn attach_to(
        &mut self,
        from: &Bringer,
        id: u64,
        descriptor: Option<OwnedFd>,
        caller: Caller,
    ) -> CallId {
        let message = varlink::call(ATTACH, &Agreed { id }, CallFlags::default());
        match from.via {
            Some(via) => self.call_via(via, message, descriptor, caller),
            None => self.call(&from.daemon, message, descriptor, caller),
        }
    }

    /// Has the daemon below hand its stream over, for the next daemon of the stack.
    fn climb(
        &mut self,
        from: &Bringer,
        arrival: &Arrival,
        (next, proven): (String, Option<Vec<String>>),
        at: Moment<'_>,
    ) {
        let climbing = Climbing {
            scheme: arrival.scheme.clone(),
            listener: arrival.listener.clone(),
            address: arrival.address,
            proven,
            step: ClimbingStep::Fetched { next },
        };
        let call = self.attach_to(from, arrival.id, None, Caller::Climb(climbing));
        self.late.push_back((at.now + CLIMB_TIME, call));
    }

    /// A daemon answered about a peer on its way. One that got lost is closed by what is dropped.
    pub(super) fn climbed(
        &mut self,
        climbing: Climbing,
        call: CallId,
        answer: Answer,
        at: Moment<'_>,
    ) {
        let Answer::Reply { message, socket } = answer else { return };
        match climbing.step {
            ClimbingStep::Fetched { ref next } => {
                let Some(socket) = socket.filter(|socket| socket.is_connected_stream) else {
                    return;
                };
                let parameters = Serve {
                    listener: climbing.listener.clone(),
                    address: climbing.address,
                    service: None,
                    deadline_ms: super::milliseconds(SERVE_TIME),
                };
                let message = varlink::call(SERVE, &parameters, CallFlags::default());
                let next = next.clone();
                let step = ClimbingStep::Served { daemon: next.clone() };
                let caller = Caller::Climb(Climbing { step, ..climbing });
                let call = self.call(&next, message, Some(socket.descriptor), caller);
                self.late.push_back((at.now + CLIMB_TIME, call));
            }
            ClimbingStep::Served { daemon } => {
                let Some(Arrived { mut arrival }) = read_reply(&message) else { return };
                // What came before is known better here than there.
                arrival.scheme = climbing.scheme;
                arrival.listener = climbing.listener;
                arrival.address = climbing.address;
                let from = Bringer { daemon, via: Some(call), proven: climbing.proven };
                self.arrived(from, arrival, at);
            }
        }
    }

    /// Gives up calls for peers that took too long.
    pub(super) fn give_up_late(&mut self, at: Moment<'_>) {
        while let Some((when, call)) = self.late.front().copied() {
            if when > at.now {
                return;
            }
            self.late.pop_front();
            if self.calls.remove(&call).is_some() {
                self.actions.push(Action::Cancel { call });
            }
        }
    }

    /// The way that a peer may go. A peer is told nothing about why there is none; the log is.
    fn way_for_peer(
        &self,
        service: &ServiceName,
        identity: &RemoteIdentity,
        hops: Option<u32>,
        at: Moment<'_>,
    ) -> Result<(Way, Candidate), Box<Refused>> {
        let hops = u8::try_from(hops.unwrap_or(1)).unwrap_or(u8::MAX);
        let request = policy::decide::Request {
            asked: service,
            network: None,
            asker: Asker::Remote(identity, hops),
            service_owner: &|service| self.owner_of(service, at),
        };
        let decision = decide(&self.live.config, &request).map_err(|error| {
            let error = answer::of_route(&error);
            Box::new(Refused { candidates: Vec::new(), error })
        })?;
        let mut first = None;
        for candidate in &decision.candidates {
            match self.way_to(candidate, at) {
                Ok(way) => return Ok((way, candidate.clone())),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let error = first.unwrap_or_else(|| answer::unknown(service));
        Err(Box::new(Refused { candidates: decision.candidates, error }))
    }

    fn way_to(&self, candidate: &Candidate, at: Moment<'_>) -> Result<Way, BrokerError> {
        let Target::Local(target) = &candidate.target else {
            return Err(answer::unknown(&candidate.service));
        };
        if !candidate.verdict.is_allow() {
            return Err(answer::denied(candidate));
        }
        if self.registry.get(target).is_some() {
            return self.room_at(target, at).map(|()| Way::Registered);
        }
        let settings = ServiceSettings::of(&self.live.config, target);
        if !settings.door {
            return Err(answer::no_handoff(candidate, &[]));
        }
        let door = at.world.door(target, settings.socket);
        let door = door.map_err(|error| answer::no_door(target, &error))?;
        if !settings.may_belong_to(door.owner, self.private_uid()) {
            return Err(answer::foreign_owner(target, door.owner));
        }
        Ok(Way::Door(door))
    }

    fn refuse(&mut self, from: &Bringer, id: u64, retry: bool, at: Moment<'_>) {
        self.tell_no(from, &Refuse { id, retry, login: None }, at);
    }

    /// Tells a peer that it is its login that was not accepted.
    pub(super) fn refuse_login(&mut self, from: &Bringer, id: u64, retry: bool, at: Moment<'_>) {
        self.tell_no(from, &Refuse { id, retry, login: Some(true) }, at);
    }

    fn tell_no(&mut self, from: &Bringer, refuse: &Refuse, at: Moment<'_>) {
        let message = varlink::call(REFUSE, refuse, CallFlags::default());
        let call = match from.via {
            Some(via) => self.call_via(via, message, None, Caller::Nobody),
            None => self.call(&from.daemon, message, None, Caller::Nobody),
        };
        self.late.push_back((at.now + CLIMB_TIME, call));
    }

    /// A daemon answered that a peer is connected, or that it is not; or with the connection, for
    /// a service that has registered.
    pub(super) fn attached(&mut self, arriving: Arriving, answer: Answer, at: Moment<'_>) {
        let Arriving { service, identity, candidate, way, revision } = arriving;
        let who = Identity::Remote(identity);
        let carried = match (error_of(&candidate, &answer), way) {
            (Some(error), _) => Err(error),
            (None, Passing::Relayed { daemon, id }) => Ok(Carried::Relayed { daemon, id }),
            (None, Passing::Handed) => self.hand_peer_over(&candidate, &who, answer),
        };
        match carried {
            Ok(carried) => {
                let (asked, candidate) = (&service, &candidate);
                let handed = Handed::here(carried);
                self.note_allowed(Given { who, asked, candidate, handed, revision }, at.now);
            }
            Err(error) => {
                let about = decision::about(who, Some(&service), revision);
                self.note_failed(about, &[candidate], &error, at.now);
            }
        }
    }

    /// Gives a service that has registered a peer's connection, and what is proven about it.
    fn hand_peer_over(
        &mut self,
        candidate: &Candidate,
        who: &Identity,
        answer: Answer,
    ) -> Result<Carried, BrokerError> {
        let Target::Local(target) = &candidate.target else {
            return Err(answer::wrong_descriptor(candidate));
        };
        let socket = match answer {
            Answer::Reply { socket: Some(socket), .. } if socket.is_connected_stream => socket,
            _ => return Err(answer::wrong_descriptor(candidate)),
        };
        let Some(registration) = self.registry.get(target).map(|known| known.client) else {
            return Err(self.nobody(target));
        };
        let (id, message) = self.next_client(target, who.clone());
        let number = socket.number;
        let descriptor = Some(socket.descriptor);
        self.actions.push(Action::Notify { registration, message, descriptor });
        Ok(Carried::Registered { registration, id, number })
    }
}

/// What there is room for beside the calls that are under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Room {
    /// The calls that a peer takes.
    ToDecide,
    /// One that turns it away.
    ToRefuse,
    /// None.
    Nothing,
}

fn room_beside(calls: usize) -> Room {
    if calls < CALLS_MOST {
        Room::ToDecide
    } else if calls < CALLS_MOST + REFUSALS_MOST {
        Room::ToRefuse
    } else {
        Room::Nothing
    }
}

/// Whether a name says who has logged in: that only our own authentication service tells.
fn is_login(name: &str) -> bool {
    name.split_once(':').is_some_and(|(kind, _)| Kind::of_name(kind) == Some(Kind::Login))
}

/// Why a peer that was let in is not connected to its service.
fn error_of(candidate: &Candidate, answer: &Answer) -> Option<BrokerError> {
    let Answer::Reply { message, .. } = answer else {
        return Some(answer::bringer_gone(candidate));
    };
    if let Ok(error) = serde_json::from_slice::<TransportError>(message) {
        return Some(answer::of_transport(candidate, error, 0));
    }
    let is_error = varlink::read_reply(message).map_or(true, |reply| reply.error.is_some());
    is_error.then(|| answer::bringer_gone(candidate))
}
