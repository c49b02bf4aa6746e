//! Answers to calls of the broker, each for whom the call was made.

use libipc::name::ServiceName;

use super::arrivals::{Arriving, Climbing};
use super::logins::Verifying;
use super::{Broker, Moment};
use crate::action::{Answer, CallId, ClientId};
use crate::connections::ConnectionId;

/// For whom a call is made.
#[derive(Debug)]
pub(super) enum Caller {
    Client(ClientId),
    /// A peer goes on up its stack.
    Climb(Climbing),
    Arrival(Box<Arriving>),
    /// A peer whose login is looked at.
    Login(Box<Verifying>),
    /// A client's login is looked at, by this service.
    Proof {
        client: ClientId,
        service: ServiceName,
    },
    /// The connection that a peer lives by, while its login is looked at.
    Held {
        login: CallId,
    },
    /// An administrator, who has a connection ended.
    Kill {
        client: ClientId,
        id: ConnectionId,
    },
    /// A connection that is listed, and is none if it cannot be relayed.
    Joined {
        id: ConnectionId,
    },
    /// A call whose answer changes nothing.
    Nobody,
}

impl Broker {
    pub(super) fn answered_call(&mut self, call: CallId, answer: Answer, at: Moment<'_>) {
        match self.calls.remove(&call) {
            Some(Caller::Client(client)) => self.answered(client, call, answer, at),
            Some(Caller::Climb(climbing)) => self.climbed(climbing, call, answer, at),
            Some(Caller::Arrival(arriving)) => self.attached(*arriving, answer, at),
            Some(Caller::Login(verifying)) => {
                self.login_answered(call, *verifying, &answer, at);
            }
            Some(Caller::Proof { client, service }) => {
                self.proven(call, (client, &service), &answer, at);
            }
            Some(Caller::Held { login }) => self.login_abandoned(login),
            Some(Caller::Kill { client, id }) => self.killed(client, id, &answer),
            Some(Caller::Joined { id }) if !answer.is_yes() => {
                self.connections.end(id);
            }
            Some(Caller::Joined { .. } | Caller::Nobody) | None => {}
        }
    }
}
