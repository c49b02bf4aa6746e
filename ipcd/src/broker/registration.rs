//! Services that register, and clients that are handed to them.

use libipc::identity::Identity;
use libipc::interface;
use libipc::interface::broker::{BrokerError, Connected, Handoff, Kind};
use libipc::interface::registry::{Ended, Register, Registered};
use libipc::name::ServiceName;
use libipc::varlink::{self, Call};
use policy::config::Service;
use policy::decide::Candidate;

use super::quota::Full;
use super::registry::Registration;
use super::requests::{Outcome, invalid};
use super::{Broker, Moment, Role, Speech, busy};
use crate::action::{Action, ClientId, Receiver};
use crate::answer;
use crate::connections::{Carried, Handed};
use crate::decision;
use crate::service::ServiceSettings;

impl Broker {
    pub(super) fn register(
        &mut self,
        client: ClientId,
        call: &Call<'_>,
        wanted: &Register,
        at: Moment<'_>,
    ) {
        let uid = self.clients.get(&client).and_then(|known| known.identity.uid);
        self.wake_for(uid, at);
        match self.may_register(client, call, wanted) {
            Ok(service) => {
                self.reply(client, varlink::reply(&Registered::default(), true), None);
                self.actions.push(Action::Keep { client, service: service.clone() });
                self.enter(client, &service, at);
            }
            Err(error) => {
                self.note_not_offered(client, wanted, &error, at);
                self.fail(client, &error);
            }
        }
    }

    /// Somebody tried to take a name that is not his.
    fn note_not_offered(
        &mut self,
        client: ClientId,
        wanted: &Register,
        error: &BrokerError,
        at: Moment<'_>,
    ) {
        if let BrokerError::Denied { .. } = error
            && let Some(who) = self.written(client, at)
        {
            let service = ServiceName::new(&wanted.service).ok();
            let about = decision::about(who, service.as_ref(), self.revision);
            self.note_failed(about, &[], error, at.now);
        }
    }

    fn may_register(
        &self,
        client: ClientId,
        call: &Call<'_>,
        wanted: &Register,
    ) -> Result<ServiceName, BrokerError> {
        if !call.more {
            return Err(invalid("more", &"Register is answered many times: call it with more"));
        }
        let service =
            ServiceName::new(&wanted.service).map_err(|error| invalid("service", &error))?;
        self.may_offer(client, &service).map(|()| service)
    }

    /// Whether a client may offer that service.
    pub(super) fn may_offer(
        &self,
        client: ClientId,
        service: &ServiceName,
    ) -> Result<(), BrokerError> {
        let denied = |reason: String, cure: Option<String>| BrokerError::Denied {
            target: format!("unix:{service}"),
            rule: None,
            reason,
            cure,
            retry: false,
        };
        if !self.may_do_more_than_ask(client) {
            let reason = "services are not offered through a narrowed or named broker socket";
            return Err(denied(reason.to_owned(), None));
        }
        let uid = self.clients.get(&client).and_then(|known| known.identity.uid);
        if !self.may_own(uid, service) {
            let reason = "only root and the service's owner may offer it".to_owned();
            let cure = uid.map(|uid| format!("[services.{service}] owner = \"{uid}\""));
            return Err(denied(reason, cure));
        }
        match self.registry.get(service) {
            Some(known) if known.owner != uid => {
                let pid = known.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                Err(denied(format!("another user's process serves it{pid}"), None))
            }
            _ => Ok(()),
        }
    }

    fn may_own(&self, uid: Option<u32>, service: &ServiceName) -> bool {
        let owner = ServiceSettings::of(&self.live.config, service).owner;
        uid.is_some() && [Some(0), self.private_uid(), owner].contains(&uid)
    }

    /// Ends registrations of users who may not offer their names any more. What their clients have
    /// been given stays with them.
    pub(super) fn judge_registered(&mut self) {
        let registered = self.registry.names().filter_map(|name| {
            let registration = *self.registry.get(name)?;
            // Of an owner who cannot be found today nothing is said.
            let sleeps = self.live.config.services.get(name).is_some_and(Service::sleeps);
            let may = sleeps || self.may_own(registration.owner, name);
            (!may).then(|| (name.clone(), registration))
        });
        for (service, Registration { client, owner, pid, .. }) in registered.collect::<Vec<_>>() {
            tracing::info!(
                event = "registration-ended",
                service = service.as_str(),
                uid = owner,
                pid
            );
            self.actions.push(Action::Drop { client });
        }
    }

