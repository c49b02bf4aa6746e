//! Readiness of many descriptors, level-triggered.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The caller's name for a descriptor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(pub u64);

/// What to be told about. A hang-up is always told.
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

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Whose.
    pub token: Token,
    /// There is something to read, or the end.
    pub readable: bool,
    /// There is room to write, or writing fails at once.
    pub writable: bool,
    /// Both directions are over.
    pub hangup: bool,
}

/// Descriptors that one wait returns at most.
const BATCH: usize = 256;

/// Waits for many descriptors at once.
///
/// The kernel watches open file descriptions: remove a descriptor before it is passed on or
/// closed while a copy lives elsewhere, or it goes on being told.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poller {
    /// An empty poller.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors or memory left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); BATCH] })
    }

    /// Watches `source` under `token`.
    ///
    /// # Errors
    ///
    /// The kernel's; `EEXIST` if it is watched already.
    pub fn add(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(source, EpollEvent::new(interest.flags(), token.0))?)
    }

    /// Watches `source` for something else.
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

    /// Waits until something is ready, `timeout` is over (`None`: never), or a signal came; then
    /// fills `ready` anew, which may stay empty. Time is rounded up to whole milliseconds.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let count = match self.epoll.wait(&mut self.events, whole_milliseconds(timeout)) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.extend(self.events.iter().take(count).map(|event| {
            let flags = event.events();
            let over = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: Token(event.data()),
                readable: over || flags.contains(EpollFlags::EPOLLIN),
                writable: over || flags.contains(EpollFlags::EPOLLOUT),
                hangup: over,
            }
        }));
        Ok(())
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
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

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
        // The counter is full only if it is already set: the wake-up is not lost.
        let _full = self.0.write(1).is_err();
    }

    /// Takes note of all wake-ups so far. To be called when the token is ready, before looking at
    /// what the wake-up was about.
    pub fn clear(&self) {
        // Nothing to read means that it was clear.
        let _clear = self.0.read().is_err();
    }
}

#[cfg(test)]
mod tests {
    use sys::socket::{SocketKind, unix_pair};

    use super::*;

    #[test]
    fn what_is_ready_is_told_until_it_is_handled() {
        let mut poller = Poller::new().unwrap();
        let (left, right) = unix_pair(SocketKind::Stream).unwrap();
        poller.add(&right, Token(7), Interest::READ).unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
        sys::ancillary::send(left.as_fd(), b"x", &[], sys::ancillary::Wait::Never).unwrap();
        for _ in 0..2 {
            poller.wait(&mut ready, None).unwrap();
            assert_eq!(
                (ready[0].token, ready[0].readable, ready[0].hangup),
                (Token(7), true, false)
            );
        }
        poller.change(&right, Token(8), Interest::WRITE).unwrap();
        drop(left);
        poller.wait(&mut ready, None).unwrap();
        assert_eq!((ready[0].token, ready[0].writable, ready[0].hangup), (Token(8), true, true));
        poller.remove(&right).unwrap();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
    }

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new(&poller, Token(1)).unwrap();
        let from_elsewhere = waker.clone();
        std::thread::spawn(move || from_elsewhere.wake()).join().unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready[0].token, Token(1));
        waker.clear();
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked_for() {
        assert_eq!(whole_milliseconds(Some(Duration::from_micros(1))), EpollTimeout::from(1_u8));
        assert_eq!(whole_milliseconds(Some(Duration::ZERO)), EpollTimeout::ZERO);
        assert_eq!(whole_milliseconds(None), EpollTimeout::NONE);
    }
}
