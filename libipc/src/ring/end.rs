//! What both ends of a ring do: wait, wake, see that the other is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::ancillary::{self, ReceiveError, Wait};
use sys::socket::{SocketKind, is_stream, is_unix, unix_pair};

use super::RingError;
use super::layout::Layout;
use super::signal::Signal;
use super::spin::Spin;
use crate::patience::Patience;

/// How long a wait may last before it looks whether the other process still is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which of the two positions an end waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited {
    /// How far is written: the reader's.
    Written,
    /// How far is read: the writer's.
    Read,
}

/// One end of a ring.
#[derive(Debug)]
pub(super) struct End {
    pub(super) layout: Layout,
    /// The other end's end is seen here, and a byte says that a watched position moved.
    bell: OwnedFd,
    awaited: Awaited,
    spin: Spin,
    is_watching: bool,
    /// A child that got this value by `fork(2)` does not close its parent's ring.
    pub(super) owner: u32,
    is_handed_over: bool,
}

/// The writer's end and the reader's.
pub(super) fn pair(capacity: usize) -> Result<(End, End), RingError> {
    let (left, right) = unix_pair(SocketKind::Stream)?;
    let writer = Layout::new(capacity)?;
    let reader = Layout::open(writer.shm().as_fd().try_clone_to_owned()?)?;
    Ok((End::new(writer, left, Awaited::Read), End::new(reader, right, Awaited::Written)))
}

impl End {
    fn new(layout: Layout, bell: OwnedFd, awaited: Awaited) -> Self {
        Self {
            layout,
            bell,
            awaited,
            spin: Spin::default(),
            is_watching: false,
            owner: std::process::id(),
            is_handed_over: false,
        }
    }

    pub(super) fn open([memory, bell]: [OwnedFd; 2], awaited: Awaited) -> Result<Self, RingError> {
        // What is no socket at all answers with an error.
        let is = |kind: io::Result<bool>| kind.unwrap_or(false);
        if !is(is_unix(bell.as_fd())) || !is(is_stream(bell.as_fd())) {
            return Err(RingError::NotASocket);
        }
        Ok(Self::new(Layout::open(memory)?, bell, awaited))
    }

    /// The descriptors with which another process opens this end. Dropping it here then ends
    /// nothing.
    pub(super) fn give_away(&mut self) -> Result<[OwnedFd; 2], RingError> {
        let memory = self.layout.shm().as_fd().try_clone_to_owned()?;
        let bell = self.bell.try_clone()?;
        self.is_handed_over = true;
        Ok([memory, bell])
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn awaited(&self) -> Result<Signal<'_, AtomicU32>, RingError> {
        match self.awaited {
            Awaited::Written => self.layout.written(),
            Awaited::Read => self.layout.read(),
        }
    }

    /// Publishes this end's own position.
    pub(super) fn publish(&self, position: u32) -> Result<(), RingError> {
        let signal = match self.awaited {
            Awaited::Written => self.layout.read()?,
            Awaited::Read => self.layout.written()?,
        };
        if signal.publish(position) {
            // Full: bytes that tell the same are there already. Gone: the next wait sees it.
            let _full = ancillary::send(self.bell.as_fd(), b"!", &[], Wait::Never).is_err();
        }
        Ok(())
    }

    /// The awaited position's word.
    pub(super) fn look(&self) -> Result<u32, RingError> {
        Ok(self.awaited()?.load())
    }

    /// Waits until the awaited word is no longer `seen`, and answers it.
    pub(super) fn wait(&mut self, seen: u32, patience: Patience) -> Result<u32, RingError> {
        if patience != Patience::Never
            && let Some(word) = self.spin(seen)?
        {
            return Ok(word);
        }
        loop {
            let limit = match patience {
                Patience::Forever => LOOK_EVERY,
                Patience::Until(end) => {
                    LOOK_EVERY.min(end.saturating_duration_since(Instant::now()))
                }
                Patience::Never => Duration::ZERO,
            };
            if limit.is_zero() {
                return Err(RingError::TimedOut);
            }
            self.awaited()?.wait(seen, limit)?;
            let word = self.look()?;
            if word != seen {
                return Ok(word);
            }
            if self.is_peer_gone()? {
                return self.last_look(seen);
            }
        }
    }

    /// Looks for a while whether the awaited word is no longer `seen`.
    fn spin(&mut self, seen: u32) -> Result<Option<u32>, RingError> {
        let turns = self.spin.turns();
        for _ in 0..turns {
            std::hint::spin_loop();
            let word = self.look()?;
            if word != seen {
                self.spin.learn(true);
                return Ok(Some(word));
            }
        }
        if turns > 0 {
            self.spin.learn(false);
        }
        Ok(None)
    }

    /// What the other process did before it ended counts.
    fn last_look(&self, seen: u32) -> Result<u32, RingError> {
        match self.look()? {
            word if word == seen => Err(RingError::PeerGone),
            word => Ok(word),
        }
    }

    fn is_peer_gone(&self) -> Result<bool, RingError> {
        // A hang-up is told without being asked for.
        let mut bell = [PollFd::new(self.bell.as_fd(), PollFlags::empty())];
        match poll(&mut bell, PollTimeout::ZERO) {
            Ok(count) => Ok(count > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Has the bell ring when the awaited word is no longer `seen`. `None`: from now on it does;
    /// otherwise the word, which is another one already.
    pub(super) fn watch(&mut self, seen: u32) -> Result<Option<u32>, RingError> {
        if self.awaited()?.watch(seen) {
            self.is_watching = true;
            return Ok(None);
        }
        Ok(Some(self.look()?))
    }

    /// Takes a watch back, and the rings that it brought. To be called before looking.
    /// Whether the other end's process is gone.
    pub(super) fn unwatch(&mut self) -> Result<bool, RingError> {
        if !self.is_watching {
            return Ok(false);
        }
        self.awaited()?.unwatch();
        self.is_watching = false;
        let mut rings = [0; 64];
        // What is left after that is taken the next time: nobody can keep us here by ringing.
        match ancillary::receive(self.bell.as_fd(), &mut rings, 0, Wait::Never) {
            Ok(received) => Ok(received.bytes == 0),
            Err(ReceiveError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(false)
            }
            Err(ReceiveError::System(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Ok(true)
            }
            Err(ReceiveError::System(error)) => Err(error.into()),
            Err(ReceiveError::TooManyDescriptors { .. }) => Err(RingError::Damaged),
        }
    }

    /// Whether dropping it ends the ring.
    pub(super) fn ends_with_us(&self) -> bool {
        !self.is_handed_over && self.owner == std::process::id()
    }
}
