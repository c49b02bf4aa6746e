//! Readiness of many descriptors, timers, signals, and wake-ups from other threads.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use libipc::poller::{Interest, Poller, Token};
//!
//! # fn main() -> std::io::Result<()> {
//! let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
//! let mut poller = Poller::new()?;
//! poller.add(&ours, Token(1), Interest::READ)?;
//! poller.set_timer(Token(2), Instant::now() + Duration::from_secs(60));
//! drop(theirs);
//! let mut ready = Vec::new();
//! poller.wait(&mut ready, None)?;
//! assert!(ready[0].token == Token(1) && ready[0].hangup);
//! # Ok(())
//! # }
//! ```
//!
//! Anything with a descriptor can be watched: a [`Stream`](crate::Stream), a
//! [`Listener`](crate::Listener), an end of a [`ring`](crate::ring), [`Signals`], a pipe, a
//! terminal. A poller can be watched by another one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

mod signals;
#[cfg(test)]
mod tests;
mod timers;

pub use signals::{Signal, Signals};
use timers::Timers;

/// The caller's name for a descriptor.
///
/// ```
/// use libipc::poller::Token;
///
/// const LISTENER: Token = Token(0);
/// let first_client = Token(LISTENER.0 + 1);
/// assert!(first_client > LISTENER);
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(pub u64);

/// What to be told about. A hang-up is always told.
///
/// ```
/// use libipc::poller::Interest;
///
/// assert_eq!(Interest { writable: true, ..Interest::READ }, Interest::BOTH);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interest {
    /// There is something to read, or the end.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
}

impl Interest {
    /// Only reading.
    pub const READ: Self = Self { readable: true, writable: false };
    /// Only writing.
    pub const WRITE: Self = Self { readable: false, writable: true };
    /// Both.
    pub const BOTH: Self = Self { readable: true, writable: true };
    /// Hang-ups alone.
    pub const NONE: Self = Self { readable: false, writable: false };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, self.readable);
        flags.set(EpollFlags::EPOLLOUT, self.writable);
        flags
    }
}

/// One descriptor that is ready, or one timer that is due.
///
/// ```
/// use libipc::poller::{Interest, Poller, Ready, Token};
///
/// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
/// let mut poller = Poller::new()?;
/// poller.add(&ours, Token(7), Interest::BOTH)?;
/// let mut ready = Vec::new();
/// poller.wait(&mut ready, None)?;
/// let Ready { token, readable, writable, .. } = ready[0];
/// assert_eq!((token, readable, writable), (Token(7), false, true));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Whose.
    pub token: Token,
    /// There is something to read, or the end.
    pub readable: bool,
    /// There is room to write, or writing fails at once.
    pub writable: bool,
    /// Both directions are over.
    pub hangup: bool,
    /// The moment that the token's timer was set to; then nothing is said about a descriptor.
    pub due: Option<Instant>,
}

impl Ready {
    fn of_event(event: &EpollEvent) -> Self {
        let flags = event.events();
        let over = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        Self {
            token: Token(event.data()),
            readable: over || flags.contains(EpollFlags::EPOLLIN),
            writable: over || flags.contains(EpollFlags::EPOLLOUT),
            hangup: over,
            due: None,
        }
    }

    fn of_timer((at, token): (Instant, Token)) -> Self {
        Self { token, readable: false, writable: false, hangup: false, due: Some(at) }
    }
}

/// Descriptors that the first wait returns at most. A wait that finds more leaves the rest to the
/// next, which has twice the room.
const FIRST_BATCH: usize = 256;

/// Descriptors that any wait returns at most: 768 KiB of the kernel's records.
const LARGEST_BATCH: usize = 1 << 16;

/// Waits for many descriptors at once.
///
/// The kernel watches open file descriptions: remove a descriptor before it is passed on or
/// closed while a copy lives elsewhere, or it goes on being told.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use libipc::poller::{Poller, Token};
///
/// let mut poller = Poller::new()?;
/// poller.set_timer(Token(1), Instant::now() + Duration::from_millis(1));
/// let mut ready = Vec::new();
/// while ready.is_empty() {
///     poller.wait(&mut ready, None)?;
/// }
/// assert!(ready[0].token == Token(1) && ready[0].due.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    timers: Timers,
}

