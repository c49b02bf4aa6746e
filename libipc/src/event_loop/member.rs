//! What is in a loop, and what each does when it has its turn.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::event::{Event, Id};
use super::sessions::{Newcomer, Seat};
use super::{EventLoop, LINGER};
use crate::connection::{Connection, ConnectionError, Message, Options};
use crate::listener::{Listener, REST};
use crate::patience::Patience;
use crate::poller::Interest;
use crate::session::ServerOptions;
use crate::stream::Stream;

/// Something in a loop.
#[derive(Debug)]
pub(super) enum Member {
    Service {
        listener: Listener,
        speaks: Speaks,
    },
    Connection(Box<Link>),
    Session(Box<Seat>),
    Newcomer(Box<Newcomer>),
    /// Of a client that was not let in.
    Leaving(Box<Connection>),
    External(OwnedFd),
}

/// What a service says to its clients.
#[derive(Clone, Debug)]
pub(super) enum Speaks {
    Messages(Options),
    Sessions(Arc<ServerOptions>),
}

impl AsFd for Member {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Service { listener, .. } => listener.as_fd(),
            Self::Connection(link) => link.connection.as_fd(),
            Self::Session(seat) => seat.session.as_fd(),
            Self::Newcomer(newcomer) => newcomer.beginning.as_fd(),
            Self::Leaving(connection) => connection.as_fd(),
            Self::External(descriptor) => descriptor.as_fd(),
        }
    }
}

/// A connection in a loop.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    /// Waits for room to send.
    pub(super) is_writing: bool,
    /// Is not read: it is to be closed, or the other side of its switch has no room.
    pub(super) is_paused: bool,
    /// Is closed once everything is sent.
    pub(super) is_closing: bool,
    /// The other side of its switch.
    pub(super) other: Option<Id>,
    /// A message of the other side that could not leave yet, with its descriptors.
    pub(super) held: Option<Message>,
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            is_writing: false,
            is_paused: false,
            is_closing: false,
            other: None,
            held: None,
        }
    }

    /// Sends what waits, then what is held; whether that is all.
    fn flush(&mut self) -> Result<bool, ConnectionError> {
        if !self.connection.flush(Patience::Never)? {
            return Ok(false);
        }
        let Some(message) = &self.held else { return Ok(true) };
        let descriptors: Vec<_> = message.descriptors.iter().map(AsFd::as_fd).collect();
        let (channel, payload) = (message.channel, &message.payload);
        match self.connection.send_within(channel, payload, &descriptors, Patience::Never) {
            Err(ConnectionError::TimedOut) => return Ok(false),
            result => result?,
        }
        self.held = None;
        Ok(self.connection.outgoing_bytes() == 0)
    }

    /// What the poller is to tell.
    fn interest(&self) -> Interest {
        Interest { readable: !self.is_paused, writable: self.is_writing }
    }
}

