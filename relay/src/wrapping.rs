//! The loop of a daemon that wraps connections which it is given: callers, and peers that come to
//! sockets it inherited.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use daemon::due::Due;
use daemon::generations::LEFT;
use daemon::notify::Notifier;
use daemon::signals::{Signal, Signals};
use libipc::interface::transport::{GENERATION, Serve, Told, TransportError, Wrap};
use libipc::name::ServiceName;
use libipc::poller::{Interest, Poller, Token, Waker};
use libipc::varlink;
use sys::inherited::Inherited;

use crate::callers::Callers;
use crate::codec::Codec;
use crate::server::Server;
use crate::turned_away::TurnedAway;
use crate::workers::Workers;

use self::links::Known;

mod attach;
mod callers;
mod links;
mod peers;
#[cfg(test)]
mod tests;

/// Makes one end of an encapsulation, on the thread that it will live on.
pub type Make<C> = Box<dyn FnOnce() -> Result<C, TransportError> + Send>;

/// What makes one daemon that wraps different from another.
pub trait Wrapping {
    /// Its encapsulation.
    type Codec: Codec;

    /// What makes the client end of a connection, which takes time and is done on another thread.
    /// The hello may be completed with what only this daemon has.
    ///
    /// # Errors
    ///
    /// [`TransportError`]: what is wanted cannot be had.
    fn wrap(&mut self, wanted: &mut Wrap) -> Result<Make<Self::Codec>, TransportError>;

    /// What makes the server end of a connection that came to a listener; and the service that is
    /// offered there to plain clients, if peers are not to say what they want.
    ///
    /// # Errors
    ///
    /// [`TransportError`]: there is no such listener.
    fn serve(
        &mut self,
        wanted: &Serve,
    ) -> Result<(Make<Self::Codec>, Option<ServiceName>), TransportError>;

    /// The scheme by which peers come that connect to a socket of ours.
    fn scheme(&self) -> &'static str;

    /// Reads the configuration again, and reports about that in the log.
    fn reload(&mut self);

    /// How long connections may go on after the daemon was told to stop.
    fn drain_time(&self) -> Duration;
}

/// A socket on which peers come to us directly.
#[derive(Debug)]
struct ListenerSocket {
    name: String,
    socket: OwnedFd,
}

/// The parts that the loop moves.
pub struct EventLoop<W: Wrapping> {
    wrapping: W,
    poller: Poller,
    signals: Signals,
    /// Nothing once the daemon is ending.
    server: Option<Server>,
    listeners: Vec<ListenerSocket>,
    waker: Waker,
    workers: Workers<W::Codec>,
    callers: Callers,
    known: HashMap<u64, Known>,
    /// Links that are attached, and to whom they lead.
    relaying: HashMap<u64, Box<str>>,
    /// Who is told of peers: the newest who asked.
    told: Option<Token>,
    turned_away: TurnedAway,
    resume: Option<Instant>,
    /// When connections that are left are cut.
    cut: Option<Instant>,
    /// Which generation of the daemon this is, and whether another one has its place.
    generation: u64,
    stage: Stage,
    last_token: u64,
    /// Links are counted by themselves, so that each thread has its share of them.
    last_link: u64,
}

const SERVER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKER: Token = Token(2);
const FIRST_LISTENER: u64 = 3;

/// How long accepting rests when the machine is out of descriptors or memory.
const REST: Duration = Duration::from_millis(50);

/// Connections accepted before others are served again.
const ACCEPT_BATCH: usize = 64;

/// Where a generation is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// The one before has the place still.
    Waiting,
    /// The broker has not asked for peers yet: they wait in their sockets.
    Beginning,
    Serving,
    Leaving {
        until: Instant,
    },
    Finishing,
}

/// What the service manager shows of a daemon that serves.
pub const STATUS: &str = "Working on the connections that the broker passes";

/// How long a generation that leaves its place waits for the broker's word about peers.
const LEAVING: Duration = Duration::from_secs(1);

/// Whether the loop goes on.
#[derive(Eq, PartialEq)]
enum Life {
    GoesOn,
    IsOver,
}

impl<W: Wrapping> EventLoop<W> {
    /// Puts the parts together, and starts a thread per processor. Of what was `inherited`, what
    /// is no listening socket is closed with a warning.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors or threads left.
    pub fn new(
        wrapping: W,
        server: Server,
        inherited: Vec<Inherited>,
        signals: Signals,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&server, SERVER, Interest::READ)?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        let waker = Waker::new(&poller, WAKER)?;
        let listeners = usable(inherited);
        for (token, listener) in (FIRST_LISTENER..).map(Token).zip(&listeners) {
            poller.add(&listener.socket, token, Interest::READ)?;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let last_token = FIRST_LISTENER + u64::try_from(listeners.len()).unwrap_or(0);
        Ok(Self {
            wrapping,
            poller,
            signals,
            server: Some(server),
            listeners,
            workers: Workers::start(threads, &waker)?,
            waker,
            callers: Callers::default(),
            known: HashMap::new(),
            relaying: HashMap::new(),
            told: None,
            turned_away: TurnedAway::new(Instant::now()),
            resume: None,
            cut: None,
            generation: 0,
            stage: Stage::Serving,
            last_token,
            last_link: 0,
        })
    }

