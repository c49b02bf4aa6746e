//! Clients that watch whether services are there.
//!
//! Whoever watches is told what an attempt to connect would meet: only of services that policy
//! lets it reach. A service that registers or leaves is told at once; everything else (sockets,
//! transport daemons, new rules) is looked at in turn, as long as somebody watches.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use libipc::interface::broker::BrokerError;
use libipc::interface::registry::{Services, Watched};
use libipc::name::ServiceName;
use libipc::varlink::{self, Call};
use policy::target::Target;

use super::requests::invalid;
use super::{Broker, Moment, Role};
use crate::action::{Action, ClientId};
use crate::service::ServiceSettings;

/// Names that one client may watch.
const NAMES_MOST: usize = 64;

/// How often the next few are looked at, and how many.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
const LOOK_BATCH: usize = 128;

/// What each watching client was told last.
#[derive(Debug, Default)]
pub(super) struct Watches {
    told: BTreeMap<(ServiceName, ClientId), bool>,
    names: HashMap<ClientId, Vec<ServiceName>>,
    looked: Option<(ServiceName, ClientId)>,
    next_look: Option<Instant>,
}

impl Watches {
    /// When to look again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// It went away.
    pub(super) fn end(&mut self, client: ClientId) {
        for name in self.names.remove(&client).unwrap_or_default() {
            self.told.remove(&(name, client));
        }
        if self.told.is_empty() {
            self.next_look = None;
        }
    }

    fn of(&self, service: &ServiceName) -> Vec<ClientId> {
        let first = (service.clone(), ClientId(0));
        let those = self.told.range(first..).take_while(|((name, _), _)| name == service);
        those.map(|((_, client), _)| *client).collect()
    }

    /// The next to look at: each in its turn.
    fn batch(&mut self) -> Vec<(ServiceName, ClientId)> {
        let after = self.looked.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.told.range((after, Bound::Unbounded)).take(LOOK_BATCH);
        let keys: Vec<_> = next.map(|(key, _)| key.clone()).collect();
        if keys.len() == LOOK_BATCH {
            self.looked = keys.last().cloned();
        }
        keys
    }
}

impl Broker {
    pub(super) fn watch(
        &mut self,
        client: ClientId,
        call: &Call<'_>,
        wanted: &Services,
        at: Moment<'_>,
    ) {
        let names = match names_of(call, wanted) {
            Ok(names) => names,
            Err(error) => return self.fail(client, &error),
        };
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.role = Role::Watching;
        self.watches.next_look.get_or_insert(at.now + LOOK_PERIOD);
        self.watches.names.insert(client, names.clone());
        for name in names {
            let available = self.is_available(client, &name, at);
            self.tell_watching(client, &name, available);
            self.watches.told.insert((name, client), available);
        }
    }

    fn tell_watching(&mut self, client: ClientId, service: &ServiceName, available: bool) {
        let watched = Watched { service: service.to_string(), available };
        let message = varlink::reply(&watched, true);
        self.actions.push(Action::Tell { client, message });
    }

    /// A service came or went: who watches its very name is told now.
    pub(super) fn changed(&mut self, service: &ServiceName, at: Moment<'_>) {
        for client in self.watches.of(service) {
            self.look_at(service, client, at);
        }
    }

    /// Looks at some of what is watched, if it is time to.
    pub(super) fn look_at_watched(&mut self, at: Moment<'_>) {
        if self.watches.next_look.is_none_or(|when| when > at.now) {
            return;
        }
        self.watches.next_look = Some(at.now + LOOK_PERIOD);
        for (service, client) in self.watches.batch() {
            self.look_at(&service, client, at);
        }
    }

    fn look_at(&mut self, service: &ServiceName, client: ClientId, at: Moment<'_>) {
        let available = self.is_available(client, service, at);
        let Some(told) = self.watches.told.get_mut(&(service.clone(), client)) else { return };
        if *told != available {
            *told = available;
            self.tell_watching(client, service, available);
        }
    }

    /// Whether some way that policy allows leads to something that is there.
    fn is_available(&mut self, client: ClientId, service: &ServiceName, at: Moment<'_>) -> bool {
        let Some(identity) = self.identity(client, at) else { return false };
        let narrowed = self.clients.get(&client).and_then(|known| known.narrowed.clone());
        let network = match narrowed.map(|narrowed| narrowed.network_of(service)) {
            Some(Err(_)) => return false,
            Some(Ok(network)) => network,
            None => None,
        };
        let decision = self.decide(service, network.as_ref(), &identity, at);
        let candidates = decision.map(|decision| decision.candidates).unwrap_or_default();
        let mut allowed = candidates.iter().filter(|candidate| candidate.verdict.is_allow());
        allowed.any(|candidate| self.is_there(&candidate.target, at))
    }

    fn is_there(&self, target: &Target, at: Moment<'_>) -> bool {
        match target {
            Target::Local(name) => {
                let place = ServiceSettings::of(&self.live.config, name).socket;
                self.registry.get(name).is_some() || at.world.door(name, place).is_ok()
            }
            Target::Remote(remote) => {
                let stack = self.live.config.schemes().stack(&remote.scheme).unwrap_or_default();
                stack.iter().all(|daemon| self.transports.iter().any(|there| **there == **daemon))
            }
        }
    }
}

fn names_of(call: &Call<'_>, wanted: &Services) -> Result<Vec<ServiceName>, BrokerError> {
    if !call.more {
        return Err(invalid("more", &"Watch is answered many times: call it with more"));
    }
    if wanted.services.len() > NAMES_MOST {
        let reason = format!("at most {NAMES_MOST} names are watched on one connection");
        return Err(invalid("services", &reason));
    }
    let mut names = Vec::new();
    for name in &wanted.services {
        let name = ServiceName::new(name).map_err(|error| invalid("services", &error))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_looked_at_in_turn_and_nothing_when_nobody_watches() {
        let name = |number: usize| ServiceName::new(&format!("s{number:03}")).unwrap();
        let mut watches = Watches { next_look: Some(Instant::now()), ..Watches::default() };
        let client = ClientId(1);
        let names: Vec<_> = (0..=LOOK_BATCH).map(name).collect();
        for name in &names {
            watches.told.insert((name.clone(), client), false);
        }
        watches.names.insert(client, names);
        assert_eq!(watches.batch().len(), LOOK_BATCH);
        assert_eq!(watches.batch(), [(name(LOOK_BATCH), client)]);
        assert_eq!(watches.batch().len(), LOOK_BATCH);
        watches.end(client);
        assert_eq!((watches.told.len(), watches.next_look()), (0, None));
    }
}
