//! Signals as something to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as Native};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A signal that a program may want to be told of.
///
/// ```
/// use libipc::poller::{Signal, Signals};
///
/// let mut signals = Signals::new(&[Signal::User1])?;
/// assert_eq!(signals.read(), None, "nobody has sent one");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP.
    HangUp,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminate,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGALRM.
    Alarm,
    /// SIGCHLD.
    Child,
    /// SIGWINCH.
    WindowChange,
}

impl Signal {
    const ALL: [(Self, Native); 9] = [
        (Self::HangUp, Native::SIGHUP),
        (Self::Interrupt, Native::SIGINT),
        (Self::Quit, Native::SIGQUIT),
        (Self::Terminate, Native::SIGTERM),
        (Self::User1, Native::SIGUSR1),
        (Self::User2, Native::SIGUSR2),
        (Self::Alarm, Native::SIGALRM),
        (Self::Child, Native::SIGCHLD),
        (Self::WindowChange, Native::SIGWINCH),
    ];

    fn of_number(number: u32) -> Option<Self> {
        let native = Native::try_from(i32::try_from(number).ok()?).ok()?;
        Self::ALL.iter().find(|(_, other)| *other == native).map(|(signal, _)| *signal)
    }
}

/// Signals of this process, to be read in a [`Poller`](super::Poller) instead of being handled
/// whenever they come.
///
/// They stay blocked after this is dropped. Threads that exist already do not block them and would
/// be ended by them: make this before any other thread. Programs that are started from here
/// inherit what is blocked.
///
/// ```
/// use libipc::poller::{Interest, Poller, Signal, Signals, Token};
///
/// let mut signals = Signals::new(&[Signal::Terminate])?;
/// let mut poller = Poller::new()?;
/// poller.add(&signals, Token(1), Interest::READ)?;
/// let (mut ready, now) = (Vec::new(), Some(std::time::Duration::ZERO));
/// poller.wait(&mut ready, now)?;
/// assert!(ready.is_empty() && signals.read().is_none(), "nobody has sent one");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks these signals for this thread and all that it starts, and opens the descriptor to
    /// read them from.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mut set = SigSet::empty();
        for (_, native) in Signal::ALL.iter().filter(|(signal, _)| signals.contains(signal)) {
            set.add(*native);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next signal that has come, if any; never waits. Several of a kind may be one.
    pub fn read(&mut self) -> Option<Signal> {
        loop {
            match self.0.read_signal() {
                Ok(Some(facts)) => return Signal::of_number(facts.ssi_signo),
                Err(nix::Error::EINTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poller::{Interest, Poller, Token};

    #[test]
    fn a_signal_is_told_in_a_poller_by_its_name() {
        let all = Signal::ALL.map(|(signal, _)| signal);
        let mut signals = Signals::new(&all).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&signals, Token(1), Interest::READ).unwrap();
        assert_eq!(signals.read(), None);
        let mut ready = Vec::new();
        for (signal, native) in Signal::ALL {
            // To this thread alone: the others of the test process do not block it.
            nix::sys::signal::raise(native).unwrap();
            poller.wait(&mut ready, None).unwrap();
            assert_eq!(ready[0].token, Token(1));
            assert_eq!(signals.read(), Some(signal));
        }
        assert_eq!(signals.read(), None);
    }
}
