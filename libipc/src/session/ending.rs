//! Pings, and how a session ends.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::conversation::Conversation;
use super::{Session, SessionError, State, refusal};
use crate::channel::Channel;
use crate::patience::Patience;

impl Session {
    /// Measures the way to the peer and back.
    ///
    /// # Errors
    ///
    /// As [`Session::receive_within`].
    pub fn ping(&mut self, patience: Patience) -> Result<Duration, SessionError> {
        let number = self.start_ping(patience)?;
        self.pong(number, patience)
    }

    /// Pings the peer; answers which pong to wait for.
    pub(crate) fn start_ping(&mut self, patience: Patience) -> Result<u64, SessionError> {
        Ok(self.finish(patience)?.ping(Instant::now()))
    }

    /// Waits for a pong.
    pub(crate) fn pong(
        &mut self,
        number: u64,
        patience: Patience,
    ) -> Result<Duration, SessionError> {
        self.wait_for(patience, |conversation| Ok(conversation.pong(number)))
    }

    /// Ends the session in good order: tells the peer, perhaps why, and waits until it agrees.
    /// What it sent before that can still be [received](Session::receive_within).
    ///
    /// # Errors
    ///
    /// As [`Session::receive_within`].
    pub fn shut_down(
        &mut self,
        reason: Option<&str>,
        patience: Patience,
    ) -> Result<(), SessionError> {
        self.start_farewell(reason, patience)?;
        self.farewell(patience)
    }

    /// Tells the peer that the session is to end.
    pub(crate) fn start_farewell(
        &mut self,
        reason: Option<&str>,
        patience: Patience,
    ) -> Result<(), SessionError> {
        self.finish(patience)?.shut_down(reason.map(str::to_owned));
        Ok(())
    }

    /// Waits until the peer agrees to the end.
    pub(crate) fn farewell(&mut self, patience: Patience) -> Result<(), SessionError> {
        let agreed = |conversation: &mut Conversation| Ok(conversation.acknowledged());
        match self.wait_for(patience, agreed) {
            // Both sides had the same wish at once.
            Err(SessionError::ShutDown { .. }) => Ok(()),
            result => result,
        }
    }

    /// Ends the session without waiting for the peer to agree. A reason is told on channel 4, if
    /// that was agreed.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub fn force_end(
        mut self,
        reason: Option<&str>,
        patience: Patience,
    ) -> Result<(), SessionError> {
        if let Some(reason) = reason.filter(|_| self.has_channel(Channel::ERROR)) {
            self.queue(Channel::ERROR, &refusal::bytes(reason))?;
        }
        self.finish(patience)?.force();
        self.flush(patience)?;
        Ok(())
    }

    /// Whether the peer is there, as far as is known without waiting: it has not closed the
    /// connection, nor left a ping unanswered for the time of the keepalive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let is_open = match &self.state {
            State::Open(conversation) => conversation.is_alive(Instant::now()),
            State::Greeted(_) => true,
        };
        let mut look = [PollFd::new(self.as_fd(), PEER_ENDED)];
        let looked = poll(&mut look, PollTimeout::ZERO);
        let [look] = look;
        is_open && looked.is_ok() && !look.any().unwrap_or(true)
    }

    /// When the peer was heard last.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        match &self.state {
            State::Open(conversation) => Some(conversation.heard()),
            State::Greeted(_) => None,
        }
    }

    /// When to call [`Session::receive_within`] at the latest, so that the keepalive works: for
    /// programs that wait in a loop of their own.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Open(conversation) => conversation.timeout(),
            State::Greeted(_) => None,
        }
    }

    /// How long the server may take to agree, where it has not agreed yet.
    pub(crate) fn time_to_agree(&self) -> Option<Duration> {
        match &self.state {
            State::Open(_) => None,
            State::Greeted(options) => Some(options.timeout),
        }
    }
}

/// The peer sends nothing more; the library of system calls has no name for it.
const PEER_ENDED: PollFlags = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
