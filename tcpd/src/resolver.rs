//! Names to addresses, by the host's own resolver, on a few threads of their own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use libipc::poller::{Token, Waker};

/// Threads; `getaddrinfo` blocks, and one slow server must not hold everybody up.
const THREADS: usize = 8;

/// Questions that wait for a thread at most.
pub(crate) const LOOKUPS_MOST: usize = 1024;

/// A question.
#[derive(Debug)]
pub(crate) struct Question {
    /// What it is known by.
    pub(crate) lookup: Token,
    /// Who asks.
    pub(crate) caller: Token,
    /// The name.
    pub(crate) host: String,
    /// The port, for the answer.
    pub(crate) port: u16,
    /// When nobody waits for the answer any more.
    pub(crate) deadline: Instant,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What the question is known by.
    pub(crate) lookup: Token,
    /// Who asked.
    pub(crate) caller: Token,
    /// What was found.
    pub(crate) found: io::Result<Vec<SocketAddr>>,
}

/// The threads.
#[derive(Debug)]
pub(crate) struct Resolver {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

/// More than [`LOOKUPS_MOST`] questions wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookupsFull;

impl Resolver {
    /// Starts the threads; answers are told by `waker`.
    ///
    /// # Errors
    ///
    /// The kernel's: no threads left.
    pub(crate) fn start(waker: &Waker) -> io::Result<Self> {
        let (resolver, receiver, sender) = Self::without_threads();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let (receiver, sender, waker) = (Arc::clone(&receiver), sender.clone(), waker.clone());
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || answer_questions(&receiver, &sender, &waker))?;
        }
        Ok(resolver)
    }

    /// With where questions come out, and answers go in.
    fn without_threads() -> (Self, Receiver<Question>, Sender<Answer>) {
        let (questions, receiver) = sync_channel(LOOKUPS_MOST);
        let (sender, answers) = channel();
        (Self { questions, answers }, receiver, sender)
    }

    /// Asks for the addresses of a name.
    pub(crate) fn ask(&self, question: Question) -> Result<(), LookupsFull> {
        match self.questions.try_send(question) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(LookupsFull),
        }
    }

    /// The next answer, if one is there.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn answer_questions(
    questions: &Mutex<Receiver<Question>>,
    answers: &Sender<Answer>,
    waker: &Waker,
) {
    loop {
        // The lock is held while waiting, by one idle thread at a time; never while resolving.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { lookup, caller, host, port, deadline }) = next else { return };
        if deadline <= Instant::now() {
            // Whoever asked has given up: a slow server is not to hold up those who have not.
            continue;
        }
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        if answers.send(Answer { lookup, caller, found }).is_err() {
            return;
        }
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_names_wait_to_be_resolved_as_the_limit_and_no_more() {
        let (resolver, waiting, _answers) = Resolver::without_threads();
        let ask = || {
            let (lookup, host) = (Token(1), "example.com".to_owned());
            let (caller, deadline) = (Token(2), Instant::now());
            resolver.ask(Question { lookup, caller, host, port: 80, deadline })
        };
        assert!((0..1_024).all(|_| ask().is_ok()));
        assert!(ask().is_err());
        waiting.recv().unwrap();
        assert!(ask().is_ok(), "there is room again");
        assert!(ask().is_err());
    }
}
