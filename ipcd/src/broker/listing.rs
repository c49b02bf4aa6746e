//! What there is: services of this host, and connections that were handed over, which
//! administrators may have ended.

use std::collections::{BTreeMap, BTreeSet};

use libipc::interface::control::{
    Connections, ControlError, Kill, ListConnections, ListServices, Service, ServiceKind, Services,
};
use libipc::interface::registry::Registered;
use libipc::interface::transport::{Agreed, CLOSE};
use libipc::name::ServiceName;
use libipc::varlink::{self, CallFlags};
use policy::config::OnReload;
use policy::target::Target;

use super::narrowing::Empty;
use super::{Broker, Caller, Moment};
use crate::action::{Action, Answer, ClientId};
use crate::connections::{Carried, ConnectionId, Entry};
use crate::service::ServiceSettings;

/// Bytes after which an answer that lists connections is full. The longest entry has to fit behind
/// them into one message.
const LISTED_BYTES: usize = 32 * 1024;

/// Services in one answer at most.
const SERVICES_AT_ONCE: usize = 200;

impl Broker {
    pub(super) fn services(&mut self, client: ClientId, wanted: &ListServices, at: Moment<'_>) {
        if !self.permits(client) {
            return;
        }
        let mut clients: BTreeMap<&ServiceName, u64> = BTreeMap::new();
        for (_, entry) in self.connections.iter() {
            if let Target::Local(name) = &entry.target {
                *clients.entry(name).or_default() += 1;
            }
        }
        let names: BTreeSet<ServiceName> = self
            .registry
            .names()
            .chain(self.live.config.services.keys())
            .chain(clients.keys().copied())
            .cloned()
            .chain(at.world.services())
            .collect();
        let after = wanted.after.as_deref().unwrap_or_default();
        let mut behind = names.iter().filter(|name| name.as_str() > after);
        let clients = |name| clients.get(name).copied().unwrap_or_default();
        let some = behind.by_ref().take(SERVICES_AT_ONCE);
        let services: Vec<_> = some.map(|name| self.service(name, clients(name), at)).collect();
        let last = services.last().map(|last| last.name.clone());
        let next = behind.next().and(last);
        self.reply(client, varlink::reply(&Services { services, next }, false), None);
    }

    fn service(&self, name: &ServiceName, clients: u64, at: Moment<'_>) -> Service {
        let settings = ServiceSettings::of(&self.live.config, name);
        let registration = self.registry.get(name);
        let (kind, owner) = match (registration, settings.socket) {
            (Some(registration), _) => (ServiceKind::Registered, registration.owner),
            (None, Some(place)) => (ServiceKind::Path, at.world.owner(name, Some(place))),
            (None, None) => (ServiceKind::Socket, at.world.owner(name, None)),
        };
        let available = registration.is_some() || owner.is_some();
        let owner = owner.or(settings.owner);
        Service { name: name.to_string(), kind, owner, available, clients }
    }

    pub(super) fn list(&mut self, client: ClientId, wanted: ListConnections, at: Moment<'_>) {
        if !self.permits(client) {
            return;
        }
        self.connections.sweep_all(|process, seen| at.world.lives(process.0, seen, at.now));
        let (mut listed, mut bytes) = (Connections::default(), 0);
        for (id, entry) in self.connections.after(ConnectionId(wanted.after.unwrap_or_default())) {
            if bytes >= LISTED_BYTES {
                listed.next = listed.connections.last().map(|last| last.id);
                break;
            }
            let is_stale = self.is_stale(entry, at);
            if is_stale || !wanted.stale.unwrap_or_default() {
                let connection = entry.listed(id, is_stale, at.now);
                bytes += varlink::reply(&connection, false).len();
                listed.connections.push(connection);
            }
        }
        self.reply(client, varlink::reply(&listed, false), None);
    }

    fn is_stale(&self, entry: &Entry, at: Moment<'_>) -> bool {
        let owner = match &entry.target {
            Target::Local(service) => self.owner_of(service, at),
            Target::Remote(_) => None,
        };
        entry.revision != self.revision && entry.is_stale(&self.live.config, owner)
    }