impl Poller {
    /// An empty poller.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors or memory left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let events = vec![EpollEvent::empty(); FIRST_BATCH];
        Ok(Self { epoll, events, timers: Timers::default() })
    }

    /// Watches `source` under `token`. It is told in every wait for as long as it is ready.
    ///
    /// Closing it ends the watch if nobody else holds a copy; of what another process has sent,
    /// like the clients of a registered service, somebody may. So [`Poller::remove`] comes first.
    ///
    /// # Errors
    ///
    /// The kernel's; `EEXIST` if it is watched already.
    pub fn add(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(source, EpollEvent::new(interest.flags(), token.0))?)
    }

    /// As [`Poller::add`], but it is told once each time that something comes (edge-triggered):
    /// whoever is told reads or writes until that would block. Signals and wakers are level.
    ///
    /// # Errors
    ///
    /// As of [`Poller::add`].
    pub fn add_edge(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let flags = interest.flags() | EpollFlags::EPOLLET;
        Ok(self.epoll.add(source, EpollEvent::new(flags, token.0))?)
    }

    /// Watches `source` for something else, as [`Poller::add_edge`] does. What is ready already is
    /// told once.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` if it is not watched.
    pub fn change_edge(
        &self,
        source: impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let flags = interest.flags() | EpollFlags::EPOLLET;
        Ok(self.epoll.modify(source, &mut EpollEvent::new(flags, token.0))?)
    }

    /// Watches `source` for something else, from now on as [`Poller::add`] does.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` if it is not watched.
    pub fn change(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(source, &mut EpollEvent::new(interest.flags(), token.0))?)
    }

    /// No longer watches `source`.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` if it is not watched.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(source)?)
    }

    /// Has the wait after `at` tell `token` once, as [`Ready::due`]. A token has one timer: an
    /// earlier setting is forgotten.
    pub fn set_timer(&mut self, token: Token, at: Instant) {
        self.timers.set(token, at);
    }

    /// Forgets the timer of `token`. Whether it had one that was not told yet.
    pub fn cancel_timer(&mut self, token: Token) -> bool {
        self.timers.cancel(token)
    }

    /// Waits until something is ready, a timer is due, `timeout` is over (`None`: never), or a
    /// signal came; then fills `ready` anew, which may stay empty. Time is rounded up to whole
    /// milliseconds. Descriptors come in turn: none is left out for long, however many are ready.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let timeout = whole_milliseconds(self.shortened(timeout));
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.extend(self.events.iter().take(count).map(Ready::of_event));
        if self.timers.earliest().is_some() {
            let now = Instant::now();
            while let Some(timer) = self.timers.take_due(now) {
                ready.push(Ready::of_timer(timer));
            }
        }
        if count == self.events.len() && count < LARGEST_BATCH {
            self.events.resize(count * 2, EpollEvent::empty());
        }
        Ok(())
    }

    /// The time until something has to be told anyway.
    fn shortened(&self, timeout: Option<Duration>) -> Option<Duration> {
        let Some(earliest) = self.timers.earliest() else { return timeout };
        let left = earliest.saturating_duration_since(Instant::now());
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn whole_milliseconds(timeout: Option<Duration>) -> EpollTimeout {
    let Some(timeout) = timeout else { return EpollTimeout::NONE };
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    EpollTimeout::try_from(i32::try_from(milliseconds).unwrap_or(i32::MAX))
        .unwrap_or(EpollTimeout::ZERO)
}

/// Wakes a [`Poller`] from any thread. Wake-ups before a wait are seen by it; several are one.
///
/// ```
/// use libipc::poller::{Poller, Token, Waker};
///
/// let mut poller = Poller::new()?;
/// let waker = Waker::new(&poller, Token(7))?;
/// let other = waker.clone();
/// std::thread::spawn(move || other.wake());
/// let mut ready = Vec::new();
/// while ready.is_empty() {
///     poller.wait(&mut ready, None)?;
/// }
/// assert_eq!(ready[0].token, Token(7));
/// waker.clear();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

/// How often a wake-up is tried.
const WAKE_TRIES: usize = 3;

impl Waker {
    /// A waker that `poller` sees as `token`.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn new(poller: &Poller, token: Token) -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        poller.add(&event, token, Interest::READ)?;
        Ok(Self(Arc::new(event)))
    }

    /// Wakes the poller.
    pub fn wake(&self) {
        // The counter is full only if it is already set: the wake-up is not lost. Whatever else
        // went wrong is tried again, for the other side might wait for this alone.
        let _full = (0..WAKE_TRIES).any(|_| self.0.write(1).is_ok());
    }

    /// Takes note of all wake-ups so far. To be called when the token is ready, before looking at
    /// what the wake-up was about.
    pub fn clear(&self) {
        // Nothing to read means that it was clear.
        let _clear = self.0.read().is_err();
    }
}
