//! Connections that come in through another one: an inherited broker socket.

use libipc::interface::broker::BrokerError;
use libipc::interface::registry::ADOPT;

use super::Broker;
use crate::action::{Action, Attached, ClientId};

impl Broker {
    /// Whether a message may be read at all: what another process wrote than the one that made the
    /// connection can be nothing but `Adopt`, which asks for nothing in the maker's name.
    pub(super) fn is_readable(&mut self, client: ClientId, method: &str, is_foreign: bool) -> bool {
        if !is_foreign || method == ADOPT {
            return true;
        }
        let reason = "written by another process than the one that made the connection; \
                      what uses an inherited connection has to call Adopt"
            .to_owned();
        self.fail(client, &BrokerError::Unauthenticated { reason });
        self.actions.push(Action::Drop { client });
        false
    }

    /// Makes a client of what was attached. A call without an answer: what is not in order is
    /// closed, which its maker sees as the end of the connection.
    pub(super) fn adopt(&mut self, client: ClientId, attached: Option<Attached>) {
        if let Some(Attached { descriptor, maker: Some(maker) }) = attached {
            self.actions.push(Action::Adopt { through: client, descriptor, maker });
        }
        self.actions.push(Action::Resume);
    }
}
