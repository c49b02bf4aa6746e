//! The broker's decisions: events in, actions out.
//!
//! It opens nothing and reads no clock; what it has to look up comes through [`World`]. One request
//! of a client walks: [`Broker::handle`] → `calls` → `requests` (policy's candidates one by one) →
//! a door, or a call to a transport daemon → `deliver`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libipc::identity::LocalIdentity;
use libipc::interface::broker::BrokerError;
use libipc::name::ServiceName;
use libipc::rundir::RunDirectory;
use libipc::varlink;

use crate::action::{Action, CallId, ClientId, Event};
use crate::audit::Audit;
use crate::broker::answers::Caller;
use crate::broker::arrivals::Bringer;
use crate::broker::narrowing::Narrowed;
use crate::broker::quota::{Most, Quota};
use crate::broker::registry::Registry;
use crate::broker::requests::Request;
use crate::broker::strangers::Strangers;
use crate::broker::targets::Targets;
use crate::broker::waiting::Waiting;
use crate::broker::watching::Watches;
use crate::connections::Connections;
use crate::monitors::Monitors;
use crate::reload::{Live, Refusal};
use crate::world::{Sockets, World};

mod admission;
mod adoption;
mod answers;
mod arrivals;
mod calls;
mod carriers;
mod control;
mod dial;
mod health;
mod keeping;
mod known;
mod listing;
mod local;
mod logins;
mod narrowing;
mod notes;
mod proving;
mod quota;
mod registration;
mod registry;
mod requests;
mod resolve;
mod stack;
mod strangers;
mod targets;
mod waiting;
mod watching;

pub(crate) use quota::{Full, User};

/// All that the broker knows.
#[derive(Debug)]
pub(crate) struct Broker {
    directory: RunDirectory,
    uid: u32,
    live: Arc<Live>,
    revision: u64,
    /// Why a newer configuration was not taken, and when.
    refused: Option<(Refusal, Instant)>,
    started: Instant,
    loaded: Instant,
    clients: HashMap<ClientId, Client>,
    quota: Quota,
    /// Clients that there are descriptors for.
    room: usize,
    /// Descriptors that this process may have.
    descriptors: usize,
    registry: Registry,
    targets: Targets,
    waiting: Waiting,
    watches: Watches,
    calls: HashMap<CallId, Caller>,
    timers: BTreeSet<(Instant, ClientId)>,
    /// Calls made for peers, and when they are given up.
    late: VecDeque<(Instant, CallId)>,
    /// Logins that are being verified, and when they are given up.
    logins: BTreeSet<(Instant, CallId)>,
    actions: Vec<Action>,
    audit: Audit,
    connections: Connections,
    monitors: Monitors,
    transports: Vec<String>,
    finishing: Vec<(String, u64)>,
    strangers: Strangers,
    last_call: u64,
}

/// What an event may be decided by, besides what the broker knows: the time, the world, and what
/// the kernel says of clients' connections.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'w> {
    /// The time.
    pub(crate) now: Instant,
    /// Everything that changes by itself.
    pub(crate) world: &'w dyn World,
    /// Clients' connections.
    pub(crate) sockets: &'w dyn Sockets,
}

/// One connected client.
#[derive(Debug)]
struct Client {
    identity: Arc<LocalIdentity>,
    /// Whether its unit was looked up.
    has_units: bool,
    speech: Speech,
    /// What it may ask for, if not everything.
    narrowed: Option<Arc<Narrowed>>,
    /// What it does, if it does not ask.
    role: Role,
    request: Option<Request>,
    /// Whether it has sent anything.
    has_asked: bool,
}

/// How a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speech {
    Varlink,
    /// The first libipc's protocol.
    Lookup,
    /// Not at all: it connected to a front, and its first bytes are for the service.
    Front,
}

/// What a client's connection is for.
#[derive(Debug, Eq, PartialEq)]
enum Role {
    Asking,
    /// It has registered this service.
    Serving(ServiceName),
    /// It is told of decisions.
    Watching,
}

impl Broker {
    /// A broker with its first configuration.
    pub(crate) fn new(directory: RunDirectory, uid: u32, live: Arc<Live>, now: Instant) -> Self {
        Self {
            directory,
            uid,
            audit: Audit::new(&live.config, now),
            live,
            revision: 1,
            refused: None,
            started: now,
            loaded: now,
            clients: HashMap::new(),
            quota: Quota::default(),
            room: usize::MAX,
            descriptors: usize::MAX,
            registry: Registry::default(),
            targets: Targets::default(),
            waiting: Waiting::default(),
            watches: Watches::default(),
            calls: HashMap::new(),
            timers: BTreeSet::new(),
            late: VecDeque::new(),
            logins: BTreeSet::new(),
            actions: Vec::new(),
            connections: Connections::default(),
            monitors: Monitors::default(),
            transports: Vec::new(),
            finishing: Vec::new(),
            strangers: Strangers::default(),
            last_call: 0,
        }
    }

    /// Takes in no more clients than a process with that many descriptors can serve.
    pub(crate) fn set_descriptors(&mut self, descriptors: usize) {
        self.descriptors = descriptors;
        self.room = quota::room_for_clients(descriptors);
        let most = self.live.config.limits.clients;
        if self.room < most {
            tracing::warn!(event = "few-descriptors", clients = self.room, configured = most);
        }
    }

