//! The threads that links live on.
//!
//! Each thread has one loop and one set of buffers. A link stays on its thread for good, so that
//! nothing of it is shared.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use libipc::interface::transport::TransportError;
use libipc::interface::tunnel::TunnelError;
use libipc::poller::Waker;

use crate::codec::Codec;
use crate::link::{Agreement, PlainSide, Purpose};
use crate::wrapping::Make;

use self::worker::Worker;

mod worker;

/// Links of one daemon at most, relaying or not.
pub const LINKS_MOST: usize = 10_000;

/// A link to be.
pub struct Beginning<C> {
    /// What it is called from now on.
    pub id: u64,
    /// What makes the encapsulation.
    pub make: Make<C>,
    /// Its network side, connected.
    pub net: OwnedFd,
    /// What it is begun for.
    pub purpose: Purpose,
    /// When it has to be agreed.
    pub deadline: Instant,
}

/// What came of a link.
#[derive(Debug)]
pub enum Report {
    /// It has been agreed, and waits to be attached.
    Agreed(u64, Agreement),
    /// It came to nothing, or broke while it relayed.
    Failed(u64, TransportError),
    /// It is over: it waited too long after it was agreed, or has relayed to its end.
    Gone(u64),
}

/// What a thread is told.
enum Order<C> {
    Begin(Box<Beginning<C>>),
    Attach(u64, PlainSide),
    Refuse(u64, TunnelError),
    Drop(u64),
    /// Nothing new will come: end when the last link has.
    Drain,
}

/// The threads, from the side of the daemon's own loop.
///
/// Dropping this ends them and all links.
pub struct Workers<C> {
    threads: Vec<Thread<C>>,
    reports: Receiver<Report>,
    live: Arc<AtomicUsize>,
}

struct Thread<C> {
    orders: Option<Sender<Order<C>>>,
    waker: Waker,
    handle: Option<thread::JoinHandle<()>>,
}

impl<C: Codec> Workers<C> {
    /// Starts `count` threads. They wake `reader` when there is a [`Report`], and when the last
    /// link has ended.
    ///
    /// # Errors
    ///
    /// The kernel's: no threads, descriptors or memory left.
    pub fn start(count: usize, reader: &Waker) -> io::Result<Self> {
        let (sender, reports) = channel();
        let live = Arc::new(AtomicUsize::new(0));
        let start = |index| {
            let (orders, receiver) = channel();
            let mut worker =
                Worker::new(receiver, sender.clone(), reader.clone(), Arc::clone(&live))?;
            let waker = worker.waker();
            let name = format!("links-{index}");
            let handle = thread::Builder::new().name(name).spawn(move || worker.run())?;
            Ok(Thread { orders: Some(orders), waker, handle: Some(handle) })
        };
        let threads = (0..count.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { threads, reports, live })
    }

    /// Begins a link. What becomes of it is reported.
    pub fn begin(&self, beginning: Beginning<C>) {
        self.live.fetch_add(1, Ordering::Relaxed);
        self.tell(beginning.id, Order::Begin(Box::new(beginning)));
    }

    /// Goes on with an agreed link: writes the yes if one is owed, and relays to `plain`.
    pub fn attach(&self, id: u64, plain: PlainSide) {
        self.tell(id, Order::Attach(id, plain));
    }

    /// Tells the far end of a link no, and ends it.
    pub fn refuse(&self, id: u64, refusal: TunnelError) {
        self.tell(id, Order::Refuse(id, refusal));
    }

    /// Ends a link.
    pub fn drop_link(&self, id: u64) {
        self.tell(id, Order::Drop(id));
    }

    /// Has the threads end once they have no links any more.
    pub fn drain(&self) {
        for thread in &self.threads {
            thread.tell(Order::Drain);
        }
    }

    /// The next report, if there is one.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Links at this moment.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    fn tell(&self, id: u64, order: Order<C>) {
        let count = u64::try_from(self.threads.len()).unwrap_or(1);
        let index = usize::try_from(id % count).unwrap_or(0);
        if let Some(thread) = self.threads.get(index) {
            thread.tell(order);
        }
    }
}

impl<C> Thread<C> {
    fn tell(&self, order: Order<C>) {
        // A thread that has ended was told to drain: then nothing is begun any more.
        let _ended = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_err());
        self.waker.wake();
    }
}

impl<C> Drop for Workers<C> {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            thread.orders = None;
            thread.waker.wake();
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // A panic there has been reported already.
                let _panicked = handle.join().is_err();
            }
        }
    }
}