    /// Lets a client serve from now on.
    pub(super) fn enter(&mut self, client: ClientId, service: &ServiceName, at: Moment<'_>) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.role = Role::Serving(service.clone());
        let (owner, pid) = (known.identity.uid, known.identity.pid);
        let who = interface::Identity::Local((*known.identity).clone());
        let registration = Registration { client, owner, pid, last_id: 0 };
        if let Some(old) = self.registry.enter(service.clone(), registration) {
            if let Some(known) = self.clients.get_mut(&old.client) {
                known.role = Role::Asking;
            }
            let ended = Ended::Replaced { service: service.to_string() };
            self.reply(old.client, varlink::error(&ended), None);
        }
        if self.audit.has_room(&who, at.now) {
            tracing::info!(event = "registered", service = service.as_str(), uid = owner, pid);
        }
        self.appeared(service, at);
    }

    /// Hands a client over to a registered service: its very connection, after the answer.
    pub(super) fn hand_to_service(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        service: &ServiceName,
        at: Moment<'_>,
    ) -> Outcome {
        let Some(registration) = self.registry.get(service).copied() else {
            return Outcome::Failed(answer::unknown(service));
        };
        if let Err(error) = self.room_at(service, at) {
            return Outcome::Failed(error);
        }
        let Some(known) = self.clients.get(&client) else { return Outcome::Done };
        let takes = known.request.as_ref().map(|request| request.take.as_slice());
        let settings = ServiceSettings::of(&self.live.config, service);
        let way = match known.speech {
            // Such a client can use nothing but a connected descriptor.
            Speech::Lookup if settings.trusts_broker || self.is_private() => Handoff::Descriptor,
            Speech::Varlink if takes.unwrap_or_default().contains(&Handoff::Upgrade) => {
                Handoff::Upgrade
            }
            Speech::Front => Handoff::Upgrade,
            _ => return Outcome::Failed(answer::no_handoff(candidate, &[Handoff::Upgrade])),
        };
        // Its own socket tells its unit to whoever asks; of a pair the broker is the maker.
        let identity = match way {
            Handoff::Descriptor => self.written(client, at),
            _ => Some(Identity::Local((*known.identity).clone()).into()),
        };
        let Some(identity) = identity else { return Outcome::Done };
        let (id, message) = self.next_client(service, identity);
        let answer = (known_speaks_varlink(self, client)).then(|| connected(candidate));
        let registration = registration.client;
        let carried = Carried::Registered { registration, id, number: None };
        let listed = self.end_with_success(client, candidate, Handed::here(carried), at);
        self.actions.push(if way == Handoff::Descriptor {
            Action::ProvidePair { client, registration, message }
        } else {
            let receiver = Receiver { registration, message };
            Action::PassOn { client, answer, receiver, listed }
        });
        Outcome::Done
    }

    /// Whether a registered service collects what it is given.
    pub(super) fn room_at(&self, service: &ServiceName, at: Moment<'_>) -> Result<(), BrokerError> {
        let most = self.live.config.limits.uncollected_per_service;
        let registration = self.registry.get(service);
        let has_room = |service| at.sockets.has_fewer_uncollected_than(service, most);
        if registration.is_none_or(|known| has_room(known.client)) {
            return Ok(());
        }
        Err(busy(Full { limit: "uncollected-per-service", most }))
    }

    /// The number of a service's next client, and the message that brings it.
    pub(super) fn next_client(
        &mut self,
        service: &ServiceName,
        identity: impl Into<interface::Identity>,
    ) -> (u64, varlink::Bytes) {
        let id = self.registry.next_id(service);
        let told = Registered { id: Some(id), client: Some(identity.into()), closed: None };
        (id, varlink::reply(&told, true))
    }
}

pub(super) fn known_speaks_varlink(broker: &Broker, client: ClientId) -> bool {
    broker.clients.get(&client).is_some_and(|known| known.speech == Speech::Varlink)
}

pub(super) fn connected(candidate: &Candidate) -> varlink::Bytes {
    let answer = Connected {
        handoff: Handoff::Upgrade,
        kind: Kind::Stream,
        target: candidate.target.to_string(),
        rule: answer::rule_with_source(&candidate.verdict),
    };
    varlink::reply(&answer, false)
}
