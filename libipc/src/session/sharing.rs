//! What a session tells without reading, for those who share it: one of them reads for all.

use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;

use super::{Limits, RequestId, Session, SessionError, State};
use crate::channel::Channel;

impl Session {
    /// What it may hold.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How far in the stream of the peer it is: another number whenever something was heard.
    pub(crate) fn position(&self) -> u64 {
        self.connection.position()
    }

    /// The answer to a request, if it has come.
    pub(crate) fn answer_that_came(
        &mut self,
        request: RequestId,
    ) -> Result<Option<Bytes>, SessionError> {
        let State::Open(conversation) = &mut self.state else { return Ok(None) };
        let Some(answer) = conversation.requests.take(request)? else { return Ok(None) };
        self.checks.incoming(Channel::COMMAND, &answer)?;
        Ok(Some(answer))
    }

    /// How long the way there and back took, if the pong of that number has come.
    pub(crate) fn pong_that_came(&self, number: u64) -> Option<Duration> {
        match &self.state {
            State::Open(conversation) => conversation.pong(number),
            State::Greeted(_) => None,
        }
    }

    /// Whether the peer has agreed to the end.
    pub(crate) fn farewell_that_came(&self) -> Option<()> {
        match &self.state {
            State::Open(conversation) => conversation.acknowledged(),
            State::Greeted(_) => None,
        }
    }

    /// Ends the connection for everybody who has part in it.
    pub(crate) fn hang_up(&self) {
        // It fails where the peer has gone already.
        let _gone = sys::socket::end_both(self.connection.as_fd()).is_err();
    }
}
