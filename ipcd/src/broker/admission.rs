//! Who is let in, and what those are told for whom there is no room.

use std::sync::Arc;
use std::time::Instant;

use libipc::identity::LocalIdentity;
use libipc::interface::Identity;
use libipc::varlink;

use super::quota::{Full, User};
use super::{Broker, Client, Moment, Role, Speech, busy};
use crate::action::{Action, ClientId, Entrance};
use crate::decision;
use crate::lobby::Lobby;

impl Broker {
    /// Whether one more of that user's would be admitted, behind those who wait for it.
    pub(crate) fn has_room<T>(&self, user: User, lobby: &Lobby<T>) -> Result<(), Full> {
        let waiting = (lobby.waiting(), lobby.waiting_of(user));
        self.quota.room(user, waiting, self.most())
    }

    /// What is full where no descriptor is left for anybody.
    pub(crate) fn out_of_descriptors(&self) -> Full {
        Full { limit: "descriptors", most: self.descriptors }
    }

    pub(super) fn admit(
        &mut self,
        client: ClientId,
        mut identity: LocalIdentity,
        entrance: Entrance,
        at: Moment<'_>,
    ) {
        if let Err(full) = self.quota.admit(identity.uid, self.most()) {
            let message = self.turn_away(identity, &entrance, full, at.now);
            if let Some(message) = message {
                self.reply(client, message, None);
            }
            return self.actions.push(Action::Drop { client });
        }
        let speech = match entrance {
            Entrance::Front(_) => Speech::Front,
            _ => Speech::Varlink,
        };
        let mut narrowed = None;
        match &entrance {
            Entrance::Broker | Entrance::Front(_) => {}
            Entrance::Named(name) => identity.socket = Some(name.clone()),
            Entrance::Adopted(through) => {
                if let Some(parent) = self.clients.get(through) {
                    identity.socket.clone_from(&parent.identity.socket);
                    narrowed.clone_from(&parent.narrowed);
                }
            }
        }
        let identity = Arc::new(identity);
        let role = Role::Asking;
        let has_asked = speech == Speech::Front;
        let new =
            Client { identity, has_units: false, speech, narrowed, role, request: None, has_asked };
        self.clients.insert(client, new);
        if let Entrance::Front(service) = entrance {
            self.asked_by_front(client, service, at);
        }
    }

    /// Somebody is not let in. The answer is what to tell him, if he came where requests do.
    pub(crate) fn turn_away(
        &mut self,
        identity: LocalIdentity,
        entrance: &Entrance,
        full: Full,
        now: Instant,
    ) -> Option<varlink::Bytes> {
        let busy = busy(full);
        let who = Identity::Local(identity);
        self.note_failed(decision::about(who, None, self.revision), &[], &busy, now);
        (!matches!(entrance, Entrance::Front(_))).then(|| varlink::error(&busy))
    }
}
