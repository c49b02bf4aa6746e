//! Names to addresses, by the host's own resolver, on a few threads of their own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use libipc::poller::{Token, Waker};

/// Threads; `getaddrinfo` blocks, and one slow server must not hold everybody up.
const THREADS: usize = 8;

/// Questions that wait for a thread at most.
pub(crate) const LOOKUPS_MOST: usize = 1024;

/// A question.
#[derive(Debug)]
struct Question {
    job: Token,
    host: String,
    port: u16,
}

/// An answer: the job that asked, and what was found.
pub(crate) type Answer = (Token, io::Result<Vec<SocketAddr>>);

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
        let (questions, receiver) = sync_channel(LOOKUPS_MOST);
        let (sender, answers) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let (receiver, sender, waker) = (Arc::clone(&receiver), sender.clone(), waker.clone());
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || answer_questions(&receiver, &sender, &waker))?;
        }
        Ok(Self { questions, answers })
    }

    /// Asks for the addresses of `host`.
    pub(crate) fn ask(&self, job: Token, host: &str, port: u16) -> Result<(), LookupsFull> {
        let question = Question { job, host: host.to_owned(), port };
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
        let Ok(Question { job, host, port }) = next else { return };
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        if answers.send((job, found)).is_err() {
            return;
        }
        waker.wake();
    }
}
