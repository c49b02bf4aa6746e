//! The loop of `tcpd`: callers, connections that are being made, and peers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use daemon::due::Due;
use daemon::notify::Notifier;
use daemon::signals::{Signal, Signals};
use libipc::interface::transport::{Arrival, Empty, TransportError};
use libipc::poller::{Interest, Poller, Ready, Token, Waker};
use libipc::varlink::{self, Bytes};
use relay::callers::Callers;
use relay::pump::Pumps;
use relay::server::{Heard, Request, Server};

use self::attach::Kept;
use crate::dialling::Dialling;
use crate::listeners::Listeners;
use crate::peer::Peer;
use crate::resolver::Resolver;

mod attach;
mod outward;
mod peers;
#[cfg(test)]
mod tests;

/// The parts that the loop moves.
pub(crate) struct EventLoop {
    poller: Poller,
    signals: Signals,
    server: Server,
    listeners: Listeners,
    waker: Waker,
    resolver: Resolver,
    pumps: Pumps,
    callers: Callers,
    /// What is being done for callers.
    dials: HashMap<Token, Dialling>,
    /// Attempts by their token, with the caller that they are made for.
    attempts: HashMap<Token, Token>,
    peers: HashMap<Token, Peer>,
    /// Connections that wait for their second step.
    kept: HashMap<Token, Kept>,
    /// Connections whose bytes are moved here, by the number under which they were agreed.
    relayed: HashSet<u64>,
    /// Who is told of peers: the newest who asked.
    told: Option<Token>,
    /// Peers that came while no broker listened, and what it is to be told of them.
    untold: BTreeMap<Token, Arrival>,
    timers: BTreeSet<(Instant, Token)>,
    resume: Option<Instant>,
    last_token: u64,
}

const SERVER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKER: Token = Token(2);
const FIRST_LISTENER: u64 = 3;

/// How long accepting rests when the machine is out of descriptors or memory.
const REST: Duration = Duration::from_millis(50);

/// Connections accepted before others are served again.
const ACCEPT_BATCH: usize = 64;

