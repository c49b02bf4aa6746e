//! Questions of the broker itself to a service, for which it is a client like any other.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use libipc::identity::LocalIdentity;
use libipc::name::ServiceName;
use libipc::poller::Token;
use libipc::varlink::Bytes;
use sys::socket::{SocketKind, unix_pair};

use super::{EventLoop, Source};
use crate::action::{Answer, CallId, Entrance, Event};
use crate::asking::{Asking, Next};

/// What one question is about.
pub(super) struct Question {
    pub(super) service: ServiceName,
    /// The call, with its NUL.
    pub(super) message: Bytes,
    /// How long a connection may take.
    pub(super) timeout: Duration,
}

impl EventLoop<'_> {
    /// Asks for a service on a socket pair of our own, whose other end is a client.
    pub(super) fn ask(&mut self, call: CallId, question: Question, now: Instant) {
        if self.begin_asking(call, question, now).is_err() {
            self.report(Event::Answered { call, answer: Answer::Gone }, now);
        }
    }

    fn begin_asking(&mut self, call: CallId, question: Question, now: Instant) -> io::Result<()> {
        let (ours, clients) = unix_pair(SocketKind::Stream)?;
        let maker = LocalIdentity::of_peer(clients.as_fd())?;
        // Before anything is written, so that it carries its writer.
        let connection = super::entering::own(clients, &maker)?;
        let Question { service, message, timeout } = question;
        let asking = Asking::begin(ours, &service, timeout, message)?;
        let token = self.next_token();
        self.poller.add(&asking, token, asking.interest())?;
        self.sources.insert(token, Source::Asking(call, asking));
        self.calls.insert(call, token);
        self.take_in(connection, maker, Entrance::Broker, now);
        Ok(())
    }

    /// Goes on with a question as far as that is possible now.
    pub(super) fn serve_asking(&mut self, token: Token, call: CallId, now: Instant) {
        let Some(Source::Asking(_, asking)) = self.sources.get_mut(&token) else { return };
        let answer = match asking.advance() {
            Next::Waits { moved: None } => {
                let interest = asking.interest();
                return self.watch(token, interest);
            }
            Next::Waits { moved: Some(before) } => {
                // Another socket stands for the question now.
                let _unwatched = self.poller.remove(&before).is_ok();
                if self.poller.add(&*asking, token, asking.interest()).is_ok() {
                    return;
                }
                Answer::Gone
            }
            Next::Over(None) => Answer::Gone,
            Next::Over(Some(message)) => Answer::Reply { message, socket: None },
        };
        self.close_call(call);
        self.report(Event::Answered { call, answer }, now);
    }
}