    /// As a generation of its daemon: its numbers are no other one's, and it accepts nobody before it
    /// is told to.
    #[must_use]
    pub fn of_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self.last_link = generation * GENERATION;
        self.stage = Stage::Waiting;
        self.watch_listeners(Interest::NONE);
        self
    }

    /// Serves until told to stop, then until the last connection has ended or is cut.
    ///
    /// # Errors
    ///
    /// The kernel's, if it can no longer be waited for.
    pub fn run(&mut self, notifier: &mut Notifier) -> io::Result<()> {
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
                        if self.take_signals(notifier, now) == Life::IsOver {
                            return Ok(());
                        }
                    }
                    WAKER => {
                        self.waker.clear();
                        self.take_reports();
                    }
                    token if self.callers.has(token) => self.serve_caller(token, now),
                    token => self.accept_peers(token, now),
                }
            }
            if self.stage == Stage::Beginning && self.told.is_some() {
                self.stage = Stage::Serving;
                self.watch_listeners(Interest::READ);
            }
            self.leave_if_due(now);
            if self.is_over(now) {
                return Ok(());
            }
            if self.resume.is_some_and(|when| when <= now) {
                self.resume = None;
                self.watch_listeners(Interest::READ);
            }
            notifier.beat(now);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let live = self.workers.live();
        let is_cut = self.cut.is_some_and(|when| when <= now);
        if is_cut && live > 0 {
            tracing::warn!(event = "cut", connections = live);
        }
        let asks_nobody = self.callers.len() == usize::from(self.told.is_some());
        let is_finished = self.stage == Stage::Finishing && asks_nobody && self.known.is_empty();
        is_cut || (live == 0 && (self.cut.is_some() || is_finished))
    }

    fn timeout(&self, notifier: &Notifier, now: Instant) -> Option<Duration> {
        let leaves = match self.stage {
            Stage::Leaving { until } => Some(until),
            _ => None,
        };
        let all = self.resume.into_iter().chain(self.cut).chain(leaves);
        let first = all.chain(notifier.next_beat()).min();
        first.map(|when| when.saturating_duration_since(now))
    }

    fn take_signals(&mut self, notifier: &mut Notifier, now: Instant) -> Life {
        while let Some(signal) = self.signals.read() {
            match signal {
                // Who asks twice does not want to wait.
                Signal::Stop if self.cut.is_some() || self.stage == Stage::Finishing => {
                    self.cut = Some(now);
                    self.is_over(now);
                    return Life::IsOver;
                }
                Signal::Finish if self.stage == Stage::Waiting => {
                    self.stage = Stage::Beginning;
                    self.watch_server(Interest::READ);
                }
                Signal::Finish => self.begin_to_leave(notifier, now),
                Signal::Stop => self.drain(notifier, now),
                Signal::ChildEnded => {}
                Signal::Reload => {
                    notifier.reloading();
                    self.wrapping.reload();
                    notifier.ready(STATUS);
                }
            }
        }
        Life::GoesOn
    }

    /// Another generation waits for the place. First the broker says what becomes of peers that it
    /// was told of: it could say so to nobody else.
    fn begin_to_leave(&mut self, notifier: &mut Notifier, now: Instant) {
        if matches!(self.stage, Stage::Serving | Stage::Beginning) {
            notifier.retire();
            self.listeners.clear();
            self.stage = Stage::Leaving { until: now + LEAVING };
        }
    }

    /// Another generation has the place: what was begun goes on to its end, however long that takes.
    fn leave_if_due(&mut self, now: Instant) {
        let Stage::Leaving { until } = self.stage else { return };
        let is_asked = self.known.values().any(Known::is_of_peer);
        if is_asked && now < until {
            return;
        }
        tracing::info!(event = "generation-finishes", connections = self.workers.live());
        self.stage = Stage::Finishing;
        self.server = None;
        if let Some(told) = self.told {
            let finishing = Told::Finishing { finishing: self.generation };
            self.answer(told, varlink::reply(&finishing, true), None);
        }
        // Nobody waits for it who is gone.
        let _gone = io::stdout().write_all(LEFT).is_err();
    }

    /// Nothing new is begun, and another of our kind may take the place; what relays goes on.
    fn drain(&mut self, notifier: &Notifier, now: Instant) {
        notifier.stopping();
        tracing::info!(event = "draining", connections = self.workers.live());
        self.watch_listeners(Interest::NONE);
        self.server = None;
        self.listeners.clear();
        for token in self.callers.tokens() {
            self.forget_caller(token);
        }
        for id in std::mem::take(&mut self.known).into_keys() {
            self.workers.drop_link(id);
        }
        self.workers.drain();
        self.cut = Some(now + self.wrapping.drain_time());
    }

    /// The machine is out of descriptors or memory: accepting rests.
    fn rest(&mut self, now: Instant) {
        self.watch_listeners(Interest::NONE);
        self.resume = Some(now + REST);
    }

    fn watch_server(&self, interest: Interest) {
        if let Some(server) = &self.server {
            // It is watched, so changing that cannot fail.
            let _watched = self.poller.change(server, SERVER, interest).is_ok();
        }
    }

    fn watch_listeners(&self, interest: Interest) {
        self.watch_server(interest);
        for (token, listener) in (FIRST_LISTENER..).map(Token).zip(&self.listeners) {
            // They are watched too.
            let _watched = self.poller.change(&listener.socket, token, interest).is_ok();
        }
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn next_link(&mut self) -> u64 {
        self.last_link += 1;
        self.last_link
    }
}

/// Where a peer comes from that is no TCP connection: from this host.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn usable(inherited: Vec<Inherited>) -> Vec<ListenerSocket> {
    let is_ours = |one: &Inherited| {
        sys::socket::is_listening(one.descriptor.as_fd()).unwrap_or(false)
            && sys::socket::set_blocking(one.descriptor.as_fd(), false).is_ok()
    };
    let (ours, others): (Vec<_>, Vec<_>) = inherited.into_iter().partition(is_ours);
    for Inherited { name, .. } in others {
        tracing::warn!(event = "not-a-listener", ?name);
    }
    ours.into_iter()
        .map(|Inherited { name, descriptor }| ListenerSocket { name, socket: descriptor })
        .collect()
}
