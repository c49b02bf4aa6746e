//! One thread, many connections: one event at a time.
//!
//! ```
//! use libipc::event_loop::{Event, EventLoop};
//! use libipc::{Channel, Connection, Stream};
//!
//! # fn main() -> Result<(), libipc::ConnectionError> {
//! let (ours, theirs) = Stream::pair()?;
//! let mut events = EventLoop::new()?;
//! let echo = events.add(Connection::new(ours))?;
//! let mut client = Connection::new(theirs);
//! client.send(Channel::DATA, b"hello")?;
//! while let Event::Received { connection, message } = events.next()? {
//!     events.schedule(connection, message.channel, &message.payload)?;
//! #   break;
//! }
//! assert!(matches!(events.next()?, Event::Sent { connection } if connection == echo));
//! assert_eq!(&client.receive()?.payload[..], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here waits but [`EventLoop::next`]. Messages leave in the order in which they were
//! scheduled, and come in the order in which they were sent; a connection that has much to say has
//! its turn, and then all the others have theirs.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::channel::Channel;
use crate::connection::{Connection, ConnectionError, Options};
use crate::listener::Listener;
use crate::patience::Patience;
use crate::poller::{Interest, Poller, Ready, Token, Waker};

pub use event::{Event, Id};
use member::{Link, Member, Speaks};
use switch::Filters;
pub use switch::{Filter, Pass, SwitchError};
use turns::Turns;

mod event;
mod member;
mod sessions;
mod switch;
#[cfg(test)]
mod tests;
mod turns;

/// The token of the timer that the program sets, and of the waker.
const PROGRAM: Token = Token(0);

/// How long a connection that is to be closed may take to collect what was scheduled for it.
const LINGER: Duration = Duration::from_secs(2);

/// Services, connections and foreign descriptors of one thread.
///
/// ```
/// use libipc::event_loop::{Event, EventLoop};
/// use libipc::session::{ClientOptions, ServerOptions, Session};
/// use libipc::{Address, Patience};
/// # let place = format!("@libipc-event-loop-{}", std::process::id());
/// # let address: Address = place.parse().unwrap();
/// let mut events = EventLoop::new()?;
/// events.serve_sessions(address.listen()?, ServerOptions::default())?;
/// # let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
/// # let stream = address.connect(deadline)?;
/// # let client = std::thread::spawn(move || {
/// #     Session::connect(stream, &ClientOptions::default())?.request(b"a question", Patience::Forever)
/// # });
/// loop {
///     match events.next()? {
///         Event::SessionReceived { session, message } => {
///             let (Some(session), Some(request)) = (events.session(session), message.request) else {
///                 continue;
///             };
///             session.answer_within(request, b"42", Patience::Never)?;
///         }
///         Event::SessionEnded { .. } => break,
///         _ => {}
///     }
/// }
/// # assert_eq!(client.join().unwrap()?, "42");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventLoop {
    poller: Poller,
    waker: Waker,
    members: HashMap<Id, Member>,
    last: u64,
    /// Who may have something to do.
    turns: Turns,
    /// Connections with something scheduled, to be sent before the next wait.
    unsent: Turns,
    filters: Filters,
    /// What has happened and was not told yet.
    events: VecDeque<Event>,
    ready: Vec<Ready>,
    every: Option<Duration>,
}