    /// Takes note of what happened; what is to be done about it, in order.
    pub(crate) fn handle(&mut self, event: Event, at: Moment<'_>) -> Vec<Action> {
        match event {
            Event::Connected { client, identity, entrance } => {
                self.admit(client, identity, entrance, at);
            }
            Event::Restored { client, identity, purpose } => {
                self.restored(client, identity, purpose, at);
            }
            Event::Called { client, message } => {
                self.has_asked(client);
                self.called(client, message, at);
            }
            Event::LookedUp { client, name, network } => {
                self.has_asked(client);
                self.looked_up(client, &name, &network, at);
            }
            Event::Left { client } => self.leave(client, at),
            Event::Answered { call, answer } => self.answered_call(call, answer, at),
            Event::NotGiven { listed } => {
                self.connections.end(listed);
            }
            Event::Arrived { daemon, arrival } => {
                self.arrived(Bringer::listening(daemon), arrival, at);
            }
            Event::RelayEnded { daemon, id } => self.connections.relay_ended(&daemon, id),
        }
        self.take_actions()
    }

    /// What is to be done by now.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn has_asked(&mut self, client: ClientId) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.has_asked = true;
        }
    }

    /// When [`Broker::expire`] has to be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let client = self.timers.first().map(|(when, _)| *when);
        let late = self.late.front().map(|(when, _)| *when);
        let look = self.waiting.next_look().into_iter().chain(self.watches.next_look());
        let login = self.next_login();
        client.into_iter().chain(late).chain(login).chain(look).chain(self.next_record()).min()
    }

    /// Ends what has taken too long.
    pub(crate) fn expire(&mut self, at: Moment<'_>) -> Vec<Action> {
        while let Some((when, client)) = self.timers.first().copied() {
            if when > at.now {
                break;
            }
            self.timers.remove(&(when, client));
            self.timed_out(client, at);
        }
        self.give_up_late(at);
        self.give_up_logins(at);
        self.look_for_services(at);
        self.look_at_watched(at);
        self.keep_records(at);
        self.take_actions()
    }

    /// The live configuration.
    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The number of the live configuration.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Reads the configuration again because a signal says so. Whether it was taken is in the log
    /// and in the status.
    pub(crate) fn reload_by_signal(&mut self, at: Moment<'_>) -> Vec<Action> {
        let _refused = self.reload(at).is_err();
        self.take_actions()
    }

    fn leave(&mut self, client: ClientId, at: Moment<'_>) {
        self.end_request(client, at);
        if let Some(gone) = self.clients.remove(&client) {
            self.quota.leave(gone.identity.uid, client);
            match gone.role {
                Role::Asking => {}
                Role::Serving(service) => {
                    if self.registry.strike(&service, client) {
                        self.changed(&service, at);
                    }
                }
                Role::Watching => {
                    self.monitors.end(client);
                    self.watches.end(client);
                }
            }
            // It may have served until another one took its place.
            self.connections.registration_gone(client);
        }
    }

    /// Who a client is, with its unit if the rules ask about units.
    fn identity(&mut self, client: ClientId, at: Moment<'_>) -> Option<Arc<LocalIdentity>> {
        let known = self.clients.get_mut(&client)?;
        if self.live.asks_about_units && !known.has_units {
            known.learn_units(client, at);
        }
        let identity = Arc::clone(&known.identity);
        self.wake_for(identity.uid, at);
        Some(identity)
    }

    fn reply(
        &mut self,
        client: ClientId,
        message: varlink::Bytes,
        descriptor: Option<std::os::fd::OwnedFd>,
    ) {
        self.actions.push(Action::Reply { client, message, descriptor });
    }

    fn call(
        &mut self,
        daemon: &str,
        message: varlink::Bytes,
        descriptor: Option<std::os::fd::OwnedFd>,
        caller: Caller,
    ) -> CallId {
        let call = self.next_call(caller);
        let daemon = daemon.to_owned();
        self.actions.push(Action::Call { call, daemon, message, descriptor, via: None });
        call
    }

    /// The number of a call to be made.
    fn next_call(&mut self, caller: Caller) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        self.calls.insert(call, caller);
        call
    }

    /// Makes a call on the connection of one that was answered just now.
    fn call_via(
        &mut self,
        via: CallId,
        message: varlink::Bytes,
        descriptor: Option<std::os::fd::OwnedFd>,
        caller: Caller,
    ) -> CallId {
        let call = self.next_call(caller);
        let daemon = String::new();
        self.actions.push(Action::Call { call, daemon, message, descriptor, via: Some(via) });
        call
    }

    fn most(&self) -> Most {
        let limits = &self.live.config.limits;
        Most {
            clients: limits.clients.min(self.room),
            clients_per_user: limits.clients_per_user,
            dials: limits.dials,
            dials_per_user: limits.dials_per_user,
            queue_per_user: limits.queue_per_user,
        }
    }
}

impl Client {
    fn learn_units(&mut self, client: ClientId, at: Moment<'_>) {
        let units = at.sockets.units(client);
        let identity = Arc::make_mut(&mut self.identity);
        identity.unit = units.unit;
        identity.user_unit = units.user_unit;
        self.has_units = true;
    }
}

fn busy(full: Full) -> BrokerError {
    BrokerError::Busy {
        limit: full.limit.to_owned(),
        most: u64::try_from(full.most).unwrap_or(u64::MAX),
        retry: true,
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
