//! What comes of a session that is shared.

use super::{HEARING, SharedSession};
#[cfg(doc)]
use crate::session::{Limits, Session};
use crate::session::{Received, SessionError};

/// What comes of a [`SharedSession`], on one channel or on all.
///
/// As many messages wait for it as [`Limits`] say. One more ends the session, unless some task is
/// in [`Subscription::receive`] and about to collect them: then nobody's messages are read before
/// it has. So drop a subscription that nobody reads any more, and either poll or drop a future of
/// `receive`: a task that keeps one while it waits for an answer of the same session may wait for
/// itself. Where there is a [keepalive](Limits::keepalive), a session that stands like this for
/// twice as long is over, with [`SessionError::TooMuchWaiting`].
///
/// Of the descriptors that come with a message each subscription has its own: a peer that may send
/// some ([`Limits::descriptors_most`]) can make this process hold that many for each message that
/// waits for each subscription. If no further one can be had, the session ends.
///
/// ```
/// use libipc::async_io::{AsyncSession, Subscription};
/// use libipc::session::{ClientOptions, ServerOptions};
/// use libipc::{Channel, Stream};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// # let (near, far) = Stream::pair()?;
/// # let server = tokio::spawn(async move {
/// #     let mut session = AsyncSession::accept(far, &ServerOptions::default(), "peer-1").await?;
/// #     session.send(Channel::DATA, b"first").await?;
/// #     session.send(Channel::TELEMETRY, b"second").await?;
/// #     session.receive().await
/// # });
/// let session = AsyncSession::connect(near, &ClientOptions::default()).await?.share();
/// let mut all: Subscription = session.everything();
/// let mut telemetry: Subscription = session.channel(Channel::TELEMETRY)?;
/// assert_eq!(telemetry.receive().await?.payload, "second");
/// assert_eq!(all.receive().await?.payload, "first");
/// assert_eq!(all.receive().await?.payload, "second");
/// # drop((session, all, telemetry));
/// # assert!(server.await.unwrap().is_err());
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    pub(super) session: SharedSession,
    pub(super) number: u64,
}

impl Subscription {
    /// Waits for the next message. If the future is dropped, no message is lost.
    ///
    /// # Errors
    ///
    /// As [`Session::receive`], once everything that came before is read. One whose content is not
    /// what its schema says is told to whichever task has read it.
    pub async fn receive(&mut self) -> Result<Received, SessionError> {
        let number = self.number;
        let attending = Attending::begin(self);
        attending.0.session.wait(HEARING, |held| Ok(held.take(number))).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let number = self.number;
        self.session.lock().desks.retain(|desk| desk.number != number);
        self.session.0.news.notify_waiters();
    }
}

/// A task is about to collect, until this is dropped.
struct Attending<'a>(&'a Subscription);

impl<'a> Attending<'a> {
    fn begin(subscription: &'a Subscription) -> Self {
        if let Some(desk) = subscription.session.lock().desk(subscription.number) {
            desk.is_attended = true;
        }
        Self(subscription)
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        let mut held = self.0.session.lock();
        let before = held.is_held_up();
        if let Some(desk) = held.desk(self.0.number) {
            desk.is_attended = false;
        }
        if before && !held.is_held_up() {
            held.stands_since = None;
            self.0.session.0.news.notify_waiters();
        }
    }
}
