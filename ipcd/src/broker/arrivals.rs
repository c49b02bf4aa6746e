//! Remote peers that ask for a service of this host.

use libipc::identity::RemoteIdentity;
use libipc::interface::transport::{ATTACH, Agreed, Arrival, REFUSE, Refuse};
use libipc::name::ServiceName;
use libipc::varlink::{self, CallFlags};
use policy::decide::decide;
use policy::route::Asker;
use policy::target::Target;
use sys::door::Door;

use super::{Broker, Caller, Moment};
use crate::action::Answer;
use crate::answer;
use crate::service::ServiceSettings;

/// A peer that was let in, while its way is made.
#[derive(Debug)]
pub(super) struct Arriving {
    service: ServiceName,
    identity: RemoteIdentity,
}

impl Broker {
    pub(super) fn arrived(&mut self, daemon: &str, arrival: &Arrival, at: Moment<'_>) {
        let identity = RemoteIdentity {
            scheme: arrival.scheme.clone(),
            address: arrival.address.ip().to_canonical(),
            names: arrival.identity.names.clone(),
        };
        let wanted = arrival.service.as_deref().unwrap_or_default();
        let Ok(service) = ServiceName::new(wanted) else {
            return self.refuse(daemon, arrival.id, false);
        };
        let found = self.door_for_peer(&service, &identity, arrival.hops, at);
        let Some((door, rule)) = found else {
            self.audit.kept_out(&identity, &service, at.now);
            return self.refuse(daemon, arrival.id, false);
        };
        self.audit.let_in(&identity, &service, &rule, at.now);
        let message = varlink::call(ATTACH, &Agreed { id: arrival.id }, CallFlags::default());
        let caller = Caller::Arrival(Arriving { service, identity });
        self.call(daemon, message, Some(door.descriptor), caller);
    }

    /// The door that a peer may go through, and the rule that says so. A peer is told nothing
    /// about why there is none.
    fn door_for_peer(
        &self,
        service: &ServiceName,
        identity: &RemoteIdentity,
        hops: Option<u32>,
        at: Moment<'_>,
    ) -> Option<(Door, String)> {
        let owner = |service: &ServiceName| {
            let place = ServiceSettings::of(&self.live.config, service).socket;
            at.world.door(service, place).ok().map(|door| door.owner)
        };
        let hops = u8::try_from(hops.unwrap_or(1)).unwrap_or(u8::MAX);
        let request = policy::decide::Request {
            asked: service,
            network: None,
            asker: Asker::Remote(identity, hops),
            service_owner: &owner,
        };
        let decision = decide(&self.live.config, &request).ok()?;
        decision.candidates.iter().find_map(|candidate| {
            let Target::Local(target) = &candidate.target else { return None };
            let settings = ServiceSettings::of(&self.live.config, target);
            if !candidate.verdict.is_allow() || !settings.door {
                return None;
            }
            let door = at.world.door(target, settings.socket).ok()?;
            let is_its = settings.may_belong_to(door.owner, self.private_uid());
            is_its.then(|| (door, answer::rule_with_source(&candidate.verdict)))
        })
    }

    fn refuse(&mut self, daemon: &str, id: u64, retry: bool) {
        let message = varlink::call(REFUSE, &Refuse { id, retry }, CallFlags::default());
        self.call(daemon, message, None, Caller::Nobody);
    }

    /// A daemon answered that a peer is connected, or that it is not.
    pub(super) fn attached(&mut self, arriving: &Arriving, answer: &Answer, at: Moment<'_>) {
        let is_error = match answer {
            Answer::Gone => true,
            Answer::Reply { message, .. } => {
                varlink::read_reply(message).map_or(true, |reply| reply.error.is_some())
            }
        };
        if is_error {
            self.audit.service_down(&arriving.identity, &arriving.service, at.now);
        }
    }
}
