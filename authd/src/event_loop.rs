//! The loop: clients that come, signals, and the service manager.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::due::Due;
use daemon::notify::Notifier;
use daemon::signals::{Signal, Signals};
use libipc::Listener;
use libipc::poller::{Interest, Poller, Token};

use crate::passwords::file;
use crate::server::{self, Office};
use crate::verifier::Users;

/// How long accepting rests when the machine is out of descriptors, memory or threads, or the name
/// is somebody else's.
const REST: Duration = Duration::from_millis(100);

/// Clients accepted before signals are looked at.
const ACCEPT_BATCH: usize = 64;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);

/// What the service manager shows.
pub(crate) const STATUS: &str = "Verifying logins";

/// The parts that the loop moves.
pub(crate) struct EventLoop {
    poller: Poller,
    listener: Listener,
    signals: Signals,
    office: Arc<Office>,
    passwords: PathBuf,
    /// Accepting rests until then.
    resume: Option<Instant>,
}

impl EventLoop {
    /// Puts the parts together. `passwords` is read again on reload.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub(crate) fn new(
        listener: Listener,
        signals: Signals,
        office: Arc<Office>,
        passwords: PathBuf,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::READ)?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        Ok(Self { poller, listener, signals, office, passwords, resume: None })
    }

    /// Serves until told to stop. Who waits for an answer then sees the end, and asks again.
    ///
    /// # Errors
    ///
    /// The kernel's, if it can no longer be waited for.
    pub(crate) fn run(&mut self, notifier: &mut Notifier) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut due = Due::default();
        loop {
            let next = self.resume.into_iter().chain(notifier.next_beat()).min();
            let timeout = next.map(|when| when.saturating_duration_since(Instant::now()));
            self.poller.wait(&mut ready, timeout)?;
            due.note(timeout, !ready.is_empty());
            let now = Instant::now();
            for one in &ready {
                match one.token {
                    LISTENER => self.accept(now)?,
                    _ => {
                        if self.take_signals(notifier) {
                            return Ok(());
                        }
                    }
                }
            }
            if self.resume.is_some_and(|when| when <= now) {
                self.resume = None;
                self.poller.change(&self.listener, LISTENER, Interest::READ)?;
            }
            notifier.beat(now);
        }
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..ACCEPT_BATCH {
            let started = match self.listener.try_accept() {
                Ok(Some(stream)) => server::start(&self.office, stream),
                Ok(None) => return Ok(()),
                // Another process of ours has taken the name over: this one is of no use any more.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => Err(error),
            };
            if let Err(error) = started {
                tracing::warn!(event = "client-refused", %error);
                self.poller.change(&self.listener, LISTENER, Interest::NONE)?;
                self.resume = Some(now + REST);
                return Ok(());
            }
        }
        Ok(())
    }

    /// True if it is to end.
    fn take_signals(&mut self, notifier: &Notifier) -> bool {
        while let Some(signal) = self.signals.read() {
            match signal {
                Signal::Stop => return true,
                // Nothing that it does outlasts a moment.
                Signal::Finish | Signal::ChildEnded => {}
                Signal::Reload => {
                    notifier.reloading();
                    self.reload();
                    notifier.ready(STATUS);
                }
            }
        }
        false
    }

    /// Reads the users again. What is wrong with the file leaves the ones of before.
    fn reload(&self) {
        let users = match file::load(&self.passwords) {
            Ok(passwords) => Users::new(passwords).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match users {
            Ok(users) => {
                tracing::info!(event = "reloaded", users = users.passwords.len());
                self.office.verifier.replace(users);
            }
            Err(why) => tracing::error!(event = "not-reloaded", ?why, "the users of before stay"),
        }
    }
}
