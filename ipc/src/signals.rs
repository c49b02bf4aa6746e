//! Signals as something to wait for beside clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as Native};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// End: SIGTERM, SIGINT, SIGHUP.
    Stop,
    /// A program has ended.
    Ended,
}

/// The signals of this process, blocked and readable here.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Native::SIGTERM, Native::SIGINT, Native::SIGHUP, Native::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that has come, if any. Never waits.
    pub(crate) fn read(&mut self) -> Option<Signal> {
        let number = self.0.read_signal().ok().flatten()?.ssi_signo;
        let is_child = i32::try_from(number).is_ok_and(|number| number == Native::SIGCHLD as i32);
        Some(if is_child { Signal::Ended } else { Signal::Stop })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
