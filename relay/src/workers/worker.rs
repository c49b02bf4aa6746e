//! One thread, its loop, and the links that live on it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use daemon::due::Due;
use libipc::interface::transport::TransportError;
use libipc::interface::tunnel::TunnelError;
use libipc::poller::{Poller, Ready, Token, Waker};

use super::{Beginning, Order, Report};
use crate::codec::Codec;
use crate::link::scratch::Scratch;
use crate::link::{Agreement, Fate, Link, PARTING_TIME, Wanted};

const WAKER: Token = Token(u64::MAX);

/// How long the news of a connection's end may wait for others.
const TELL_TIME: Duration = Duration::from_millis(20);

/// How long an agreed link waits to be attached.
const ATTACH_TIME: Duration = Duration::from_secs(20);

/// How long a far end that refuses us may take to say so, besides twice the time that everything
/// before took: its refusal is on its way for one round trip, and it has signatures to check.
const REFUSAL_TIME: Duration = Duration::from_millis(200);

/// Longest time that a refusal is waited for.
const REFUSAL_TIME_MOST: Duration = Duration::from_secs(2);

/// The thread's own state.
pub(super) struct Worker<C> {
    poller: Poller,
    waker: Waker,
    orders: Receiver<Order<C>>,
    reports: Sender<Report>,
    reader: Waker,
    live: Arc<AtomicUsize>,
    links: HashMap<u64, Box<Living<C>>>,
    timers: BTreeSet<(Instant, u64)>,
    /// Links that go on without anything becoming ready.
    again: Vec<u64>,
    scratch: Scratch,
    /// When the reader is to be woken for reports that can wait.
    tell: Option<Instant>,
    is_draining: bool,
}

struct Living<C> {
    link: Link<C>,
    watched: Wanted,
    begun: Instant,
    deadline: Option<Instant>,
}

/// Whether the thread is to go on.
#[derive(Eq, PartialEq)]
enum Life {
    GoesOn,
    IsOver,
}

