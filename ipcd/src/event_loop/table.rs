//! What the broker sees of the clients' connections.

use std::collections::HashMap;

use libipc::poller::Token;
use libipc::unit::Units;

use super::Source;
use crate::action::ClientId;
use crate::client::Connection;
use crate::world::Sockets;

/// The clients' connections, as the broker may look at them.
pub(super) struct Table<'t> {
    pub(super) sources: &'t HashMap<Token, Source>,
}

impl ClientId {
    /// The number of a client that is known by this token from now on.
    pub(super) fn of(token: Token) -> Self {
        Self(token.0)
    }

    /// What the poller knows it by.
    pub(super) fn token(self) -> Token {
        Token(self.0)
    }
}

impl Table<'_> {
    fn connection(&self, client: ClientId) -> Option<&Connection> {
        match self.sources.get(&client.token())? {
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

    fn has_fewer_uncollected_than(&self, client: ClientId, most: usize) -> bool {
        self.connection(client).is_none_or(|one| one.has_fewer_uncollected_than(most))
    }
}
