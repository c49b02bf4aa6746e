//! Two connections joined: what one says, the other hears.

use std::collections::HashMap;
use std::fmt;
use std::io;

use super::EventLoop;
use super::event::{Event, Id};
use super::member::Member;
use crate::connection::Message;

/// Bytes that may wait for one side of a switch before the other is no longer read.
const ROOM: usize = 1 << 20;

/// What becomes of a message on its way through a switch.
///
/// ```
/// use libipc::Message;
/// use libipc::event_loop::Pass;
///
/// fn judge(message: &Message) -> Pass {
///     match &message.payload[..] {
///         b"quit" => Pass::Close,
///         b"" => Pass::Drop,
///         _ => Pass::On,
///     }
/// }
/// assert_eq!(judge(&Message::default()), Pass::Drop);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pass {
    /// It goes on, as the filter left it.
    On,
    /// It does not, and nobody is told.
    Drop,
    /// Both connections are closed, once each has what was passed before.
    Close,
}

/// Looks at each message on its way through a switch, and may change it. The id is the sender's.
///
/// ```
/// use libipc::connection::{Message, Options};
/// use libipc::event_loop::{EventLoop, Filter, Id, Pass};
/// use libipc::{Channel, Connection};
///
/// let (mut alice, left) = Connection::pair(Options::default())?;
/// let (mut bob, right) = Connection::pair(Options::default())?;
/// let mut events = EventLoop::new()?;
/// let (left, right) = (events.add(left)?, events.add(right)?);
/// let filter: Filter = Box::new(|_from: Id, message: &mut Message| {
///     if message.payload == "hidden" { Pass::Drop } else { Pass::On }
/// });
/// events.join_with(left, right, filter).unwrap();
/// alice.send(Channel::DATA, b"hidden")?;
/// alice.send(Channel::DATA, b"shown")?;
/// events.next()?;
/// # while events.next_within(libipc::Patience::Never)?.is_some() {}
/// assert_eq!(bob.receive()?.payload, "shown");
/// # Ok::<(), std::io::Error>(())
/// ```
pub type Filter = Box<dyn FnMut(Id, &mut Message) -> Pass + Send>;

/// The filters of all switches, each under the lower of its two ids.
#[derive(Default)]
pub(super) struct Filters(HashMap<Id, Filter>);

impl Filters {
    fn insert(&mut self, left: Id, right: Id, filter: Filter) {
        self.0.insert(left.min(right), filter);
    }

    pub(super) fn remove(&mut self, left: Id, right: Id) {
        self.0.remove(&left.min(right));
    }

    fn judge(&mut self, from: Id, to: Id, message: &mut Message) -> Pass {
        self.0.get_mut(&from.min(to)).map_or(Pass::On, |filter| filter(from, message))
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why two connections cannot be joined.
///
/// ```
/// use libipc::event_loop::{EventLoop, SwitchError};
/// use libipc::{Connection, Stream};
///
/// let mut events = EventLoop::new()?;
/// let one = events.add(Connection::new(Stream::pair()?.0))?;
/// assert_eq!(events.join(one, one), Err(SwitchError::NoConnection(one)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SwitchError {
    /// It is no connection of this loop, or the other one twice.
    NoConnection(Id),
    /// It is joined already.
    Joined(Id),
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(id) => write!(f, "{id} is no other connection of this loop"),
            Self::Joined(id) => write!(f, "connection {id} is joined to another already"),
        }
    }
}

impl std::error::Error for SwitchError {}

impl EventLoop {
    /// Joins two connections: every message of one, with its descriptors, goes to the other, as
    /// fast as that one reads; [`Event::Passed`] instead of [`Event::Received`]. When one ends, the
    /// other is closed behind the last message.
    ///
    /// # Errors
    ///
    /// [`SwitchError`]; then nothing has changed.
    pub fn join(&mut self, left: Id, right: Id) -> Result<(), SwitchError> {
        self.join_with(left, right, Box::new(|_, _| Pass::On))
    }

    /// As [`EventLoop::join`], with a filter for both directions.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn join_with(&mut self, left: Id, right: Id, filter: Filter) -> Result<(), SwitchError> {
        if left == right {
            return Err(SwitchError::NoConnection(right));
        }
        for id in [left, right] {
            match self.members.get(&id) {
                Some(Member::Connection(link)) if link.other.is_some() => {
                    return Err(SwitchError::Joined(id));
                }
                Some(Member::Connection(_)) => {}
                _ => return Err(SwitchError::NoConnection(id)),
            }
        }
        for (id, other) in [(left, right), (right, left)] {
            if let Some(Member::Connection(link)) = self.members.get_mut(&id) {
                link.other = Some(other);
            }
        }
        self.filters.insert(left, right, filter);
        Ok(())
    }

    pub(super) fn is_switched(&self, id: Id) -> bool {
        self.other(id).is_some()
    }

    fn other(&self, id: Id) -> Option<Id> {
        match self.members.get(&id)? {
            Member::Connection(link) => link.other,
            _ => None,
        }
    }

    /// Passes a message of `from` to the other side.
    pub(super) fn pass(&mut self, from: Id, mut message: Message) -> io::Result<()> {
        let Some(to) = self.other(from) else { return Ok(()) };
        match self.filters.judge(from, to, &mut message) {
            Pass::Drop => return Ok(()),
            Pass::Close => {
                self.filters.remove(from, to);
                self.close_when_sent(from);
                self.close_when_sent(to);
                return Ok(());
            }
            Pass::On => {}
        }
        let bytes = message.payload.len();
        self.events.push_back(Event::Passed { from, to, bytes });
        let Some(Member::Connection(link)) = self.members.get_mut(&to) else { return Ok(()) };
        if message.descriptors.is_empty() {
            let queued = link.connection.queue(message.channel, &message.payload);
            let is_full = link.connection.outgoing_bytes() >= ROOM;
            self.unsent.give(to);
            return match queued {
                Ok(()) => self.set_paused(from, is_full),
                Err(error) => {
                    self.end(to, Some(error));
                    Ok(())
                }
            };
        }
        // One message at most is held: its sender is not read until it has left.
        link.held = Some(message);
        self.unsent.give(to);
        self.set_paused(from, true)
    }

    /// Has the other side of `id` be read again, now that there is room.
    pub(super) fn resume_other(&mut self, id: Id) -> io::Result<()> {
        let Some(other) = self.other(id) else { return Ok(()) };
        self.set_paused(other, false)?;
        self.turns.give(other);
        Ok(())
    }
}
