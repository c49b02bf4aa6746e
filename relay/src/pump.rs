//! Bytes between two sockets until both directions have ended.
//!
//! Half-close, resets and back-pressure pass through as they came. The bytes go by splice, through
//! a pipe that is borrowed only while bytes are in it; so an idle relay costs two descriptors and
//! no buffer, and a slow reader slows its writer and nobody else.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use libipc::poller::{Interest, Poller, Token, Waker};

use self::flow::{Flow, Pipes, Step};

mod flow;

/// Relays of one daemon at most.
pub const RELAYS_MOST: usize = 10_000;

/// How long relays stand still when the machine has no descriptors for pipes.
const REST: Duration = Duration::from_millis(50);

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

#[derive(Debug)]
struct Relay {
    left: OwnedFd,
    right: OwnedFd,
    /// From left to right, and back.
    there: Flow,
    back: Flow,
    watched: [Interest; 2],
}

/// What is to become of a relay.
enum Fate {
    Goes,
    Ends,
    /// One side was reset: the other one is to see the same.
    Breaks,
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
        })
    }

    fn run(&mut self) {
        let mut ready = Vec::new();
        loop {
            let rest = self.resume.map(|when| when.saturating_duration_since(Instant::now()));
            if self.poller.wait(&mut ready, rest).is_err() {
                return;
            }
            for one in &ready {
                if one.token == WAKER {
                    self.waker.clear();
                    if self.take_orders() {
                        return;
                    }
                } else {
                    self.serve(one.token.0 >> 1);
                }
            }
            self.feed(Instant::now());
        }
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
        sys::socket::set_blocking(pair.left.as_fd(), false)?;
        sys::socket::set_blocking(pair.right.as_fd(), false)?;
        let relay = Relay {
            left: pair.left,
            right: pair.right,
            there: Flow::default(),
            back: Flow::default(),
            watched: [Interest::READ; 2],
        };
        self.poller.add(&relay.left, token(pair.id, Side::Left), Interest::READ)?;
        self.poller.add(&relay.right, token(pair.id, Side::Right), Interest::READ)?;
        self.relays.insert(pair.id, relay);
        Ok(())
    }

    fn serve(&mut self, id: u64) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        match relay.step(&mut self.pipes) {
            Fate::Goes => {
                if relay.watch(&self.poller, id).is_err() {
                    return self.end(id);
                }
                if (relay.there.is_starved() || relay.back.is_starved())
                    && !self.starved.contains(&id)
                {
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
        for socket in [relay.left.as_fd(), relay.right.as_fd()] {
            // What cannot be reset is closed, which is all that it knows.
            let _not_tcp = sys::socket::reset_on_close(socket).is_err();
        }
        self.end(id);
    }

    fn end(&mut self, id: u64) {
        let Some(mut relay) = self.relays.remove(&id) else { return };
        for (socket, watched) in [&relay.left, &relay.right].into_iter().zip(relay.watched) {
            if watched != Interest::NONE {
                // Whoever gave it may hold a copy, and then closing ours would not end the watch.
                let _unwatched = self.poller.remove(socket).is_ok();
            }
        }
        relay.there.give_back(&mut self.pipes);
        relay.back.give_back(&mut self.pipes);
        self.live.fetch_sub(1, Ordering::Relaxed);
        self.ends.tell(id);
    }
}

impl Relay {
    /// Moves what can be moved, both ways.
    fn step(&mut self, pipes: &mut Pipes) -> Fate {
        let steps = [
            self.there.advance(self.left.as_fd(), self.right.as_fd(), pipes),
            self.back.advance(self.right.as_fd(), self.left.as_fd(), pipes),
        ];
        if steps.iter().any(|step| matches!(step, Step::Broken)) {
            return Fate::Breaks;
        }
        match steps {
            [Step::Refused, Step::Refused] => Fate::Breaks,
            [Step::Ended | Step::Refused, Step::Ended | Step::Refused] => Fate::Ends,
            _ => Fate::Goes,
        }
    }

    /// Watches for exactly what the flows wait for.
    fn watch(&mut self, poller: &Poller, id: u64) -> io::Result<()> {
        let wanted = [
            Interest { readable: self.there.wants_source(), writable: self.back.wants_sink() },
            Interest { readable: self.back.wants_source(), writable: self.there.wants_sink() },
        ];
        let sides: [(BorrowedFd<'_>, Side); 2] =
            [(self.left.as_fd(), Side::Left), (self.right.as_fd(), Side::Right)];
        for ((socket, side), (watched, wanted)) in
            sides.into_iter().zip(self.watched.iter_mut().zip(wanted))
        {
            change(poller, socket, token(id, side), (*watched, wanted))?;
            *watched = wanted;
        }
        Ok(())
    }
}

/// A side of which nothing is wanted is not watched at all: its hang-up would be told again and
/// again, and means nothing before the other direction has ended.
fn change(
    poller: &Poller,
    socket: BorrowedFd<'_>,
    token: Token,
    (from, to): (Interest, Interest),
) -> io::Result<()> {
    match (from == Interest::NONE, to == Interest::NONE) {
        _ if from == to => Ok(()),
        (true, false) => poller.add(socket, token, to),
        (false, true) => poller.remove(socket),
        _ => poller.change(socket, token, to),
    }
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

fn token(id: u64, side: Side) -> Token {
    Token(id << 1 | u64::from(matches!(side, Side::Right)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pumps() -> Pumps {
        let poller = Poller::new().unwrap();
        Pumps::start(&Waker::new(&poller, WAKER).unwrap()).unwrap()
    }

    fn next_id() -> u64 {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        u64::try_from(LAST.fetch_add(1, Ordering::Relaxed)).unwrap() + 1
    }

    /// A relay between a Unix socket and a TCP connection: the two far ends.
    fn relay(pumps: &Pumps) -> (UnixStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let (client, ours) = UnixStream::pair().unwrap();
        pumps.add(next_id(), ours.into(), accepted.into()).unwrap();
        (client, remote)
    }

    #[test]
    fn bytes_and_half_closes_pass_both_ways() {
        let pumps = pumps();
        let (mut client, mut remote) = relay(&pumps);
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        remote.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        remote.write_all(b"answer").unwrap();
        drop(remote);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
    }

    #[test]
    fn more_than_all_buffers_hold_arrives_whole() {
        const SIZE: usize = 32 << 20;
        let pumps = pumps();
        let (client, remote) = relay(&pumps);
        let send = |mut socket: Box<dyn Write + Send>, finish: Box<dyn FnOnce() + Send>| {
            thread::spawn(move || {
                let block: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
                for _ in 0..SIZE / block.len() {
                    socket.write_all(&block).unwrap();
                }
                finish();
            })
        };
        let (writer, ender) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let there =
            send(Box::new(writer), Box::new(move || ender.shutdown(Shutdown::Write).unwrap()));
        let (writer, ender) = (remote.try_clone().unwrap(), remote.try_clone().unwrap());
        let back =
            send(Box::new(writer), Box::new(move || ender.shutdown(Shutdown::Write).unwrap()));
        let count = |mut socket: Box<dyn Read + Send>| {
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                let mut total = 0_usize;
                loop {
                    let count = socket.read(&mut buffer).unwrap();
                    if count == 0 {
                        return total;
                    }
                    for (offset, byte) in buffer[..count].iter().enumerate() {
                        assert_eq!(usize::from(*byte), (total + offset) % 256);
                    }
                    total += count;
                }
            })
        };
        let counts = [count(Box::new(remote)), count(Box::new(client))];
        assert_eq!(counts.map(|thread| thread.join().unwrap()), [SIZE; 2]);
        there.join().unwrap();
        back.join().unwrap();
    }

    #[test]
    fn a_reset_is_a_reset_on_the_other_side() {
        let pumps = pumps();
        let (client, mut remote) = relay(&pumps);
        remote.write_all(b"x").unwrap();
        let mut byte = [0];
        (&client).read_exact(&mut byte).unwrap();
        sys::socket::reset_on_close(remote.as_fd()).unwrap();
        drop(remote);
        // A Unix socket knows no reset: both directions end at once.
        assert_eq!((&client).read(&mut byte).unwrap(), 0);
        let error = (&client).write_all(&vec![0; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_relay_is_gone_when_both_directions_have_ended() {
        let pumps = pumps();
        let (client, remote) = relay(&pumps);
        assert_eq!(pumps.live(), 1);
        drop(remote);
        assert_eq!((&client).read(&mut [0]).unwrap(), 0);
        drop(client);
        // The next relay is served by the same thread after it has dropped the first.
        let (client, mut remote) = relay(&pumps);
        remote.write_all(b"x").unwrap();
        (&client).read_exact(&mut [0]).unwrap();
        assert_eq!(pumps.live(), 1);
    }

    /// Two connected TCP sockets: the far end and ours.
    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (far, listener.accept().unwrap().0)
    }

    #[test]
    fn a_reset_between_tcp_connections_arrives_as_a_reset() {
        let pumps = pumps();
        let ((mut client, left), (remote, right)) = (tcp_pair(), tcp_pair());
        pumps.add(next_id(), left.into(), right.into()).unwrap();
        sys::socket::reset_on_close(remote.as_fd()).unwrap();
        drop(remote);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn an_answer_arrives_though_its_sender_reads_no_more() {
        let pumps = pumps();
        let (service, mut remote) = relay(&pumps);
        service.shutdown(Shutdown::Read).unwrap();
        remote.write_all(b"more than is wanted").unwrap();
        let answer = vec![b'x'; 8 << 20];
        let size = answer.len();
        let sender = thread::spawn(move || (&service).write_all(&answer));
        let mut received = Vec::new();
        remote.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), size);
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn an_ended_relay_is_not_watched_though_a_copy_of_its_socket_lives() {
        let (sender, receiver) = channel();
        let (told, ended) = channel();
        let daemon = Waker::new(&Poller::new().unwrap(), WAKER).unwrap();
        let mut pump = Pump::new(receiver, Ends { told, daemon }).unwrap();
        let (client, left) = UnixStream::pair().unwrap();
        let (far, right) = tcp_pair();
        let _copy = left.try_clone().unwrap();
        pump.live.store(1, Ordering::Relaxed);
        let (left, right) = (left.into(), right.into());
        sender.send(Order::Begin(Pair { id: 7, left, right })).unwrap();
        assert!(!pump.take_orders());
        drop((client, far));
        let mut ready = Vec::new();
        while pump.live.load(Ordering::Relaxed) > 0 {
            pump.poller.wait(&mut ready, None).unwrap();
            for one in &ready {
                pump.serve(one.token.0 >> 1);
            }
        }
        pump.poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty(), "{ready:?}");
        assert_eq!(ended.try_iter().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_relay_is_ended_by_its_number_and_every_end_is_told_once() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new(&poller, Token(9)).unwrap();
        let pumps = Pumps::start(&waker).unwrap();
        let mut ready = Vec::new();
        let mut next_end = || {
            poller.wait(&mut ready, None).unwrap();
            waker.clear();
            pumps.ended()
        };
        let ((mut client, left), (remote, right)) = (tcp_pair(), tcp_pair());
        let ((other, left_too), (mut others_remote, right_too)) = (tcp_pair(), tcp_pair());
        pumps.add(11, left.into(), right.into()).unwrap();
        pumps.add(12, left_too.into(), right_too.into()).unwrap();
        pumps.end(99);
        pumps.end(11);
        assert_eq!(next_end(), Some(11));
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(remote);
        (&other).write_all(b"x").unwrap();
        others_remote.read_exact(&mut [0]).unwrap();
        drop((other, others_remote));
        assert_eq!(next_end(), Some(12));
        assert_eq!(pumps.ended(), None);
    }

    #[test]
    fn the_limit_is_told_by_name() {
        let pumps = pumps();
        let pair = || UnixStream::pair().unwrap();
        pumps.live.store(RELAYS_MOST - 1, Ordering::Relaxed);
        let ((_client, left), (_service, right)) = (pair(), pair());
        pumps.add(next_id(), left.into(), right.into()).unwrap();
        let ((_client, left), (_service, right)) = (pair(), pair());
        let error = pumps.add(next_id(), left.into(), right.into()).unwrap_err();
        assert_eq!(error.to_string(), "the limit relays (10000) is reached");
        assert_eq!(pumps.live(), RELAYS_MOST);
    }
}