impl<C: Codec> Worker<C> {
    pub(super) fn new(
        orders: Receiver<Order<C>>,
        reports: Sender<Report>,
        reader: Waker,
        live: Arc<AtomicUsize>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, WAKER)?;
        Ok(Self {
            poller,
            waker,
            orders,
            reports,
            reader,
            live,
            links: HashMap::new(),
            timers: BTreeSet::new(),
            again: Vec::new(),
            scratch: Scratch::new(),
            tell: None,
            is_draining: false,
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn run(&mut self) {
        let mut ready = Vec::new();
        let mut due = Due::default();
        loop {
            let timeout = self.timeout();
            if self.poller.wait(&mut ready, timeout).is_err() {
                return;
            }
            due.note(timeout, !ready.is_empty() || !self.again.is_empty());
            for one in &ready {
                if one.token == WAKER {
                    self.waker.clear();
                    if self.take_orders() == Life::IsOver {
                        return;
                    }
                } else {
                    self.serve_ready(*one);
                }
            }
            for id in std::mem::take(&mut self.again) {
                self.serve(id);
            }
            self.keep_time(Instant::now());
            if self.is_draining && self.links.is_empty() {
                self.reader.wake();
                return;
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let first = self.timers.first().map(|(when, _)| *when).into_iter().chain(self.tell).min();
        first.map(|when| when.saturating_duration_since(Instant::now()))
    }

    fn take_orders(&mut self) -> Life {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Begin(beginning)) => self.begin(*beginning),
                Ok(Order::Attach(id, plain)) => {
                    let living = self.links.get_mut(&id);
                    if living.is_some_and(|one| one.link.attach(plain, &mut self.scratch)) {
                        self.set_deadline(id, None);
                        self.serve(id);
                    } else {
                        self.end(id);
                    }
                }
                Ok(Order::Refuse(id, refusal)) => self.refuse(id, refusal),
                Ok(Order::Drop(id)) => self.end(id),
                Ok(Order::Drain) => self.is_draining = true,
                Err(TryRecvError::Empty) => return Life::GoesOn,
                Err(TryRecvError::Disconnected) => return Life::IsOver,
            }
        }
    }

    fn begin(&mut self, beginning: Beginning<C>) {
        let Beginning { id, make, net, purpose, deadline } = beginning;
        match make() {
            Ok(codec) => {
                let link = Link::new(codec, net, purpose);
                let begun = Instant::now();
                let living = Living { link, watched: Wanted::default(), begun, deadline: None };
                self.links.insert(id, Box::new(living));
                self.set_deadline(id, Some(deadline));
                self.serve(id);
            }
            Err(error) => {
                self.live.fetch_sub(1, Ordering::Relaxed);
                self.report(Report::Failed(id, error));
            }
        }
    }

    /// Tells the far end no; it is given time to hear that.
    fn refuse(&mut self, id: u64, refusal: TunnelError) {
        let Some(living) = self.links.get_mut(&id) else { return };
        living.link.refuse(refusal, &mut self.scratch);
        self.set_deadline(id, Some(Instant::now() + PARTING_TIME));
        self.serve(id);
    }

    fn serve_ready(&mut self, ready: Ready) {
        let id = ready.token.0 >> 1;
        if let Some(living) = self.links.get_mut(&id) {
            let link = &mut living.link;
            match (ready.token.0 & 1 == 1, ready.hangup) {
                (true, true) => {
                    link.plain_woke();
                    link.plain_hung_up();
                }
                (true, false) => link.plain_woke(),
                (false, _) => link.net_woke(),
            }
        }
        self.serve(id);
    }

    fn serve(&mut self, id: u64) {
        let Some(living) = self.links.get_mut(&id) else { return };
        let scratch = &mut self.scratch;
        // A bug in what reads strangers' bytes costs one connection and not all.
        let fate = catch_unwind(AssertUnwindSafe(|| living.link.advance(scratch)));
        match fate.unwrap_or_else(|_| Fate::Failed(bug())) {
            Fate::Goes => {}
            Fate::Again => self.again.push(id),
            Fate::Unsure => self.wait_for_refusal(id, Instant::now()),
            Fate::Agreed(agreement) => self.agreed(id, agreement),
            Fate::Failed(error) => {
                self.report(Report::Failed(id, error));
                return self.end(id);
            }
            Fate::Rejected(error) => {
                self.report(Report::Failed(id, error));
                return self.refuse(id, TunnelError::no(false));
            }
            Fate::Parts => {
                self.set_deadline(id, Some(Instant::now() + PARTING_TIME));
                self.again.push(id);
            }
            Fate::Ends => return self.end(id),
        }
        if self.watch(id).is_err() {
            self.end(id);
        }
    }

    fn agreed(&mut self, id: u64, agreement: Agreement) {
        self.set_deadline(id, Some(Instant::now() + ATTACH_TIME));
        self.report(Report::Agreed(id, agreement));
    }

    fn wait_for_refusal(&mut self, id: u64, now: Instant) {
        let Some(living) = self.links.get(&id) else { return };
        let so_far = now.saturating_duration_since(living.begun);
        let patience = refusal_time(so_far);
        let deadline = living.deadline.unwrap_or(now + patience).min(now + patience);
        self.set_deadline(id, Some(deadline));
    }

    /// Watches for exactly what the link waits for.
    fn watch(&mut self, id: u64) -> io::Result<()> {
        let Some(living) = self.links.get_mut(&id) else { return Ok(()) };
        let (from, to) = (living.watched, living.link.wanted());
        let net = Token(id << 1);
        match (from.net, to.net) {
            (from, to) if from == to => {}
            (None, Some(to)) => self.poller.add(living.link.net(), net, to)?,
            (Some(_), None) => self.poller.remove(living.link.net())?,
            (_, Some(to)) => self.poller.change(living.link.net(), net, to)?,
            (None, None) => {}
        }
        // There always lies something unread in the plain side, so only what is new is told.
        if let Some(side) = living.link.plain() {
            let plain = Token(id << 1 | 1);
            match (from.plain, to.plain) {
                (from, to) if from == to => {}
                (None, Some(to)) => self.poller.add_edge(side, plain, to)?,
                (Some(_), None) => self.poller.remove(side)?,
                (_, Some(to)) => self.poller.change_edge(side, plain, to)?,
                (None, None) => {}
            }
        }
        living.watched = to;
        Ok(())
    }

    fn keep_time(&mut self, now: Instant) {
        if self.tell.is_some_and(|when| when <= now) {
            self.tell = None;
            self.reader.wake();
        }
        while let Some((when, id)) = self.timers.first().copied() {
            if when > now {
                return;
            }
            self.timers.remove(&(when, id));
            if let Some(living) = self.links.get_mut(&id) {
                living.deadline = None;
                if living.link.is_unsure() {
                    let agreement = living.link.take_silence_for_yes();
                    self.agreed(id, agreement);
                    if self.watch(id).is_err() {
                        self.end(id);
                    }
                    continue;
                }
                if living.link.is_negotiating() {
                    self.report(Report::Failed(id, TransportError::TimedOut {}));
                } else if living.link.is_agreed() {
                    self.report(Report::Gone(id));
                }
                self.end(id);
            }
        }
    }

    fn set_deadline(&mut self, id: u64, deadline: Option<Instant>) {
        let Some(living) = self.links.get_mut(&id) else { return };
        let before = std::mem::replace(&mut living.deadline, deadline);
        if let Some(before) = before {
            self.timers.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id));
        }
    }

    fn end(&mut self, id: u64) {
        self.set_deadline(id, None);
        let Some(living) = self.links.remove(&id) else { return };
        // Whoever gave a socket may hold a copy, and then closing ours would not end the watch.
        let sides = [
            (Some(living.link.net()), living.watched.net),
            (living.link.plain(), living.watched.plain),
        ];
        for (socket, watched) in sides {
            if let Some(socket) = socket.filter(|_| watched.is_some()) {
                let _unwatched = self.poller.remove(socket).is_ok();
            }
        }
        // Without a reader the daemon is ending.
        let _unread = self.reports.send(Report::Gone(id)).is_err();
        self.live.fetch_sub(1, Ordering::Relaxed);
        // Where connections come and go, their ends are told together.
        self.tell.get_or_insert_with(|| Instant::now() + TELL_TIME);
    }

    fn report(&mut self, report: Report) {
        self.tell = None;
        // Without a reader the daemon is ending.
        let _unread = self.reports.send(report).is_err();
        self.reader.wake();
    }
}

/// How long a refusal is waited for, after everything before took so long.
fn refusal_time(so_far: Duration) -> Duration {
    so_far.saturating_mul(2).saturating_add(REFUSAL_TIME).min(REFUSAL_TIME_MOST)
}

fn bug() -> TransportError {
    TransportError::Protocol { reason: "a fault of this daemon, see its log".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_waited_for_in_proportion_and_never_more_than_two_seconds() {
        let after = |ms| refusal_time(Duration::from_millis(ms)).as_millis();
        assert_eq!([after(0), after(100), after(899)], [200, 400, 1_998]);
        assert_eq!([after(900), after(901), after(u64::MAX)], [2_000; 3]);
    }
}
