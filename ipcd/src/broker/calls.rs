//! What clients may call.

use libipc::interface::broker::{self, BrokerError, CONNECT, Connect, RESOLVE};
use libipc::interface::introspection::{self, Description, GetDescription, Info};
use libipc::interface::registry::{self, Register, Services};
use libipc::interface::{ServiceError, control};
use libipc::varlink::{self, Call};
use serde::Deserialize;

use super::{Broker, Moment, Role};
use crate::action::{Action, ClientId, Message};

impl Broker {
    pub(super) fn called(&mut self, client: ClientId, message: Message, at: Moment<'_>) {
        let call = match varlink::read_call(&message.bytes) {
            Ok(call) => call,
            Err(error) => {
                let reason = error.to_string();
                self.fail(client, &BrokerError::InvalidRequest { field: "message".into(), reason });
                // Whoever speaks something else would only be answered with more of the same.
                self.actions.push(Action::Drop { client });
                return;
            }
        };
        if !self.is_readable(client, &call.method, message.is_foreign) {
            return;
        }
        if self.clients.get(&client).is_some_and(|known| known.role != Role::Asking) {
            let reason = "this connection serves; ask on another one".to_owned();
            self.fail(client, &BrokerError::InvalidRequest { field: "method".into(), reason });
            self.actions.push(Action::Drop { client });
            return;
        }
        if call.oneway && call.method != registry::ADOPT {
            return self.called_in_silence(client, &call, at);
        }
        match &*call.method {
            CONNECT => self.read::<Connect>(client, &call, |broker, connect| {
                broker.connect(client, call.upgrade, connect, at);
            }),
            registry::ADOPT => self.adopt(client, message.attached),
            registry::REGISTER => self.read::<Register>(client, &call, |broker, register| {
                broker.register(client, &call, &register, at);
            }),
            registry::RESTRICT => self.read::<Services>(client, &call, |broker, services| {
                broker.restrict(client, &services);
            }),
            registry::WATCH => self.read::<Services>(client, &call, |broker, services| {
                broker.watch(client, &call, &services, at);
            }),
            RESOLVE => self.read(client, &call, |broker, resolve| {
                broker.resolve(client, &resolve, at);
            }),
            control::STATUS => self.status(client, at),
            control::RELOAD => self.reload_for(client, at),
            control::SERVICES => self.read(client, &call, |broker, wanted| {
                broker.services(client, &wanted, at);
            }),
            control::CONNECTIONS => self.read(client, &call, |broker, wanted| {
                broker.list(client, wanted, at);
            }),
            control::KILL => self.read(client, &call, |broker, wanted| {
                broker.kill(client, wanted);
            }),
            control::METRICS => self.metrics(client, at),
            control::MONITOR => self.read(client, &call, |broker, wanted| {
                broker.monitor(client, &call, &wanted);
            }),
            introspection::GET_INFO => self.reply(client, varlink::reply(&info(), false), None),
            introspection::GET_DESCRIPTION => self.read(client, &call, |broker, wanted| {
                broker.describe(client, &wanted);
            }),
            method => self.unknown_method(client, method),
        }
    }

    /// A call that is not to be answered, not even by an error: what only asks something, or is
    /// good for nothing without its answer, does nothing.
    fn called_in_silence(&mut self, client: ClientId, call: &Call<'_>, at: Moment<'_>) {
        match &*call.method {
            registry::RESTRICT => self.read::<Services>(client, call, |broker, services| {
                broker.restrict(client, &services);
            }),
            control::RELOAD => self.reload_for(client, at),
            _ => {}
        }
        let is_answer =
            |action: &Action| matches!(action, Action::Reply { client: to, .. } if *to == client);
        self.actions.retain(|action| !is_answer(action));
        self.actions.push(Action::Resume);
    }

    fn read<'m, P: Deserialize<'m>>(
        &mut self,
        client: ClientId,
        call: &Call<'m>,
        then: impl FnOnce(&mut Self, P),
    ) {
        match varlink::read_parameters(call.parameters) {
            Ok(parameters) => then(self, parameters),
            Err(error) => {
                let reason = error.to_string();
                let field = "parameters".to_owned();
                self.fail(client, &BrokerError::InvalidRequest { field, reason });
            }
        }
    }

    pub(super) fn fail(&mut self, client: ClientId, error: &BrokerError) {
        self.reply(client, varlink::error(error), None);
    }

    fn describe(&mut self, client: ClientId, wanted: &GetDescription) {
        let found = INTERFACES.iter().find(|(name, _)| *name == wanted.interface);
        let message = match found {
            Some((_, text)) => {
                varlink::reply(&Description { description: (*text).to_owned() }, false)
            }
            None => varlink::error(&ServiceError::InterfaceNotFound {
                interface: wanted.interface.clone(),
            }),
        };
        self.reply(client, message, None);
    }

    /// Tells a method that is not in this version from one that does not exist.
    fn unknown_method(&mut self, client: ClientId, method: &str) {
        let (interface, name) = method.rsplit_once('.').unwrap_or(("", method));
        let found = INTERFACES.iter().find(|(known, _)| *known == interface);
        let error = match found {
            None => ServiceError::InterfaceNotFound { interface: interface.to_owned() },
            Some((_, text)) if has_method(text, name) => {
                ServiceError::MethodNotImplemented { method: method.to_owned() }
            }
            Some(_) => ServiceError::MethodNotFound { method: method.to_owned() },
        };
        self.reply(client, varlink::error(&error), None);
    }
}

fn has_method(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("method ")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    })
}

/// What clients may see of us.
const INTERFACES: [(&str, &str); 3] = [
    ("org.ipcd.Broker", broker::TEXT),
    ("org.ipcd.Control", control::TEXT),
    (introspection::INTERFACE, introspection::TEXT),
];

fn info() -> Info {
    Info {
        vendor: "ipcd".into(),
        product: "ipcd".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        url: "https://varlink.org".into(),
        interfaces: INTERFACES.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_whole_name() {
        assert!(has_method(broker::TEXT, "Register"));
        assert!(!has_method(broker::TEXT, "Reg"));
        assert!(!has_method(broker::TEXT, "Registered"));
    }
}
