//! Messages over a stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Shared, Watched, repeat, watch};
use crate::channel::Channel;
use crate::connection::{Connection, ConnectionError, Message, Receiver, Sender};
use crate::identity::Identity;
use crate::patience::Patience;

/// A [`Connection`] whose methods wait without blocking a thread.
///
/// ```
/// use libipc::async_io::AsyncConnection;
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (near, far) = Connection::pair(Options::default())?;
/// let (mut near, mut far) = (AsyncConnection::new(near)?, AsyncConnection::new(far)?);
/// near.send(Channel::DATA, b"hello").await?;
/// assert_eq!(far.receive().await?.payload, "hello");
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncConnection {
    receiver: AsyncReceiver,
    sender: AsyncSender,
    peer: Option<Identity>,
}

/// The half that receives.
///
/// ```
/// use libipc::async_io::{AsyncConnection, AsyncReceiver, AsyncSender};
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (near, far) = Connection::pair(Options::default())?;
/// let (near, far) = (AsyncConnection::new(near)?, AsyncConnection::new(far)?);
/// let (_, mut sender): (AsyncReceiver, AsyncSender) = near.split();
/// let (mut receiver, _) = far.split();
/// sender.send(Channel::DATA, b"hello", &[]).await?;
/// assert_eq!(receiver.receive().await?.payload, "hello");
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncReceiver {
    watched: Arc<AsyncFd<Watched<Shared>>>,
    receiver: Receiver,
}

/// The half that sends.
///
/// ```
/// use libipc::async_io::{AsyncConnection, AsyncReceiver, AsyncSender};
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (near, far) = Connection::pair(Options::default())?;
/// let (near, far) = (AsyncConnection::new(near)?, AsyncConnection::new(far)?);
/// let (_, mut sender): (AsyncReceiver, AsyncSender) = near.split();
/// let (mut receiver, _) = far.split();
/// sender.send(Channel::DATA, b"hello", &[]).await?;
/// assert_eq!(receiver.receive().await?.payload, "hello");
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncSender {
    watched: Arc<AsyncFd<Watched<Shared>>>,
    sender: Sender,
}

impl AsyncConnection {
    /// Takes over a connection.
    ///
    /// # Errors
    ///
    /// The system's: there is no runtime of tokio's with its I/O enabled, or no memory.
    pub fn new(connection: Connection) -> io::Result<Self> {
        let peer = connection.peer().cloned();
        let (receiver, sender) = connection.split();
        let watched = Arc::new(watch(Shared(receiver.socket()))?);
        let receiver = AsyncReceiver { watched: Arc::clone(&watched), receiver };
        Ok(Self { receiver, sender: AsyncSender { watched, sender }, peer })
    }

    /// What is proven about the other end; `None` where nobody has looked.
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        self.peer.as_ref()
    }

    /// Waits for the next message. What was queued is sent before. If the future is dropped, no
    /// message is lost.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`].
    pub async fn receive(&mut self) -> Result<Message, ConnectionError> {
        if self.sender.sender.outgoing_bytes() == 0 {
            return self.receiver.receive().await;
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        let (sender, receiver) = (&mut self.sender.sender, &mut self.receiver.receiver);
        repeat(&self.receiver.watched, both, || {
            sender.flush(Patience::Never)?;
            none_in_time(receiver.receive(Patience::Never))
        })
        .await
    }

    /// Sends a message, and waits until all of it has left. If the future is dropped, either
    /// nothing of the message was sent, or its rest goes before whatever is sent next.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`].
    pub async fn send(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        self.sender.send(channel, payload, &[]).await
    }

    /// As [`AsyncConnection::send`], with descriptors.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_within`].
    pub async fn send_with(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ConnectionError> {
        self.sender.send(channel, payload, descriptors).await
    }

    /// As [`Connection::queue`]. Never waits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn queue(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        self.sender.sender.queue(channel, payload)
    }

    /// Waits until everything that was queued has left. If the future is dropped, the rest stays
    /// queued.
    ///
    /// # Errors
    ///
    /// As [`Connection::flush`].
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.sender.flush().await
    }

    /// The two directions, for two tasks.
    #[must_use]
    pub fn split(self) -> (AsyncReceiver, AsyncSender) {
        (self.receiver, self.sender)
    }
}

impl AsyncReceiver {
    /// As [`AsyncConnection::receive`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn receive(&mut self) -> Result<Message, ConnectionError> {
        let receiver = &mut self.receiver;
        repeat(&self.watched, Interest::READABLE, || {
            none_in_time(receiver.receive(Patience::Never))
        })
        .await
    }
}

impl AsyncSender {
    /// As [`AsyncConnection::send_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ConnectionError> {
        let sender = &mut self.sender;
        repeat(&self.watched, Interest::WRITABLE, || {
            none_in_time(sender.send_within(channel, payload, descriptors, Patience::Never))
        })
        .await?;
        self.flush().await
    }

    /// As [`AsyncConnection::queue`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn queue(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        self.sender.queue(channel, payload)
    }

    /// As [`AsyncConnection::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        let sender = &mut self.sender;
        repeat(&self.watched, Interest::WRITABLE, || {
            sender.flush(Patience::Never).map(|is_done| is_done.then_some(()))
        })
        .await
    }
}

impl AsFd for AsyncConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.receiver.as_fd()
    }
}

/// Nothing was there in time.
fn none_in_time<T>(result: Result<T, ConnectionError>) -> Result<Option<T>, ConnectionError> {
    match result {
        Err(ConnectionError::TimedOut) => Ok(None),
        result => result.map(Some),
    }
}
