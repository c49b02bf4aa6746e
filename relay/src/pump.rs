//! Bytes between two sockets until both directions have ended.
//!
//! Half-close, resets and back-pressure pass through as they came. The bytes go by splice, through
//! a pipe that is borrowed only while bytes are in it; so an idle relay costs two descriptors and
//! no buffer, and a slow reader slows its writer and nobody else.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use libipc::poller::{Poller, Ready, Token, Waker};

use self::flow::Pipes;
use self::relay::{Fate, Relay, relay_of};
use crate::link::PARTING_TIME;

mod flow;
mod relay;

/// Relays of one daemon at most.
pub const RELAYS_MOST: usize = 10_000;

/// How long relays stand still when the machine has no descriptors for pipes.
const REST: Duration = Duration::from_millis(50);

/// How long a side that takes what it was told, however slowly, keeps a relay of which the other
/// side has gone. What the kernel has of it then goes on without the relay, as behind any close.
pub const PARTING_TIME_MOST: Duration = Duration::from_secs(60);

/// The relays of a daemon, on a thread of their own.
///
/// Dropping this ends the thread and all relays.
#[derive(Debug)]
pub struct Pumps {
    sender: Option<Sender<Order>>,
    waker: Waker,
    ended: Receiver<u64>,
    live: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the thread is to do.
#[derive(Debug)]
enum Order {
    Begin(Pair),
    End(u64),
}

#[derive(Debug)]
struct Pair {
    id: u64,
    left: OwnedFd,
    right: OwnedFd,
}

/// Why a relay is not begun. Both sockets are closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelaysFull;

impl fmt::Display for RelaysFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit relays ({RELAYS_MOST}) is reached")
    }
}

impl std::error::Error for RelaysFull {}

impl Pumps {
    /// Starts the thread. It wakes `daemon` when [`Pumps::ended`] has something to tell.
    ///
    /// # Errors
    ///
    /// The kernel's: no thread, descriptors or memory left.
    pub fn start(daemon: &Waker) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let (told, ended) = channel();
        let mut pump = Pump::new(receiver, Ends { told, daemon: daemon.clone() })?;
        let (waker, live) = (pump.waker.clone(), Arc::clone(&pump.live));
        let thread = thread::Builder::new().name("pumps".to_owned()).spawn(move || pump.run())?;
        Ok(Self { sender: Some(sender), waker, ended, live, thread: Some(thread) })
    }

    /// Relays between two connected sockets, which are taken over and made non-blocking. `id` is
    /// the daemon's number for the relay, never zero and never used again.
    ///
    /// # Errors
    ///
    /// [`RelaysFull`].
    pub fn add(&self, id: u64, left: OwnedFd, right: OwnedFd) -> Result<(), RelaysFull> {
        if self.live.fetch_add(1, Ordering::Relaxed) >= RELAYS_MOST {
            self.live.fetch_sub(1, Ordering::Relaxed);
            return Err(RelaysFull);
        }
        self.order(Order::Begin(Pair { id, left, right }));
        Ok(())
    }

    /// Ends a relay as if both sides had been reset; [`Pumps::ended`] tells when it is over. One
    /// that is over already stays so.
    pub fn end(&self, id: u64) {
        self.order(Order::End(id));
    }

    /// A relay that is over, for whatever reason, and was not told before.
    #[must_use]
    pub fn ended(&self) -> Option<u64> {
        self.ended.try_recv().ok()
    }

    fn order(&self, order: Order) {
        let sent = self.sender.as_ref().map(|sender| sender.send(order));
        debug_assert!(matches!(sent, Some(Ok(()))), "the thread lives as long as this");
        self.waker.wake();
    }

    /// Relays at this moment.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

impl Drop for Pumps {
    fn drop(&mut self) {
        self.sender = None;
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _panicked = thread.join().is_err();
        }
    }
}

const WAKER: Token = Token(0);

/// The thread's own state.
#[derive(Debug)]
struct Pump {
    poller: Poller,
    waker: Waker,
    receiver: Receiver<Order>,
    ends: Ends,
    live: Arc<AtomicUsize>,
    relays: HashMap<u64, Relay>,
    pipes: Pipes,
    /// Relays that stand still for want of a pipe, and until when.
    starved: Vec<u64>,
    resume: Option<Instant>,
    /// Relays of which one side has gone away, by when they are looked at.
    parting: VecDeque<Parting>,
}

/// A relay of which one side has gone away.
#[derive(Clone, Copy, Debug)]
struct Parting {
    id: u64,
    /// When it is looked whether the other side still takes something.
    look: Instant,
    /// From when on that counts no more.
    last: Instant,
}

