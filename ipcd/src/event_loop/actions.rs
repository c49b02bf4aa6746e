//! What the broker has decided, carried out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use libipc::poller::Interest;
use libipc::varlink::Bytes;
use sys::socket::SocketKind;

use super::logins::Question;
use super::{EventLoop, Source};
use crate::action::{Action, Answer, CallId, ClientId, Event};
use crate::channel::Channel;

impl EventLoop<'_> {
    /// Does what the broker wants. True if a client goes on being listened to by it.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, now: Instant) -> bool {
        // Whoever is told of a new configuration finds its fronts and daemons.
        if self.revision != self.broker.revision() {
            self.know_configuration(now);
        }
        let mut answered = false;
        for action in actions {
            match action {
                Action::Reply { client, message, descriptor } => {
                    answered = true;
                    self.reply(client, message, descriptor, now);
                }
                Action::Tell { client, message } => self.tell(client, message, now),
                Action::Provide { client, descriptor } => self.provide(client, descriptor, now),
                Action::ProvidePair { client, registration, message } => {
                    self.provide_pair(client, registration, message, now);
                }
                Action::Keep { client, service } => self.keep(client, service),
                Action::Resume => answered = true,
                Action::Adopt { through, descriptor, maker } => {
                    self.adopt(through, descriptor, maker, now);
                }
                Action::PassOn { client, answer, receiver, listed } => {
                    answered = true;
                    self.pass_on(client, answer, (receiver, listed), now);
                }
                Action::Join { client, answer, before, call, message } => {
                    answered = true;
                    let socket = self.release(client, answer, now);
                    self.join(socket, before, (call, message), now);
                }
                Action::Notify { registration, message, descriptor } => {
                    self.notify(registration, message, descriptor, now);
                }
                Action::Refuse { client, message } => {
                    answered = true;
                    self.refuse(client, message, now);
                }
                Action::Drop { client } => self.drop_client(client, now),
                Action::Call { call, message, descriptor, via: Some(before), .. } => {
                    if !self.call_on(before, call, message, descriptor) {
                        self.report(Event::Answered { call, answer: Answer::Gone }, now);
                    }
                }
                Action::Call { call, daemon, message, descriptor, via: None } => {
                    let path = self.transports.join(daemon);
                    self.call(call, Channel::open(&path, message, descriptor), now);
                }
                Action::TellFinishing { daemon, generation, message } => {
                    self.tell_finishing(&daemon, generation, message);
                }
                Action::Hold { before, call } => self.hold(before, call),
                Action::Ask { call, service, message, timeout } => {
                    self.ask(call, Question { service, message, timeout }, now);
                }
                Action::Cancel { call } => self.close_call(call),
            }
        }
        answered
    }

    pub(super) fn reply(
        &mut self,
        client: ClientId,
        message: Bytes,
        descriptor: Option<OwnedFd>,
        now: Instant,
    ) {
        let Some((token, connection)) = self.of_client(client) else { return };
        let carries = descriptor.is_some();
        match connection.send(message, descriptor) {
            Ok(sent) => {
                if carries || !sent {
                    let limit = self.broker.live().config.limits.collect_timeout;
                    self.patience.handed_over(client, now, now + limit);
                }
                self.watch(token, if sent { Interest::READ } else { Interest::BOTH });
            }
            Err(_) => self.lose(token, now),
        }
    }

    /// Tells a client that watches something. It may take its time: what does not fit into its
    /// socket waits here, and until that is sent nothing more is told.
    pub(super) fn tell(&mut self, client: ClientId, message: Bytes, now: Instant) {
        let Some((token, connection)) = self.of_client(client) else { return };
        match connection.send(message, None) {
            Ok(true) => {}
            Ok(false) => {
                self.broker.fell_behind(client);
                self.watch(token, Interest::BOTH);
            }
            Err(_) => self.lose(token, now),
        }
    }

    /// The first libipc's clients can use nothing but a connected descriptor: a door is connected
    /// through here, which the configuration has allowed.
    pub(super) fn provide(&mut self, client: ClientId, descriptor: OwnedFd, now: Instant) {
        let token = client.token();
        if !self.sources.contains_key(&token) {
            // Nobody is there who wants it: the service behind a door is to hear of nothing.
            return;
        }
        let connected = if sys::door::is_path(descriptor.as_fd()).unwrap_or(false) {
            sys::door::connect(descriptor.as_fd(), SocketKind::Stream, Some(now))
        } else {
            Ok(descriptor)
        };
        if let (Ok(connected), Some(Source::Client(_, connection, _))) =
            (connected, self.sources.get_mut(&token))
        {
            // The client sees the end of the connection, which is that protocol's only error.
            let _gone = connection.provide(connected.as_fd()).is_err();
        }
        self.lose(token, now);
    }

    pub(super) fn call(&mut self, call: CallId, opened: io::Result<Channel>, now: Instant) {
        let token = self.next_token();
        let watched = opened.and_then(|channel| {
            let interest = if channel.has_outgoing() { Interest::BOTH } else { Interest::READ };
            self.poller.add(&channel, token, interest).map(|()| channel)
        });
        match watched {
            Ok(channel) => {
                self.sources.insert(token, Source::Call(call, channel));
                self.calls.insert(call, token);
            }
            Err(_) => {
                self.report(Event::Answered { call, answer: Answer::Gone }, now);
            }
        }
    }

    /// Makes a call on the connection of an answered one. False if that is gone.
    pub(super) fn call_on(
        &mut self,
        before: CallId,
        call: CallId,
        message: Bytes,
        descriptor: Option<OwnedFd>,
    ) -> bool {
        let Some(token) = self.calls.remove(&before) else { return false };
        let Some(Source::Call(current, channel)) = self.sources.get_mut(&token) else {
            return false;
        };
        *current = call;
        let is_sent = channel.send(message, descriptor);
        let waits = channel.has_outgoing();
        self.calls.insert(call, token);
        if is_sent {
            self.watch(token, if waits { Interest::BOTH } else { Interest::READ });
        } else {
            self.close_call(call);
        }
        is_sent
    }

    /// Keeps the connection of an answered call under another number.
    fn hold(&mut self, before: CallId, call: CallId) {
        let Some(token) = self.calls.remove(&before) else { return };
        if let Some(Source::Call(current, _)) = self.sources.get_mut(&token) {
            *current = call;
            self.calls.insert(call, token);
        }
    }

    pub(super) fn close_call(&mut self, call: CallId) {
        if let Some(token) = self.calls.remove(&call) {
            self.forget(token);
        }
    }
}
