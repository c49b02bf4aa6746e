//! What a broker leaves to the next one, and what it takes over from the last.

use std::sync::Arc;
use std::time::Instant;

use libipc::identity::LocalIdentity;
use libipc::interface::broker::Connect;
use libipc::name::ServiceName;

use super::narrowing::Narrowed;
use super::{Broker, Client, Moment, Role, Speech, milliseconds};
use crate::action::{Action, ClientId, Entrance};
use crate::kept::{Asked, Purpose};

impl Broker {
    /// Takes over a connection. The rules of today decide about it.
    pub(super) fn restored(
        &mut self,
        client: ClientId,
        identity: LocalIdentity,
        purpose: Purpose,
        at: Moment<'_>,
    ) {
        self.admit(client, identity, Entrance::Broker, at);
        self.has_asked(client);
        match purpose {
            Purpose::Service(service) => self.serves_on(client, &service, at),
            Purpose::Client(asked) => self.goes_on(client, *asked, at),
        }
    }

    fn serves_on(&mut self, client: ClientId, service: &ServiceName, at: Moment<'_>) {
        // It has heard that it serves, and hears no more than its clients.
        if self.may_offer(client, service).is_ok() {
            self.enter(client, service, at);
        } else {
            self.actions.push(Action::Drop { client });
        }
    }

    fn goes_on(&mut self, client: ClientId, asked: Asked, at: Moment<'_>) {
        let Asked { connect, is_upgrade, socket, narrowed } = asked;
        // What it may not ask for is not forgotten: whoever cannot be bound to it again goes.
        let narrowed = narrowed.map(|entries| Narrowed::read(&entries)).transpose();
        let (Ok(narrowed), Some(known)) = (narrowed, self.clients.get_mut(&client)) else {
            self.actions.push(Action::Drop { client });
            return;
        };
        known.narrowed = narrowed.map(Arc::new);
        Arc::make_mut(&mut known.identity).socket = socket;
        if let Some(connect) = connect {
            self.connect(client, is_upgrade, connect, at);
        }
    }

    /// Who waits for an answer and for which, and who could not come again.
    pub(crate) fn bereft(&self, now: Instant) -> Vec<(ClientId, Asked)> {
        let all = self.clients.iter();
        all.filter_map(|(id, client)| Some((*id, client.asked(now)?))).collect()
    }
}

impl Client {
    fn asked(&self, now: Instant) -> Option<Asked> {
        let request = self.request.as_ref();
        let may_be_kept = self.speech == Speech::Varlink && self.role == Role::Asking;
        if !may_be_kept || (request.is_none() && self.narrowed.is_none()) {
            return None;
        }
        let connect = request.map(|request| {
            let left = request.deadline.saturating_duration_since(now);
            Connect { timeout_ms: Some(milliseconds(left).max(1)), ..request.to_connect() }
        });
        Some(Asked {
            connect,
            is_upgrade: request.is_some_and(|request| request.is_upgrade),
            socket: self.identity.socket.clone(),
            narrowed: self.narrowed.as_ref().map(|narrowed| narrowed.written()),
        })
    }
}