impl EventLoop {
    /// A loop with nothing in it.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, PROGRAM)?;
        Ok(Self {
            poller,
            waker,
            members: HashMap::new(),
            last: 0,
            turns: Turns::default(),
            unsent: Turns::default(),
            filters: Filters::default(),
            events: VecDeque::new(),
            ready: Vec::new(),
            every: None,
        })
    }

    /// Serves: [`Event::Connected`] for each client, whose messages are as `options` say.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn serve(&mut self, listener: Listener, options: Options) -> io::Result<Id> {
        self.serve_as(listener, Speaks::Messages(options))
    }

    fn serve_as(&mut self, listener: Listener, speaks: Speaks) -> io::Result<Id> {
        let id = self.watch_as(listener.as_fd(), Interest::READ)?;
        self.members.insert(id, Member::Service { listener, speaks });
        Ok(id)
    }

    /// Takes over a connection: [`Event::Received`], [`Event::Sent`], [`Event::Disconnected`].
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn add(&mut self, connection: Connection) -> io::Result<Id> {
        let id = self.watch_as(connection.as_fd(), Interest::READ)?;
        // What it has read before is not told by the kernel again.
        self.turns.give(id);
        self.members.insert(id, Member::Connection(Box::new(Link::new(connection))));
        Ok(id)
    }

    /// Watches what the program itself reads or writes: [`Event::Ready`] for as long as it is
    /// ready. A copy of the descriptor is kept until [`EventLoop::remove`].
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left, or a file that is always ready.
    pub fn watch(&mut self, source: &impl AsFd, interest: Interest) -> io::Result<Id> {
        let descriptor = source.as_fd().try_clone_to_owned()?;
        let id = self.watch_as(descriptor.as_fd(), interest)?;
        self.members.insert(id, Member::External(descriptor));
        Ok(id)
    }

    fn watch_as(&mut self, source: BorrowedFd<'_>, interest: Interest) -> io::Result<Id> {
        self.last += 1;
        let id = Id(self.last);
        self.poller.add(source, id.token(), interest)?;
        Ok(id)
    }

    /// A connection of the loop.
    #[must_use]
    pub fn connection(&self, id: Id) -> Option<&Connection> {
        match self.members.get(&id)? {
            Member::Connection(link) => Some(&link.connection),
            _ => None,
        }
    }

    /// Has a message leave behind all that were scheduled before. It leaves when the program next
    /// waits for an event, at the latest.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::QueueFull`] if the peer does not read; [`ConnectionError::Ended`] for an
    /// id that is no connection, or no more.
    pub fn schedule(
        &mut self,
        id: Id,
        channel: Channel,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        match self.members.get_mut(&id) {
            Some(Member::Connection(link)) if !link.is_closing => {
                link.connection.queue(channel, payload)?;
                self.unsent.give(id);
                Ok(())
            }
            _ => Err(ConnectionError::Ended),
        }
    }

    /// Tells [`Event::Timer`] after each `every` from now on; `None`: no more.
    pub fn set_timer(&mut self, every: Option<Duration>) {
        self.every = every.map(|every| every.max(Duration::from_millis(1)));
        match self.every.and_then(|every| Instant::now().checked_add(every)) {
            Some(at) => self.poller.set_timer(PROGRAM, at),
            None => {
                self.poller.cancel_timer(PROGRAM);
            }
        }
    }

    /// What has another thread end the loop's wait, with [`Event::Woken`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn take_out(&mut self, id: Id) -> Option<Member> {
        let member = self.members.remove(&id)?;
        // It was watched, and another process may still have the same file open.
        let _watched = self.poller.remove(member.as_fd()).is_ok();
        self.poller.cancel_timer(id.token());
        Some(member)
    }

    /// Takes something out of the loop. A connection comes back, with what was scheduled and has
    /// not left yet; a service or a session is closed. The other side of a switch is closed once it
    /// has collected what was for it.
    pub fn remove(&mut self, id: Id) -> Option<Connection> {
        match self.take_out(id)? {
            Member::Connection(link) => {
                if let Some(other) = link.other {
                    self.filters.remove(id, other);
                    self.close_when_sent(other);
                }
                Some(link.connection)
            }
            Member::Service { .. }
            | Member::Session(_)
            | Member::Newcomer(_)
            | Member::Leaving(_)
            | Member::External(_) => None,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// The kernel's. What happens to one connection or service is an event, never an error here.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not lend the loop between"
    )]
    pub fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.next_within(Patience::Forever)? {
                return Ok(event);
            }
        }
    }

    /// The next event, if there is one while patience lasts.
    ///
    /// # Errors
    ///
    /// As of [`EventLoop::next`].
    pub fn next_within(&mut self, patience: Patience) -> io::Result<Option<Event>> {
        let mut is_over = false;
        loop {
            if let Some(event) = self.take_event()? {
                return Ok(Some(event));
            }
            if is_over {
                return Ok(None);
            }
            self.wait(match patience {
                Patience::Forever => None,
                Patience::Until(end) => Some(end.saturating_duration_since(Instant::now())),
                Patience::Never => Some(Duration::ZERO),
            })?;
            is_over = patience.is_over(Instant::now());
        }
    }

    /// What has happened, without waiting.
    fn take_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if let Some(id) = self.turns.take() {
                self.have_turn(id)?;
            } else if let Some(id) = self.unsent.take() {
                self.send(id)?;
            } else {
                return Ok(None);
            }
        }
    }

    fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let waited = self.poller.wait(&mut ready, limit);
        for one in &ready {
            self.handle_ready(*one)?;
        }
        self.ready = ready;
        waited
    }

    fn handle_ready(&mut self, ready: Ready) -> io::Result<()> {
        let id = Id(ready.token.0);
        if ready.token == PROGRAM {
            self.handle_program(ready.due);
            return Ok(());
        }
        if ready.due.is_some() {
            return self.handle_timer(id);
        }
        match self.members.get(&id) {
            Some(Member::External(_)) => {
                let Ready { readable, writable, hangup, .. } = ready;
                self.events.push_back(Event::Ready { external: id, readable, writable, hangup });
            }
            Some(Member::Connection(link)) => {
                if ready.writable && link.is_writing {
                    self.unsent.give(id);
                }
                if ready.readable {
                    self.turns.give(id);
                }
            }
            Some(Member::Session(seat)) => {
                if ready.writable && seat.is_writing {
                    self.unsent.give(id);
                }
                if ready.readable {
                    self.turns.give(id);
                }
            }
            Some(Member::Service { .. } | Member::Newcomer(_) | Member::Leaving(_)) => {
                self.turns.give(id);
            }
            None => {}
        }
        Ok(())
    }

    fn handle_program(&mut self, due: Option<Instant>) {
        let Some(due) = due else {
            self.waker.clear();
            self.events.push_back(Event::Woken);
            return;
        };
        // From when it was due, so that no delay adds up; from now if a turn was missed.
        let now = Instant::now();
        if let Some(every) = self.every {
            let next = due.checked_add(every).filter(|next| *next > now).unwrap_or(now + every);
            self.poller.set_timer(PROGRAM, next);
        }
        self.events.push_back(Event::Timer);
    }

    fn handle_timer(&mut self, id: Id) -> io::Result<()> {
        match self.members.get(&id) {
            Some(Member::Service { listener, .. }) => {
                self.poller.change(listener, id.token(), Interest::READ)
            }
            Some(Member::Connection(_)) => {
                self.end(id, None);
                Ok(())
            }
            Some(Member::Newcomer(_)) => self.judge(id, Err(ConnectionError::TimedOut.into())),
            Some(Member::Leaving(_)) => {
                self.take_out(id);
                Ok(())
            }
            Some(Member::Session(_)) => {
                self.handle_session_timer(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
