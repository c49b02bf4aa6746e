//! What the tasks have in common, one at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::channel::Channel;
use crate::patience::Patience;
use crate::session::inbox::Inbox;
use crate::session::{Limits, Received, Session, SessionError};

/// What of it one task has at a time, and never across a wait.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) session: Session,
    pub(super) desks: Vec<Desk>,
    pub(super) last: u64,
    /// Since when nothing is read because somebody is about to collect.
    pub(super) stands_since: Option<Instant>,
}

/// Where messages wait for a subscription.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) number: u64,
    /// `None`: of every channel.
    pub(super) channel: Option<Channel>,
    pub(super) inbox: Inbox,
    /// Somebody is about to collect.
    pub(super) is_attended: bool,
}

/// How far an attempt has come.
pub(super) enum Step<T> {
    Done(T),
    /// Nothing to read, or no room to send.
    Blocked,
    /// Somebody is to collect what waits before more is read, and by then if there is a keepalive.
    HeldUp {
        until: Option<Instant>,
    },
    /// It has read as much as one turn has; there may be more.
    Enough,
}

/// Messages that one attempt reads at most: a peer that never pauses would keep its task, and the
/// session from every other one, for as long as it likes.
const TURN_MESSAGES_MOST: usize = 64;

/// An attempt ends behind the message that makes it so many bytes.
const TURN_BYTES_MOST: u64 = 64 << 10;

impl Held {
    /// Reads one message after the other until `found` finds what is waited for, or its turn is
    /// over.
    pub(super) fn advance<T>(
        &mut self,
        found: &mut impl FnMut(&mut Self) -> Result<Option<T>, SessionError>,
    ) -> Result<Step<T>, SessionError> {
        let (start, mut messages) = (self.session.position(), 0);
        loop {
            if let Some(found) = found(self)? {
                return Ok(Step::Done(found));
            }
            if let Some(channel) = self.full_channel() {
                return Ok(Step::HeldUp { until: self.stand(channel)? });
            }
            self.stands_since = None;
            let bytes = self.session.position() - start;
            if messages == TURN_MESSAGES_MOST || bytes >= TURN_BYTES_MOST {
                return Ok(Step::Enough);
            }
            messages += 1;
            let received = self.session.receive_within(Patience::Never);
            match received.and_then(|message| self.deliver(message)) {
                Ok(()) => {}
                Err(error) => {
                    // What is waited for may have come before the end.
                    if let Some(found) = found(self)? {
                        return Ok(Step::Done(found));
                    }
                    if error.is_timeout() {
                        return Ok(Step::Blocked);
                    }
                    if error.is_breach() {
                        self.session.hang_up();
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Whether somebody is about to collect, and has to before more is read. Where nobody is, what
    /// waits is too much at its limit, and the session ends.
    pub(super) fn is_held_up(&self) -> bool {
        self.full_channel().is_some()
    }

    /// The channel of which somebody has to collect.
    fn full_channel(&self) -> Option<Channel> {
        let limits = self.session.limits();
        let mut attended = self.desks.iter().filter(|desk| desk.is_attended);
        attended.find_map(|desk| desk.inbox.full_channel(limits))
    }

    /// Until when that may take. A peer gets no answer to its pings meanwhile, so it is as long as
    /// a silent peer would have.
    fn stand(&mut self, channel: Channel) -> Result<Option<Instant>, SessionError> {
        let now = Instant::now();
        let since = *self.stands_since.get_or_insert(now);
        let Some(keepalive) = self.session.limits().keepalive else { return Ok(None) };
        let until = since.checked_add(keepalive.saturating_mul(2));
        if until.is_some_and(|until| now >= until) {
            self.session.hang_up();
            return Err(SessionError::TooMuchWaiting { channel });
        }
        Ok(until)
    }

    /// The next message of a subscription.
    pub(super) fn take(&mut self, number: u64) -> Option<Received> {
        let message = self.desk(number)?.inbox.take(None)?;
        self.stands_since = None;
        Some(message)
    }

    pub(super) fn deliver(&mut self, message: Received) -> Result<(), SessionError> {
        let limits = *self.session.limits();
        // One that is attended has room for one more, or nothing would have been read.
        let unlimited =
            Limits { waiting_per_channel: usize::MAX, waiting_bytes: usize::MAX, ..limits };
        let channel = message.channel;
        let is_for = |desk: &&mut Desk| desk.channel.is_none_or(|wanted| wanted == channel);
        let mut desks = self.desks.iter_mut().filter(is_for).peekable();
        while let Some(desk) = desks.next() {
            let limits = if desk.is_attended { &unlimited } else { &limits };
            if desks.peek().is_none() {
                return desk.inbox.push(message, limits);
            }
            desk.inbox.push(copy(&message)?, limits)?;
        }
        Ok(())
    }

    pub(super) fn desk(&mut self, number: u64) -> Option<&mut Desk> {
        self.desks.iter_mut().find(|desk| desk.number == number)
    }
}

/// The same message for one more subscription; its content is shared.
fn copy(message: &Received) -> io::Result<Received> {
    let copies = message.descriptors.iter().map(OwnedFd::try_clone);
    Ok(Received {
        channel: message.channel,
        payload: message.payload.clone(),
        descriptors: copies.collect::<io::Result<_>>()?,
        request: message.request,
    })
}
