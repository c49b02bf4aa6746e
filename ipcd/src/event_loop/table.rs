//! What the broker sees of the clients' connections.

use std::collections::{BTreeSet, HashMap};

use libipc::poller::Token;
use libipc::unit::Units;

use super::Source;
use crate::action::ClientId;
use crate::client::Connection;
use crate::connections::ConnectionId;
use crate::followed::Followed;
use crate::world::Sockets;

/// The clients' connections, as the broker may look at them.
pub(super) struct Table<'t> {
    pub(super) sources: &'t HashMap<Token, Source>,
    pub(super) clients: &'t HashMap<ClientId, Token>,
    pub(super) followed: &'t Followed,
}

impl Table<'_> {
    fn connection(&self, client: ClientId) -> Option<&Connection> {
        match self.sources.get(self.clients.get(&client)?)? {
            Source::Client(_, connection, _) => Some(connection),
            _ => None,
        }
    }
}

impl Sockets for Table<'_> {
    fn units(&self, client: ClientId) -> Units {
        let socket = self.connection(client).and_then(Connection::socket);
        socket.map(Units::of_peer).unwrap_or_default()
    }

    fn uncollected(&self, client: ClientId) -> usize {
        self.connection(client).map_or(0, Connection::uncollected)
    }

    fn over(&self) -> BTreeSet<ConnectionId> {
        self.followed.over()
    }
}
