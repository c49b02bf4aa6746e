//! Connections that are given away whole, and services that are told of them.

use std::os::fd::OwnedFd;
use std::time::Instant;

use libipc::poller::{Interest, Token};
use libipc::varlink::Bytes;
use sys::socket::SocketKind;

use super::{EventLoop, Source};
use crate::action::{Answer, CallId, ClientId, Event, Receiver};
use crate::connections::ConnectionId;

impl EventLoop<'_> {
    /// Gives a client's own connection away, behind a last answer. If the receiver is gone, the
    /// client sees the end of its connection; if the client is gone, what is `listed` is over.
    pub(super) fn pass_on(
        &mut self,
        client: ClientId,
        answer: Option<Bytes>,
        (receiver, listed): (Receiver, Option<ConnectionId>),
        now: Instant,
    ) {
        if let Some(socket) = self.release(client, answer, now) {
            self.notify(receiver.registration, receiver.message, Some(socket), now);
        } else if let Some(listed) = listed {
            self.report(Event::NotGiven { listed }, now);
        }
    }

    /// Gives a client's own connection to the daemon that has answered the call `before`, with a
    /// further call. If the client is gone, what was made for it ends with its call.
    pub(super) fn join(
        &mut self,
        socket: Option<OwnedFd>,
        before: CallId,
        (call, message): (CallId, Bytes),
        now: Instant,
    ) {
        let is_joined =
            socket.is_some_and(|socket| self.call_on(before, call, message, Some(socket)));
        if !is_joined {
            self.close_call(before);
            self.report(Event::Answered { call, answer: Answer::Gone }, now);
        }
    }

    /// Takes a client's socket out of the loop, and lets the broker know that it is gone.
    pub(super) fn release(
        &mut self,
        client: ClientId,
        answer: Option<Bytes>,
        now: Instant,
    ) -> Option<OwnedFd> {
        let token = client.token();
        let Some(Source::Client(_, connection, watched)) = self.sources.get_mut(&token) else {
            return None;
        };
        if let Some(socket) = connection.socket().filter(|_| watched.begun) {
            // A copy of it lives on elsewhere, and would go on being told.
            let _unwatched = self.poller.remove(socket).is_ok();
        }
        let socket = connection.give_away(answer).ok();
        self.lose(token, now);
        socket
    }

    /// Tells a service of a client.
    pub(super) fn notify(
        &mut self,
        client: ClientId,
        message: Bytes,
        descriptor: Option<OwnedFd>,
        now: Instant,
    ) {
        let Some((token, connection)) = self.of_client(client) else { return };
        match connection.notify(message, descriptor, now) {
            Ok(sent) => {
                let stuck_at = connection.stuck_at();
                self.patience.inbox(client, stuck_at);
                self.watch(token, if sent { Interest::READ } else { Interest::BOTH });
            }
            Err(_) => self.lose(token, now),
        }
    }

    /// A service's time to collect is over: what was there at its beginning must be gone.
    pub(super) fn look_at_inbox(&mut self, token: Token, client: ClientId, now: Instant) {
        let Some(Source::Client(_, connection, _)) = self.sources.get_mut(&token) else { return };
        if connection.is_stuck(now) {
            tracing::warn!(event = "service-stuck", client = client.0);
            return self.lose(token, now);
        }
        self.patience.inbox(client, connection.stuck_at());
    }

    /// A client of the first libipc gets one end of a pair, a registered service the other.
    pub(super) fn provide_pair(
        &mut self,
        client: ClientId,
        registration: ClientId,
        message: Bytes,
        now: Instant,
    ) {
        match sys::socket::unix_pair(SocketKind::Stream) {
            Ok((ours, services)) => {
                self.notify(registration, message, Some(services), now);
                self.provide(client, ours, now);
            }
            // Out of descriptors: the client sees the end, that protocol's only error.
            Err(_) => self.drop_client(client, now),
        }
    }

    /// Tells a client that it does not get its service, and closes it if it has sent bytes for that
    /// already. What comes when it has heard this is a call again.
    pub(super) fn refuse(&mut self, client: ClientId, message: Bytes, now: Instant) {
        let Some((_, connection)) = self.of_client(client) else { return };
        let is_followed = connection.is_followed();
        self.reply(client, message, None, now);
        if is_followed {
            self.drop_client(client, now);
        }
    }

    pub(super) fn drop_client(&mut self, client: ClientId, now: Instant) {
        self.lose(client.token(), now);
    }
}