impl EventLoop {
    /// Does what one member has to do, once.
    pub(super) fn have_turn(&mut self, id: Id) -> io::Result<()> {
        match self.members.get_mut(&id) {
            Some(Member::Service { listener, speaks }) => {
                let (accepted, speaks) = (listener.try_accept(), speaks.clone());
                self.handle_accepted(id, accepted, speaks)
            }
            Some(Member::Session(_)) => {
                self.have_session(id);
                Ok(())
            }
            Some(Member::Newcomer(_)) => self.hear(id),
            Some(Member::Leaving(_)) => {
                self.see_off(id);
                Ok(())
            }
            Some(Member::Connection(link)) if !link.is_paused => {
                let received = link.connection.try_receive();
                let has_more = link.connection.has_message();
                self.handle_received(id, received)?;
                if has_more {
                    self.turns.give(id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle_accepted(
        &mut self,
        service: Id,
        accepted: io::Result<Option<Stream>>,
        speaks: Speaks,
    ) -> io::Result<()> {
        let accepted = match accepted {
            Ok(None) => return Ok(()),
            Ok(Some(stream)) => {
                // There may be more, after everybody else.
                self.turns.give(service);
                match speaks {
                    Speaks::Sessions(options) => return self.welcome(service, stream, options),
                    Speaks::Messages(options) => Connection::with(stream, options),
                }
            }
            Err(error) => Err(error),
        };
        match accepted {
            Ok(connection) => {
                let connection = self.add(connection)?;
                self.events.push_back(Event::Connected { service, connection });
                Ok(())
            }
            Err(error) => {
                let is_over = error.kind() == io::ErrorKind::AddrInUse;
                self.events.push_back(Event::ServiceFailed { service, error, is_over });
                if is_over {
                    self.remove(service);
                    return Ok(());
                }
                self.poller.set_timer(service.token(), Instant::now() + REST);
                match self.members.get(&service) {
                    Some(member) => self.poller.change(member, service.token(), Interest::NONE),
                    None => Ok(()),
                }
            }
        }
    }

    fn handle_received(
        &mut self,
        id: Id,
        received: Result<Option<Message>, ConnectionError>,
    ) -> io::Result<()> {
        match received {
            Ok(None) => Ok(()),
            Ok(Some(message)) => {
                if self.is_switched(id) {
                    return self.pass(id, message);
                }
                self.events.push_back(Event::Received { connection: id, message });
                Ok(())
            }
            Err(error) => {
                self.end(id, Some(error));
                Ok(())
            }
        }
    }

    /// Sends what is scheduled, as far as the peer takes it.
    pub(super) fn send(&mut self, id: Id) -> io::Result<()> {
        let link = match self.members.get_mut(&id) {
            Some(Member::Connection(link)) => link,
            Some(Member::Session(_)) => return self.send_session(id),
            _ => return Ok(()),
        };
        let is_closing = link.is_closing;
        match link.flush() {
            Ok(false) => self.set_writing(id, true),
            Ok(true) if is_closing => {
                self.end(id, None);
                Ok(())
            }
            Ok(true) => {
                self.events.push_back(Event::Sent { connection: id });
                self.set_writing(id, false)?;
                self.resume_other(id)
            }
            Err(error) => {
                self.end(id, Some(error));
                Ok(())
            }
        }
    }

    /// Takes a connection out that is over.
    pub(super) fn end(&mut self, id: Id, error: Option<ConnectionError>) {
        // That a peer has gone is no error of the connection.
        let error = error.filter(|error| !matches!(error, ConnectionError::Ended));
        if self.remove(id).is_some() {
            self.events.push_back(Event::Disconnected { connection: id, error });
        }
    }

    /// Ends a connection once its peer has collected what is for it, or has had the time to.
    pub(super) fn close_when_sent(&mut self, id: Id) {
        let Some(Member::Connection(link)) = self.members.get_mut(&id) else { return };
        link.is_closing = true;
        link.other = None;
        self.poller.set_timer(id.token(), Instant::now() + LINGER);
        self.unsent.give(id);
        // It fails only for what is not watched.
        let _paused = self.set_paused(id, true).is_ok();
    }

    pub(super) fn set_writing(&mut self, id: Id, is_writing: bool) -> io::Result<()> {
        self.set(id, |link| link.is_writing = is_writing)
    }

    pub(super) fn set_paused(&mut self, id: Id, is_paused: bool) -> io::Result<()> {
        self.set(id, |link| link.is_paused = is_paused)
    }

    fn set(&mut self, id: Id, change: impl FnOnce(&mut Link)) -> io::Result<()> {
        let Some(Member::Connection(link)) = self.members.get_mut(&id) else { return Ok(()) };
        let before = link.interest();
        change(link);
        let interest = link.interest();
        if interest == before {
            return Ok(());
        }
        // A hang-up is told whatever one asks for: who wants nothing must not be asked at all.
        if interest == Interest::NONE {
            self.poller.remove(&link.connection)
        } else if before == Interest::NONE {
            self.poller.add(&link.connection, id.token(), interest)
        } else {
            self.poller.change(&link.connection, id.token(), interest)
        }
    }
}
