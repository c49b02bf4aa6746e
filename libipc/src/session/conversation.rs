//! A session after its beginning, without I/O: messages in, messages out, and what time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::control::Control;
use super::inbox::Inbox;
use super::requests::{Requests, Sorted};
use super::{Limits, Negotiated, Received, SessionError};
use crate::channel::Channel;
use crate::connection::Message;

/// The state of a session.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) negotiated: Negotiated,
    pub(super) requests: Requests,
    limits: Limits,
    inbox: Inbox,
    outgoing: VecDeque<Control>,
    end: Option<End>,
    /// When each ping was sent that has no pong yet.
    pings: VecDeque<Instant>,
    pongs: u64,
    round_trip: Duration,
    heard: Instant,
    /// Control messages since a moment.
    controls: (u32, Instant),
    farewell: Farewell,
}

/// How far this side's wish to end the session has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Farewell {
    Unsaid,
    Said,
    Acknowledged,
}

/// Why nothing more will come.
#[derive(Clone, Debug)]
enum End {
    ShutDown { reason: Option<String> },
    Forced { allowed: bool },
}

/// Pings without an answer at most; more tell nothing new.
const PINGS_MOST: usize = 16;

impl Conversation {
    pub(super) fn new(negotiated: Negotiated, limits: Limits, now: Instant) -> Self {
        Self {
            requests: Requests::new(negotiated.request_ids),
            negotiated,
            limits,
            inbox: Inbox::default(),
            outgoing: VecDeque::new(),
            end: None,
            pings: VecDeque::new(),
            pongs: 0,
            round_trip: Duration::ZERO,
            heard: now,
            controls: (0, now),
            farewell: Farewell::Unsaid,
        }
    }

    /// Takes a message of the peer's.
    ///
    /// # Errors
    ///
    /// The peer breaks the rules: the session is over.
    pub(super) fn handle(&mut self, message: Message, now: Instant) -> Result<(), SessionError> {
        self.heard = now;
        if message.channel == Channel::CONTROL {
            return self.handle_control(&message.payload, now);
        }
        if !self.negotiated.channels.contains(&message.channel) {
            return Err(SessionError::Channel { channel: message.channel });
        }
        let Message { channel, payload, descriptors } = message;
        let (payload, request) = if channel == Channel::COMMAND {
            match self.requests.sort(payload).ok_or(SessionError::Control)? {
                Sorted::Message(payload, request) => (payload, request),
                Sorted::Answer => return Ok(()),
            }
        } else {
            (payload, None)
        };
        self.inbox.push(Received { channel, payload, descriptors, request }, &self.limits)
    }

    fn handle_control(&mut self, payload: &[u8], now: Instant) -> Result<(), SessionError> {
        self.count_control(now)?;
        match Control::read(payload).map_err(|_| SessionError::Control)? {
            Control::Ping => self.outgoing.push_back(Control::Pong),
            Control::Pong => {
                if let Some(sent) = self.pings.pop_front() {
                    self.pongs += 1;
                    self.round_trip = now.saturating_duration_since(sent);
                }
            }
            Control::ShutdownRequest(reason) => {
                self.outgoing.push_back(Control::ShutdownAck);
                self.end.get_or_insert(End::ShutDown { reason });
            }
            Control::ShutdownAck if self.farewell != Farewell::Unsaid => {
                self.farewell = Farewell::Acknowledged;
            }
            Control::ShutdownForce => {
                self.end = Some(End::Forced { allowed: self.limits.allow_forced_end });
            }
            _ if self.limits.ignore_unknown_controls => {}
            _ => return Err(SessionError::Control),
        }
        Ok(())
    }

    fn count_control(&mut self, now: Instant) -> Result<(), SessionError> {
        let (count, since) = &mut self.controls;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*count, *since) = (0, now);
        }
        *count += 1;
        let most = self.limits.controls_per_second;
        if *count > most { Err(SessionError::ControlFlood { most }) } else { Ok(()) }
    }

    /// The next message of the application, of one channel or of any.
    pub(super) fn take(&mut self, channel: Option<Channel>) -> Option<Received> {
        self.inbox.take(channel)
    }

    /// Whether [`Conversation::take`] or [`Conversation::ended`] has something to say.
    pub(super) fn has_news(&self) -> bool {
        !self.inbox.is_empty() || self.end.is_some()
    }

    /// Why nothing more will come, if that is so.
    pub(super) fn ended(&self) -> Result<(), SessionError> {
        match &self.end {
            None => Ok(()),
            Some(End::ShutDown { reason }) => {
                Err(SessionError::ShutDown { reason: reason.clone() })
            }
            Some(End::Forced { allowed }) => Err(SessionError::Forced { allowed: *allowed }),
        }
    }

    /// What is to be sent on channel 0.
    pub(super) fn poll_outgoing(&mut self) -> Option<Control> {
        self.outgoing.pop_front()
    }

    /// Pings the peer; answers the number of the pong to wait for.
    pub(super) fn ping(&mut self, now: Instant) -> u64 {
        if self.pings.len() < PINGS_MOST {
            self.pings.push_back(now);
            self.outgoing.push_back(Control::Ping);
        }
        self.pongs + self.pings.len() as u64
    }

    /// How long the way there and back took, once that pong has come.
    pub(super) fn pong(&self, number: u64) -> Option<Duration> {
        (self.pongs >= number).then_some(self.round_trip)
    }

    /// Asks the peer to end the session.
    pub(super) fn shut_down(&mut self, reason: Option<String>) {
        self.farewell = Farewell::Said;
        self.outgoing.push_back(Control::ShutdownRequest(reason));
    }

    /// The peer has agreed to the end, if it has.
    pub(super) fn acknowledged(&self) -> Option<()> {
        (self.farewell == Farewell::Acknowledged).then_some(())
    }

    /// Ends the session without asking.
    pub(super) fn force(&mut self) {
        self.outgoing.push_back(Control::ShutdownForce);
    }

    /// When [`Conversation::handle_timeout`] wants to be called.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.quiet_since().checked_add(self.limits.keepalive?)
    }

    /// Pings a peer that is silent.
    ///
    /// # Errors
    ///
    /// It has been silent since it was pinged, for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.is_quiet(now) {
            if !self.pings.is_empty() {
                let span = now.saturating_duration_since(self.heard);
                return Err(SessionError::Silent { span });
            }
            self.ping(now);
        }
        Ok(())
    }

    /// Since when the peer should have said something: it has been pinged, or it has spoken last.
    fn quiet_since(&self) -> Instant {
        self.pings.front().map_or(self.heard, |sent| self.heard.max(*sent))
    }

    fn is_quiet(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.quiet_since());
        self.limits.keepalive.is_some_and(|interval| quiet >= interval)
    }

    /// When the peer was heard last.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Whether nothing has ended, and no ping has been unanswered for too long.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.end.is_none() && (self.pings.is_empty() || !self.is_quiet(now))
    }
}

#[cfg(test)]
mod tests;