    /// Looks at everything that was handed over under the configuration of this moment: how much
    /// of it would be denied now and stays, and how much was ended for that.
    pub(super) fn judge_handed_over(&mut self, at: Moment<'_>) -> (u64, u64) {
        self.connections.sweep_all(|process, seen| at.world.lives(process.0, seen, at.now));
        let stale: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, entry)| self.is_stale(entry, at))
            .map(|(id, _)| id)
            .collect();
        let (mut stay, mut ended) = (0, 0);
        for id in stale {
            if self.live.config.on_reload == OnReload::Revoke && self.end(id, Caller::Nobody) {
                ended += 1;
            } else {
                stay += 1;
            }
        }
        (stay, ended)
    }

    pub(super) fn kill(&mut self, client: ClientId, wanted: Kill) {
        if !self.permits(client) {
            return;
        }
        let id = ConnectionId(wanted.id);
        let Some(entry) = self.connections.get(id) else {
            let error = ControlError::UnknownConnection { id: wanted.id };
            return self.reply(client, varlink::error(&error), None);
        };
        let who = self.clients.get(&client).and_then(|known| known.identity.uid);
        let is_over = wanted.over == Some(true);
        let is_answered = match &entry.carried {
            Carried::Relayed { daemon, id } => self.finishing_with(daemon, *id).is_none(),
            _ => false,
        };
        if let Some(reason) = self.out_of_reach(entry).filter(|_| !is_over) {
            let error = ControlError::HandedOver { id: wanted.id, reason };
            return self.reply(client, varlink::error(&error), None);
        }
        tracing::info!(event = "killed", connection = wanted.id, by_uid = who);
        if is_over {
            self.connections.end(id);
        } else {
            self.end(id, Caller::Kill { client, id });
        }
        // A daemon answers when it has done it; a service does not, nor one that is finishing.
        if is_over || !is_answered {
            self.reply(client, varlink::reply(&Empty {}, false), None);
        }
    }

    /// Ends what the broker can end. False if that is not its.
    fn end(&mut self, id: ConnectionId, caller: Caller) -> bool {
        let entry = self.connections.get(id).filter(|entry| self.out_of_reach(entry).is_none());
        match entry.map(|entry| entry.carried.clone()) {
            Some(Carried::Relayed { daemon, id: relay }) => {
                if let Some(generation) = self.finishing_with(&daemon, relay) {
                    let flags = CallFlags { oneway: true, ..CallFlags::default() };
                    let message = varlink::call(CLOSE, &Agreed { id: relay }, flags);
                    self.actions.push(Action::TellFinishing { daemon, generation, message });
                    self.connections.end(id);
                    return true;
                }
                let message = varlink::call(CLOSE, &Agreed { id: relay }, CallFlags::default());
                self.call(&daemon, message, None, caller);
                true
            }
            Some(Carried::Registered { registration, id: number, .. }) => {
                let closed = Registered { closed: Some(number), ..Registered::default() };
                let message = varlink::reply(&closed, true);
                self.actions.push(Action::Notify { registration, message, descriptor: None });
                self.connections.end(id);
                true
            }
            Some(Carried::Name | Carried::Socket { .. }) | None => false,
        }
    }

    /// A daemon answered that a relay is over, or was before.
    pub(super) fn killed(&mut self, client: ClientId, id: ConnectionId, answer: &Answer) {
        self.connections.end(id);
        let message = if answer.is_yes() {
            varlink::reply(&Empty {}, false)
        } else {
            varlink::error(&ControlError::UnknownConnection { id: id.0 })
        };
        self.reply(client, message, None);
    }

    /// Why the broker cannot end a connection; `None` if it can.
    fn out_of_reach(&self, entry: &Entry) -> Option<String> {
        let reason = match &entry.carried {
            Carried::Relayed { .. } => return None,
            Carried::Registered { registration, .. } => {
                let service = entry.target.local().and_then(|name| self.registry.get(name));
                if service.is_some_and(|service| service.client == *registration) {
                    return None;
                }
                "the service has registered anew since; restart the service's older process"
            }
            Carried::Name => {
                "the client may connect to the service itself; that ends with the client's \
                 process, or when the service makes its socket anew"
            }
            Carried::Socket { .. } => "the client holds the connection alone; root can end it",
        };
        Some(reason.to_owned())
    }
}