/// Where ends of relays are told.
#[derive(Debug)]
struct Ends {
    told: Sender<u64>,
    daemon: Waker,
}

impl Ends {
    fn tell(&self, id: u64) {
        // Nobody listens only while the daemon itself ends.
        if self.told.send(id).is_ok() {
            self.daemon.wake();
        }
    }
}

impl Pump {
    fn new(receiver: Receiver<Order>, ends: Ends) -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, WAKER)?;
        Ok(Self {
            poller,
            waker,
            receiver,
            ends,
            live: Arc::default(),
            relays: HashMap::new(),
            pipes: Pipes::default(),
            starved: Vec::new(),
            resume: None,
            parting: VecDeque::new(),
        })
    }

    fn run(&mut self) {
        let mut ready = Vec::new();
        loop {
            if self.poller.wait(&mut ready, self.rest(Instant::now())).is_err() {
                return;
            }
            for one in &ready {
                if one.token == WAKER {
                    self.waker.clear();
                    if self.take_orders() {
                        return;
                    }
                } else {
                    self.serve_ready(*one);
                }
            }
            let now = Instant::now();
            self.feed(now);
            self.see_off(now);
        }
    }

    fn rest(&self, now: Instant) -> Option<Duration> {
        let parting = self.parting.front().map(|parting| parting.look);
        let next = self.resume.into_iter().chain(parting).min();
        next.map(|when| when.saturating_duration_since(now))
    }

    /// Ends relays whose time to part is over, but for those of which the other side still takes
    /// what it was told: these have as much again, up to a last moment.
    fn see_off(&mut self, now: Instant) {
        while let Some(parting) = self.parting.front().copied().filter(|one| one.look <= now) {
            self.parting.pop_front();
            let relay = self.relays.get_mut(&parting.id).filter(|_| now < parting.last);
            if relay.is_some_and(Relay::is_taking) {
                // The last moment is met by the look behind it, so that they stay in order.
                self.parting.push_back(Parting { look: now + PARTING_TIME, ..parting });
            } else {
                self.end(parting.id);
            }
        }
    }

    fn serve_ready(&mut self, ready: Ready) {
        let id = relay_of(ready.token);
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.note(ready);
        }
        self.serve(id);
    }

    /// Advances, when their rest is over, the relays that found no pipe.
    fn feed(&mut self, now: Instant) {
        if self.resume.is_none_or(|when| now < when) {
            return;
        }
        self.resume = None;
        for id in std::mem::take(&mut self.starved) {
            self.serve(id);
        }
    }

    /// Takes what there is to do; true if no more will come.
    fn take_orders(&mut self) -> bool {
        use std::sync::mpsc::TryRecvError;
        loop {
            match self.receiver.try_recv() {
                Ok(Order::Begin(pair)) => {
                    let id = pair.id;
                    if self.begin(pair).is_err() {
                        self.live.fetch_sub(1, Ordering::Relaxed);
                        self.ends.tell(id);
                    }
                }
                Ok(Order::End(id)) => self.break_off(id),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn begin(&mut self, pair: Pair) -> io::Result<()> {
        let mut relay = Relay::new(pair.left, pair.right)?;
        relay.watch(&self.poller, pair.id)?;
        self.relays.insert(pair.id, relay);
        Ok(())
    }

    fn serve(&mut self, id: u64) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        match relay.step(&mut self.pipes) {
            fate @ (Fate::Goes | Fate::Parts) => {
                if relay.watch(&self.poller, id).is_err() {
                    return self.end(id);
                }
                if matches!(fate, Fate::Parts) {
                    let now = Instant::now();
                    let (look, last) = (now + PARTING_TIME, now + PARTING_TIME_MOST);
                    self.parting.push_back(Parting { id, look, last });
                }
                if relay.is_starved() && !self.starved.contains(&id) {
                    self.starved.push(id);
                    self.resume.get_or_insert_with(|| Instant::now() + REST);
                }
            }
            Fate::Ends => self.end(id),
            Fate::Breaks => self.break_off(id),
        }
    }

    /// Both sides are to see a reset.
    fn break_off(&mut self, id: u64) {
        let Some(relay) = self.relays.get(&id) else { return };
        relay.reset_on_close();
        self.end(id);
    }

    fn end(&mut self, id: u64) {
        let Some(relay) = self.relays.remove(&id) else { return };
        relay.close(&self.poller, &mut self.pipes);
        self.live.fetch_sub(1, Ordering::Relaxed);
        self.ends.tell(id);
    }
}

#[cfg(test)]
mod tests;