impl EventLoop {
    /// Puts the parts together, and starts the threads.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors or threads left.
    pub(crate) fn new(server: Server, listeners: Listeners, signals: Signals) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&server, SERVER, Interest::READ)?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        let waker = Waker::new(&poller, WAKER)?;
        for (token, listener) in (FIRST_LISTENER..).map(Token).zip(&listeners.0) {
            poller.add(&listener.socket, token, Interest::READ)?;
        }
        let first_free = FIRST_LISTENER + u64::try_from(listeners.0.len()).unwrap_or(0);
        Ok(Self {
            poller,
            signals,
            server,
            resolver: Resolver::start(&waker)?,
            pumps: Pumps::start(&waker)?,
            waker,
            listeners,
            callers: Callers::default(),
            dials: HashMap::new(),
            attempts: HashMap::new(),
            peers: HashMap::new(),
            kept: HashMap::new(),
            relayed: HashSet::new(),
            told: None,
            untold: BTreeMap::new(),
            timers: BTreeSet::new(),
            resume: None,
            last_token: first_free,
        })
    }

    /// Serves until told to stop; the service manager sees that it turns.
    ///
    /// # Errors
    ///
    /// The kernel's, if it can no longer be waited for.
    pub(crate) fn run(&mut self, notifier: &mut Notifier) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut due = Due::default();
        loop {
            let timeout = self.timeout(notifier, Instant::now());
            self.poller.wait(&mut ready, timeout)?;
            due.note(timeout, !ready.is_empty());
            let now = Instant::now();
            for one in &ready {
                match one.token {
                    SERVER => self.accept_callers(now),
                    SIGNALS => {
                        if self.is_stopped() {
                            return Ok(());
                        }
                    }
                    WAKER => {
                        self.waker.clear();
                        self.take_answers(now);
                        self.tell_ends();
                    }
                    _ => self.serve(*one, now),
                }
            }
            self.keep_time(now);
            notifier.beat(now);
        }
    }

    fn timeout(&self, notifier: &Notifier, now: Instant) -> Option<Duration> {
        let next = self.timers.first().map(|(when, _)| *when);
        let first = next.into_iter().chain(self.resume).chain(notifier.next_beat()).min();
        first.map(|when| when.saturating_duration_since(now))
    }

    fn is_stopped(&mut self) -> bool {
        while let Some(signal) = self.signals.read() {
            match signal {
                Signal::Stop => return true,
                // Nothing of this daemon is configured by a file.
                Signal::Reload | Signal::Finish | Signal::ChildEnded => {}
            }
        }
        false
    }

    fn keep_time(&mut self, now: Instant) {
        while let Some((when, token)) = self.timers.first().copied() {
            if when > now {
                break;
            }
            self.timers.remove(&(when, token));
            if self.peers.contains_key(&token) {
                self.peer_is_late(token, now);
            } else if self.forget_kept(token).is_none() {
                self.go_on(token, now);
            }
        }
        if self.resume.is_some_and(|when| when <= now) {
            self.resume = None;
            self.watch_listeners(Interest::READ);
        }
    }

    fn serve(&mut self, ready: Ready, now: Instant) {
        let token = ready.token;
        if self.callers.has(token) {
            self.serve_caller(token, now);
        } else if let Some(caller) = self.attempts.get(&token).copied() {
            self.serve_attempt(caller, token, now);
        } else if self.peers.contains_key(&token) {
            self.serve_peer(token, now);
        } else {
            self.accept_peers(token, now);
        }
    }

    fn accept_callers(&mut self, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if self.callers.are_full() {
                return self.watch_server(Interest::NONE);
            }
            match self.server.accept() {
                Ok(Some(caller)) => {
                    let token = self.next_token();
                    // One that cannot be watched sees the end.
                    let _is_watched = self.callers.add(&self.poller, token, caller);
                }
                Ok(None) => return,
                Err(_) => return self.rest(now),
            }
        }
    }

    /// The machine is out of descriptors or memory: accepting rests.
    fn rest(&mut self, now: Instant) {
        self.watch_listeners(Interest::NONE);
        self.resume = Some(now + REST);
    }

    fn watch_server(&self, interest: Interest) {
        // It is watched, so changing that cannot fail.
        let _watched = self.poller.change(&self.server, SERVER, interest).is_ok();
    }

    fn watch_listeners(&self, interest: Interest) {
        self.watch_server(interest);
        for (token, listener) in (FIRST_LISTENER..).map(Token).zip(&self.listeners.0) {
            // They are watched too.
            let _watched = self.poller.change(&listener.socket, token, interest).is_ok();
        }
    }

    fn serve_caller(&mut self, token: Token, now: Instant) {
        if self.callers.flush(&self.poller, token).is_err() {
            return self.forget_caller(token);
        }
        loop {
            match self.callers.read(token) {
                Heard::Nothing => return,
                Heard::Over => return self.forget_caller(token),
                Heard::Request(_) if self.dials.contains_key(&token) => {
                    // One call at a time: who sends another does not keep to the contract.
                    return self.forget_caller(token);
                }
                Heard::Request(request) => self.carry_out(token, request, now),
            }
        }
    }

    fn carry_out(&mut self, token: Token, request: Request, now: Instant) {
        match request {
            Request::Wrap(..) | Request::Serve(..) => {
                self.answer(token, request.unserved(), None);
            }
            Request::Dial(wanted) => self.dial(token, *wanted, now),
            Request::Listen => {
                self.told = Some(token);
                self.tell_the_untold(now);
            }
            Request::Attach(agreed, descriptor) => self.attach(token, agreed, descriptor, now),
            Request::Refuse(refuse) => {
                let known = self.refuse_peer(Token(refuse.id), refuse.retry, now);
                self.answer_about(token, refuse.id, known);
            }
            Request::Close { agreed, oneway } => {
                let agreed_token = Token(agreed.id);
                let known = self.forget_kept(agreed_token).is_some()
                    || self.forget_peer(agreed_token).is_some()
                    || self.end_relay(agreed.id);
                if !oneway {
                    self.answer_about(token, agreed.id, known);
                }
            }
        }
    }

    fn answer_about(&mut self, token: Token, id: u64, known: bool) {
        if known {
            self.answer(token, varlink::reply(&Empty {}, false), None);
        } else {
            self.fail(token, &TransportError::UnknownId { id });
        }
    }

    fn answer(&mut self, token: Token, message: Bytes, descriptor: Option<OwnedFd>) {
        if self.callers.answer(&self.poller, token, message, descriptor).is_err() {
            self.forget_caller(token);
        }
    }

    fn fail(&mut self, token: Token, error: &TransportError) {
        self.answer(token, varlink::error(error), None);
    }

    /// A caller is gone: what was being done for it is given up.
    fn forget_caller(&mut self, token: Token) {
        self.end_dialling(token);
        self.forget_kept_of(token);
        if self.callers.remove(&self.poller, token) && self.resume.is_none() {
            self.watch_server(Interest::READ);
        }
        if self.told == Some(token) {
            self.told = None;
        }
    }

    fn unwatch(&self, socket: BorrowedFd<'_>) {
        // It is watched; and if not, all is as it should be.
        let _unwatched = self.poller.remove(socket).is_ok();
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }
}
