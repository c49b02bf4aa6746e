//! Clients that wait for a service which is not there yet.
//!
//! A service that registers is seen at once. For one with a socket of its own nothing tells when
//! it comes (the broker may pass through the directory of services, and not list it): so it is
//! looked for as long as somebody waits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libipc::interface::broker::BrokerError;
use libipc::name::ServiceName;
use policy::target::Target;

use super::requests::State;
use super::{Broker, Moment};
use crate::action::ClientId;
use crate::answer;
use crate::service::ServiceSettings;

/// How often services are looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// Services that are looked for in one go.
const LOOK_BATCH: usize = 64;

/// Who waits for which service, and when those with a socket of their own are looked for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    clients: BTreeSet<(ServiceName, ClientId)>,
    /// Where the last look ended.
    looked: Option<ServiceName>,
    next_look: Option<Instant>,
}

impl Waiting {
    fn begin(&mut self, service: ServiceName, client: ClientId, now: Instant) {
        self.clients.insert((service, client));
        self.next_look.get_or_insert(now + LOOK_PERIOD);
    }

    fn end(&mut self, service: ServiceName, client: ClientId) {
        self.clients.remove(&(service, client));
        if self.clients.is_empty() {
            self.next_look = None;
        }
    }

    /// When to look again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    fn of(&self, service: &ServiceName) -> Vec<ClientId> {
        let first = (service.clone(), ClientId(0));
        let those = self.clients.range(first..).take_while(|(name, _)| name == service);
        those.map(|(_, client)| *client).collect()
    }

    /// The next services to look for: each in its turn.
    fn batch(&mut self) -> Vec<ServiceName> {
        let mut names: Vec<ServiceName> = Vec::new();
        let after = self.looked.take();
        for (name, _) in &self.clients {
            let is_new =
                names.last() != Some(name) && after.as_ref().is_none_or(|last| name > last);
            if is_new {
                if names.len() == LOOK_BATCH {
                    self.looked = names.last().cloned();
                    break;
                }
                names.push(name.clone());
            }
        }
        names
    }
}

impl Broker {
    /// Nothing connected. A client that waits does so for the first of its ways that is on this
    /// host, unless policy has the last word.
    pub(super) fn wait_or_end(&mut self, client: ClientId, error: BrokerError, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        let can_help =
            matches!(error, BrokerError::UnknownService { .. } | BrokerError::Unreachable { .. });
        let service = request.candidates.iter().find_map(|candidate| match &candidate.target {
            Target::Local(service) => Some(service.clone()),
            Target::Remote(_) => None,
        });
        let (Some(service), true) = (service, request.waits && can_help) else {
            return self.end_with(client, &error, at);
        };
        let until = request.deadline;
        request.state = State::Waiting { service: service.clone(), until, error };
        self.waiting.begin(service, client, at.now);
        self.timers.insert((until, client));
    }

    pub(super) fn stop_waiting(&mut self, client: ClientId) {
        let Some(request) = self.request(client) else { return };
        let state = std::mem::replace(&mut request.state, State::New);
        if let State::Waiting { service, until, .. } = state {
            self.timers.remove(&(until, client));
            self.waiting.end(service, client);
        }
    }

    /// A service that a client waited for did not come.
    pub(super) fn waited_in_vain(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        let State::Waiting { error, .. } = &request.state else { return };
        let error = error.clone();
        self.stop_waiting(client);
        self.end_with(client, &error, at);
    }

    /// Asks policy again: for a client that has waited for a service, or after a reload.
    pub(super) fn try_again(&mut self, client: ClientId, at: Moment<'_>) {
        self.stop_waiting(client);
        let Some(identity) = self.identity(client, at) else { return };
        let Some(request) = self.clients.get(&client).and_then(|known| known.request.as_ref())
        else {
            return;
        };
        match self.decide(&request.asked, request.network.as_ref(), &identity, at) {
            Ok(decision) => {
                let revision = self.revision;
                if let Some(request) = self.request(client) {
                    request.start_over(decision, revision);
                }
                self.go_on(client, at);
            }
            Err(error) => {
                let error = answer::of_route(&error);
                self.end_with(client, &error, at);
            }
        }
    }

    /// A service is there now: whoever waits for it is served.
    pub(super) fn appeared(&mut self, service: &ServiceName, at: Moment<'_>) {
        for client in self.waiting.of(service) {
            self.try_again(client, at);
        }
        self.changed(service, at);
    }

    /// Looks for services with a socket of their own, if it is time to.
    pub(super) fn look_for_services(&mut self, at: Moment<'_>) {
        if self.waiting.next_look.is_none_or(|when| when > at.now) {
            return;
        }
        self.waiting.next_look = Some(at.now + LOOK_PERIOD);
        for service in self.waiting.batch() {
            let place = ServiceSettings::of(&self.live.config, &service).socket;
            if at.world.door(&service, place).is_ok() {
                self.appeared(&service, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_looked_for_in_its_turn() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        let name = |number: usize| ServiceName::new(&format!("s{number:03}")).unwrap();
        for number in 0..LOOK_BATCH + 2 {
            waiting.begin(name(number), ClientId(1), now);
            waiting.begin(name(number), ClientId(2), now);
        }
        assert_eq!(waiting.next_look(), Some(now + LOOK_PERIOD));
        assert_eq!(waiting.batch().len(), LOOK_BATCH);
        assert_eq!(waiting.batch(), [name(LOOK_BATCH), name(LOOK_BATCH + 1)]);
        assert_eq!(waiting.batch().first(), Some(&name(0)));
        assert_eq!(waiting.of(&name(3)), [ClientId(1), ClientId(2)]);
    }

    #[test]
    fn nothing_is_looked_for_when_nobody_waits() {
        let mut waiting = Waiting::default();
        let name = ServiceName::new("db").unwrap();
        waiting.begin(name.clone(), ClientId(1), Instant::now());
        waiting.end(name, ClientId(1));
        assert_eq!(waiting.next_look(), None);
    }
}
