//! Answers to calls of the broker, each for whom the call was made.

use super::{Broker, Caller, Moment};
use crate::action::{Answer, CallId};

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
