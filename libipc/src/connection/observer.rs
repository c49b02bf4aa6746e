//! Who is told of each message that passes.

use std::fmt;
use std::sync::Arc;

use crate::channel::Channel;

/// Told of each message that passes, for records of who has said how much to whom; never of what
/// was said. It is called in the thread that sends or receives, which waits for it.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use libipc::connection::{Direction, Observer, Options, Passed};
/// use libipc::{Channel, Connection};
///
/// let record = Arc::new(Mutex::new(Vec::new()));
/// let keep = Arc::clone(&record);
/// let observer: Arc<Observer> = Arc::new(move |passed: &Passed| keep.lock().unwrap().push(*passed));
/// let (mut near, mut far) = Connection::pair(Options::default())?;
/// near.observe(observer);
/// near.send(Channel::DATA, b"hello")?;
/// far.receive()?;
/// let sent = Passed { direction: Direction::Sent, channel: Channel::DATA, bytes: 5, descriptors: 0 };
/// assert_eq!(*record.lock().unwrap(), [sent]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub type Observer = dyn Fn(&Passed) + Send + Sync + 'static;

/// One message that was sent or received.
///
/// ```
/// use libipc::Channel;
/// use libipc::connection::{Direction, Passed};
///
/// let passed =
///     Passed { direction: Direction::Received, channel: Channel::DATA, bytes: 5, descriptors: 0 };
/// assert_eq!(passed.to_string(), "received 5 bytes on channel 2 (DATA)");
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passed {
    /// Which way.
    pub direction: Direction,
    /// Its channel; zero where there are none.
    pub channel: Channel,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Descriptors that went with it.
    pub descriptors: usize,
}

/// Which way a message went.
///
/// ```
/// use libipc::connection::Direction;
///
/// assert_eq!(Direction::Sent.to_string(), "sent");
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// To the peer: it has left, or what is left of it waits to. One within which a call finds the
    /// connection broken is not told, as the peer never has all of it; one that was queued has been
    /// told before.
    Sent,
    /// From the peer: it is about to be handed out.
    Received,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent => "sent",
            Self::Received => "received",
        })
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, channel, bytes, descriptors } = self;
        write!(f, "{direction} {bytes} bytes on channel {channel}")?;
        match descriptors {
            0 => Ok(()),
            1 => f.write_str(" with a descriptor"),
            many => write!(f, " with {many} descriptors"),
        }
    }
}

/// An observer, where there is one.
#[derive(Clone, Default)]
pub(super) struct Watch(pub(super) Option<Arc<Observer>>);

impl Watch {
    pub(super) fn tell(&self, passed: Passed) {
        if let Some(observer) = &self.0 {
            observer(&passed);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}
