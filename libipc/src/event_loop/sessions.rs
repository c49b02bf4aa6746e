//! Sessions in a loop: how they begin, what they tell, and how they end.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use super::EventLoop;
use super::event::{Event, Id};
use super::member::{Member, Speaks};
use crate::connection::{ConnectionError, Message};
use crate::listener::Listener;
use crate::patience::Patience;
use crate::poller::Interest;
use crate::session::beginning::{Beginning, FAREWELL, TurnedAway};
use crate::session::{ServerOptions, Session, SessionError};
use crate::stream::Stream;

/// A session in a loop.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) session: Session,
    /// Waits for room to send.
    pub(super) is_writing: bool,
}

/// A client that has not said yet what it wants.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) beginning: Beginning,
    service: Id,
    options: Arc<ServerOptions>,
}

impl EventLoop {
    /// Serves sessions: [`Event::SessionBegun`] for each client that was let in,
    /// [`Event::SessionRefused`] for one that was told why not. Clients that are slow to begin
    /// delay nobody. The server's name for a client is `peer-` and the session's id.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn serve_sessions(&mut self, listener: Listener, options: ServerOptions) -> io::Result<Id> {
        self.serve_as(listener, Speaks::Sessions(Arc::new(options)))
    }

    /// Takes over a session: [`Event::SessionReceived`], [`Event::SessionAnswered`],
    /// [`Event::Sent`], [`Event::SessionEnded`]. One that was [started](Session::start) has the
    /// time of its options to be agreed on, from now on.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn add_session(&mut self, session: Session) -> io::Result<Id> {
        let id = self.watch_as(session.as_fd(), Interest::READ)?;
        if let Some(end) = session.time_to_agree().and_then(|time| Instant::now().checked_add(time))
        {
            self.poller.set_timer(id.token(), end);
        }
        self.seat(id, session);
        Ok(id)
    }

    /// A session of the loop, to send with: [`Session::queue`], and with [`Patience::Never`]
    /// [`Session::send_within`], [`Session::answer_within`] and [`Session::start_request`]. What
    /// waits to be sent leaves when the program next waits for an event.
    #[must_use]
    pub fn session(&mut self, id: Id) -> Option<&mut Session> {
        let Some(Member::Session(seat)) = self.members.get_mut(&id) else { return None };
        self.unsent.give(id);
        // What the program does with it may have read something.
        self.turns.give(id);
        Some(&mut seat.session)
    }

    /// Takes a session out of the loop.
    pub fn remove_session(&mut self, id: Id) -> Option<Session> {
        match self.members.get(&id)? {
            Member::Session(_) => {}
            _ => return None,
        }
        match self.take_out(id)? {
            Member::Session(seat) => Some(seat.session),
            _ => None,
        }
    }

    fn seat(&mut self, id: Id, session: Session) {
        self.members.insert(id, Member::Session(Box::new(Seat { session, is_writing: false })));
        self.turns.give(id);
        self.unsent.give(id);
    }

    /// Has a client say what it wants, and waits for that no longer than `options` allow.
    pub(super) fn welcome(
        &mut self,
        service: Id,
        stream: Stream,
        options: Arc<ServerOptions>,
    ) -> io::Result<()> {
        let beginning = match Session::begin(stream, &options) {
            Ok(beginning) => beginning,
            Err(error) => {
                self.events.push_back(Event::SessionRefused { service, error });
                return Ok(());
            }
        };
        let id = self.watch_as(beginning.as_fd(), Interest::READ)?;
        if let Some(end) = Instant::now().checked_add(options.timeout) {
            self.poller.set_timer(id.token(), end);
        }
        self.turns.give(id);
        let newcomer = Box::new(Newcomer { beginning, service, options });
        self.members.insert(id, Member::Newcomer(newcomer));
        Ok(())
    }

    /// Hears what a client wants.
    pub(super) fn hear(&mut self, id: Id) -> io::Result<()> {
        let Some(Member::Newcomer(newcomer)) = self.members.get_mut(&id) else { return Ok(()) };
        match newcomer.beginning.hear(Patience::Never) {
            Err(error) if error.is_timeout() => Ok(()),
            heard => self.judge(id, heard),
        }
    }

    /// Lets a client in that has said what it wants, or tells it why not.
    pub(super) fn judge(&mut self, id: Id, heard: Result<Message, SessionError>) -> io::Result<()> {
        let Some(Member::Newcomer(newcomer)) = self.take_out(id) else { return Ok(()) };
        let Newcomer { beginning, service, options } = *newcomer;
        match beginning.judge(heard, &options, &format!("peer-{id}"), Patience::Never) {
            Ok(session) => {
                self.poller.add(&session, id.token(), Interest::READ)?;
                self.seat(id, session);
                self.events.push_back(Event::SessionBegun { service, session: id });
            }
            Err(TurnedAway { error, leaving }) => {
                self.events.push_back(Event::SessionRefused { service, error });
                if let Some(connection) = leaving {
                    self.poller.add(&*connection, id.token(), Interest::READ)?;
                    self.poller.set_timer(id.token(), Instant::now() + FAREWELL);
                    self.members.insert(id, Member::Leaving(connection));
                }
            }
        }
        Ok(())
    }

    /// Reads on behind a client that was not let in, until it has left.
    pub(super) fn see_off(&mut self, id: Id) {
        let Some(Member::Leaving(connection)) = self.members.get_mut(&id) else { return };
        if connection.discard(Patience::Never).is_err() {
            self.take_out(id);
        }
    }

    /// One message of a session, and the answers that came before it.
    pub(super) fn have_session(&mut self, id: Id) {
        let Some(Member::Session(seat)) = self.members.get_mut(&id) else { return };
        let received = seat.session.receive_within(Patience::Never);
        while let Some((request, answer)) = seat.session.take_answer() {
            self.events.push_back(Event::SessionAnswered { session: id, request, answer });
        }
        if seat.session.has_message() {
            self.turns.give(id);
        }
        if seat.session.outgoing_bytes() > 0 {
            self.unsent.give(id);
        }
        if let Some(moment) = seat.session.deadline() {
            self.poller.set_timer(id.token(), moment);
        }
        match received {
            Ok(message) => {
                self.events.push_back(Event::SessionReceived { session: id, message });
            }
            Err(error) if error.is_timeout() => {}
            Err(error) if error.is_about_content() => {
                self.events.push_back(Event::ContentRefused { session: id, error });
            }
            Err(error) => self.end_session(id, error),
        }
    }

    /// A session's time is over: to be agreed on, or to hear something of its peer.
    pub(super) fn handle_session_timer(&mut self, id: Id) {
        let Some(Member::Session(seat)) = self.members.get(&id) else { return };
        if seat.session.time_to_agree().is_some() {
            self.end_session(id, ConnectionError::TimedOut.into());
        } else {
            self.turns.give(id);
        }
    }

    /// Sends what waits, as far as the peer takes it.
    pub(super) fn send_session(&mut self, id: Id) -> io::Result<()> {
        let Some(Member::Session(seat)) = self.members.get_mut(&id) else { return Ok(()) };
        let has_something = seat.session.outgoing_bytes() > 0;
        let is_done = match seat.session.flush(Patience::Never) {
            Ok(is_done) => is_done,
            Err(error) => {
                self.end_session(id, error);
                return Ok(());
            }
        };
        if has_something && is_done {
            self.events.push_back(Event::Sent { connection: id });
        }
        if seat.is_writing == is_done {
            seat.is_writing = !is_done;
            let interest = Interest { readable: true, writable: !is_done };
            self.poller.change(&seat.session, id.token(), interest)?;
        }
        Ok(())
    }

    fn end_session(&mut self, id: Id, error: SessionError) {
        if self.remove_session(id).is_some() {
            self.events.push_back(Event::SessionEnded { session: id, error });
        }
    }
}

#[cfg(test)]
mod tests;
