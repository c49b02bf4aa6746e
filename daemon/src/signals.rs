//! Signals as something to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as Native};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// End cleanly: SIGTERM, SIGINT.
    Stop,
    /// Read the configuration again: SIGHUP.
    Reload,
    /// Begin nothing new, and end with the last of what goes on: SIGUSR1.
    Finish,
    /// Nothing: one child or several have ended, SIGCHLD.
    ChildEnded,
}

/// The signals of this process, blocked everywhere and readable here.
///
/// To be made before any other thread is started, so that all of them block the same. Children
/// inherit what is blocked; those that do not read their signals need `sys::child`.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals and opens the descriptor to read them from.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Native::SIGTERM);
        set.add(Native::SIGINT);
        set.add(Native::SIGHUP);
        set.add(Native::SIGUSR1);
        set.add(Native::SIGCHLD);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next signal that has come, if any. Never waits.
    pub fn read(&mut self) -> Option<Signal> {
        let number = self.0.read_signal().ok().flatten()?.ssi_signo;
        let number = i32::try_from(number).ok()?;
        Some(match Native::try_from(number).ok()? {
            Native::SIGHUP => Signal::Reload,
            Native::SIGUSR1 => Signal::Finish,
            Native::SIGCHLD => Signal::ChildEnded,
            _ => Signal::Stop,
        })
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

    #[test]
    fn signals_are_read_one_by_one() {
        let mut signals = Signals::new().unwrap();
        assert_eq!(signals.read(), None);
        // To this thread alone: the others of the test process do not block them.
        nix::sys::signal::raise(Native::SIGHUP).unwrap();
        assert_eq!(signals.read(), Some(Signal::Reload));
        nix::sys::signal::raise(Native::SIGTERM).unwrap();
        assert_eq!(signals.read(), Some(Signal::Stop));
        assert_eq!(signals.read(), None);
    }
}
