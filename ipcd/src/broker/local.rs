//! Services of this host: registered ones, and those with a socket of their own.

use libipc::interface::broker::{BrokerError, Handoff};
use libipc::name::ServiceName;
use libipc::rundir::Instance;
use policy::decide::Candidate;
use policy::query::Verdict;
use policy::resolved::Reach;
use sys::door::{Door, DoorError};

use super::requests::{Offer, Outcome};
use super::{Broker, Moment, Speech};
use crate::action::ClientId;
use crate::answer;
use crate::connections::{Carried, Handed};
use crate::service::ServiceSettings;

impl Broker {
    /// The user that a service of this host belongs to: whoever registered it, or has its socket.
    pub(super) fn owner_of(&self, service: &ServiceName, at: Moment<'_>) -> Option<u32> {
        if let Some(registration) = self.registry.get(service) {
            return registration.owner;
        }
        let place = ServiceSettings::of(&self.live.config, service).socket;
        at.world.owner(service, place)
    }

    /// How clients reach a service of this host now.
    pub(super) fn reach_of(&self, service: &ServiceName, at: Moment<'_>) -> Reach {
        if self.registry.get(service).is_some() {
            return Reach::Registered;
        }
        let settings = ServiceSettings::of(&self.live.config, service);
        let error = match at.world.door(service, settings.socket) {
            Ok(door) if settings.may_belong_to(door.owner, self.private_uid()) => {
                return Reach::Socket;
            }
            Ok(door) => answer::foreign_owner(service, door.owner),
            Err(DoorError::NotFound) => self.nobody(service),
            Err(error) => answer::no_door(service, &error),
        };
        Reach::Unserved(match error {
            BrokerError::Unreachable { reason, .. } => reason,
            _ => format!("nobody serves it here: start {service}, or write a redirect for it"),
        })
    }

    /// Tries a candidate that ends on this host.
    pub(super) fn attempt_local(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        service: &ServiceName,
        at: Moment<'_>,
    ) -> Outcome {
        if self.registry.get(service).is_some() {
            return match candidate.verdict {
                Verdict::Allow { .. } => self.hand_to_service(client, candidate, service, at),
                Verdict::Deny { .. } => Outcome::Failed(answer::denied(candidate)),
            };
        }
        let place = ServiceSettings::of(&self.live.config, service).socket;
        match (at.world.door(service, place), &candidate.verdict) {
            // A name that no rule mentions and nobody serves is unknown, not forbidden.
            (Err(DoorError::NotFound), Verdict::Deny { rule: None, .. }) => {
                Outcome::Failed(self.nobody(service))
            }
            (_, Verdict::Deny { .. }) => Outcome::Failed(answer::denied(candidate)),
            (Err(DoorError::NotFound), _) => Outcome::Failed(self.nobody(service)),
            (Err(error), _) => Outcome::Failed(answer::no_door(service, &error)),
            (Ok(door), _) => self.open_door(client, (candidate, service), door, at),
        }
    }

    /// Nobody serves a name now; one that somebody has served is down, not unknown.
    pub(super) fn nobody(&self, service: &ServiceName) -> BrokerError {
        match self.registry.late(service) {
            Some(late) => answer::stopped(service, late.pid),
            None => answer::unknown(service),
        }
    }

    /// Hands over the door of a service of this host, if the service and the client can use it.
    fn open_door(
        &mut self,
        client: ClientId,
        (candidate, service): (&Candidate, &ServiceName),
        door: Door,
        at: Moment<'_>,
    ) -> Outcome {
        let settings = ServiceSettings::of(&self.live.config, service);
        if !settings.may_belong_to(door.owner, self.private_uid()) {
            return Outcome::Failed(answer::foreign_owner(service, door.owner));
        }
        let Some(known) = self.clients.get(&client) else { return Outcome::Done };
        let takes = known.request.as_ref().map(|request| request.take.as_slice());
        let takes_door = takes.unwrap_or_default().contains(&Handoff::Door);
        let handoff = match (known.speech, settings.door, takes_door) {
            // Nobody may connect in the client's place.
            (Speech::Front, ..) => return Outcome::Failed(answer::front_of_a_door(service)),
            // Such a client can use nothing but a connected descriptor.
            (Speech::Lookup, ..) if settings.trusts_broker || self.is_private() => {
                Handoff::Descriptor
            }
            (Speech::Varlink, true, true) => Handoff::Door,
            (_, true, _) => {
                return Outcome::Failed(answer::no_handoff(candidate, &[Handoff::Door]));
            }
            (_, false, _) => return Outcome::Failed(answer::no_handoff(candidate, &[])),
        };
        let carried = match handoff {
            Handoff::Door => Carried::Name,
            _ => Carried::Socket { number: None },
        };
        let (descriptor, handed) = (door.descriptor, Handed::here(carried));
        self.deliver(client, candidate, Offer { handoff, descriptor, handed }, at);
        Outcome::Done
    }

    /// The one user of a private instance, who owns its services.
    pub(super) fn private_uid(&self) -> Option<u32> {
        self.is_private().then_some(self.uid)
    }

    pub(super) fn is_private(&self) -> bool {
        self.directory.instance() != Instance::System
    }
}
