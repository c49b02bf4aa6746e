//! Whether clients collect what they are given.
//!
//! The kernel limits how many descriptors of one sender may be under way at any one time. A client
//! that does not read would use that up for everybody: so one connection at a time is under way to
//! each, and not for long.

use std::time::Instant;

use libipc::poller::{Interest, Token};

use super::{EventLoop, Source};
use crate::action::ClientId;
use crate::client::Connection;
use crate::patience::Due;

impl EventLoop<'_> {
    /// Whether the client's next request may be read: not before it has read the last answer.
    pub(super) fn may_ask(&mut self, token: Token, now: Instant) -> bool {
        let Some(Source::Client(client, connection, _)) = self.sources.get(&token) else {
            return false;
        };
        if !self.patience.awaits_collecting(*client) {
            return true;
        }
        if has_collected(connection) {
            self.patience.collected(*client);
            return true;
        }
        self.patience.look_again(*client, now);
        let rest = if connection.has_outgoing() { Interest::WRITE } else { Interest::NONE };
        self.watch(token, rest);
        false
    }

    /// A client's time has come: for its unfinished request, or for what it does not collect.
    pub(super) fn lose_patience(&mut self, client: ClientId, due: Due, now: Instant) {
        let Some((token, connection)) = self.of_client(client) else { return };
        match due {
            Due::Collect | Due::Look if has_collected(connection) => {
                self.patience.collected(client);
                self.watch(token, Interest::READ);
            }
            Due::Look => self.patience.look_again(client, now),
            Due::Inbox => self.look_at_inbox(token, client, now),
            Due::Request | Due::Collect => {
                tracing::debug!(event = "client-too-slow", client = client.0, due = ?due);
                self.lose(token, now);
            }
        }
    }
}

fn has_collected(connection: &Connection) -> bool {
    let uncollected = connection.socket().map(sys::socket::uncollected);
    !connection.has_outgoing()
        && uncollected.is_none_or(|bytes| bytes.is_ok_and(|bytes| bytes == 0))
}
