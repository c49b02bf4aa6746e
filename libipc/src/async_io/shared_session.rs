//! One session for many tasks.

use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::Notify;

use held::{Desk, Held, Step};
pub use subscription::Subscription;

use super::{HEARING, SPEAKING, Watched};
use crate::channel::Channel;
use crate::connection::ConnectionError;
use crate::patience::Patience;
use crate::session::inbox::Inbox;
use crate::session::{Negotiated, ReplyTo, RequestId, Session, SessionError};

mod held;
mod subscription;

/// A session that many tasks use at once: each clone sends and asks, each [`Subscription`] hears
/// what comes.
///
/// A message goes to every subscription that is for its channel or for all; one that is for nobody
/// is dropped. What the session does is done by whichever task waits for it, so a message waits
/// while no task does.
///
/// ```
/// use libipc::async_io::AsyncSession;
/// use libipc::session::{ClientOptions, ServerOptions};
/// use libipc::{Channel, Stream};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (near, far) = Stream::pair()?;
/// # let server = tokio::spawn(async move {
/// #     let mut session = AsyncSession::accept(far, &ServerOptions::default(), "peer-1").await?;
/// #     session.send(Channel::TELEMETRY, b"21 C").await?;
/// #     let question = session.receive().await?;
/// #     session.answer(question.request.unwrap(), b"42").await
/// # });
/// let session = AsyncSession::connect(near, &ClientOptions::default()).await?.share();
/// let mut readings = session.channel(Channel::TELEMETRY)?;
/// let asking = tokio::spawn(async move { session.request(b"a question").await });
/// assert_eq!(readings.receive().await?.payload, "21 C");
/// assert_eq!(asking.await.unwrap()?, "42");
/// # server.await.unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The first task that finds the session broken learns why; the others find its end.
#[derive(Clone, Debug)]
pub struct SharedSession(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Dropped before the descriptor that it watches is closed.
    watched: AsyncFd<Watched<OwnedFd>>,
    held: Mutex<Held>,
    /// Something has come that another task may be waiting for.
    news: Notify,
}

type Ready<'a> = AsyncFdReadyGuard<'a, Watched<OwnedFd>>;

impl SharedSession {
    pub(super) fn new(watched: AsyncFd<Watched<OwnedFd>>, session: Session) -> Self {
        let held = Mutex::new(Held { session, desks: Vec::new(), last: 0, stands_since: None });
        Self(Arc::new(Shared { watched, held, news: Notify::new() }))
    }

    /// What was agreed.
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.lock().session.negotiated().cloned()
    }

    /// What comes on one channel from now on.
    ///
    /// # Errors
    ///
    /// [`SessionError::Channel`] if it was not agreed.
    pub fn channel(&self, channel: Channel) -> Result<Subscription, SessionError> {
        if !self.lock().session.has_channel(channel) {
            return Err(SessionError::Channel { channel });
        }
        Ok(self.subscribe(Some(channel)))
    }

    /// What comes on every channel from now on, in the order of arrival.
    #[must_use]
    pub fn everything(&self) -> Subscription {
        self.subscribe(None)
    }

    fn subscribe(&self, channel: Option<Channel>) -> Subscription {
        let mut held = self.lock();
        held.last += 1;
        let number = held.last;
        held.desks.push(Desk { number, channel, inbox: Inbox::default(), is_attended: false });
        Subscription { session: self.clone(), number }
    }

    /// Sends a message, and waits until all of it has left. If the future is dropped, either
    /// nothing of the message was sent, or its rest goes before whatever is sent next.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub async fn send(&self, channel: Channel, payload: &[u8]) -> Result<(), SessionError> {
        self.send_with(channel, payload, &[]).await
    }

    /// As [`SharedSession::send`], with descriptors.
    ///
    /// # Errors
    ///
    /// As [`Session::send_within`].
    pub async fn send_with(
        &self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SessionError> {
        self.wait(SPEAKING, |held| {
            let session = &mut held.session;
            none_in_time(session.send_within(channel, payload, descriptors, Patience::Never))
        })
        .await?;
        self.flush().await
    }

    async fn flush(&self) -> Result<(), SessionError> {
        let flushed = |held: &mut Held| {
            held.session.flush(Patience::Never).map(|is_done| is_done.then_some(()))
        };
        self.wait(SPEAKING, flushed).await
    }

    /// Sends a request and waits for its answer; several are under way at once if they are
    /// [numbered](Negotiated::request_ids). If the future is dropped, the request may have been
    /// sent; its answer is then dropped when it comes.
    ///
    /// # Errors
    ///
    /// As [`Session::request`].
    pub async fn request(&self, payload: &[u8]) -> Result<Bytes, SessionError> {
        let start =
            |held: &mut Held| none_in_time(held.session.start_request(payload, Patience::Never));
        let request = self.wait(SPEAKING, start).await?;
        let _forgotten_at_the_end = Asked { session: self, request };
        self.wait(HEARING, |held| held.session.answer_that_came(request)).await
    }

    /// Answers a request. If the future is dropped, as [`SharedSession::send`].
    ///
    /// # Errors
    ///
    /// As [`Session::answer`].
    pub async fn answer(&self, request: ReplyTo, payload: &[u8]) -> Result<(), SessionError> {
        self.wait(SPEAKING, |held| {
            none_in_time(held.session.answer_within(request, payload, Patience::Never))
        })
        .await?;
        self.flush().await
    }

    /// Measures the way to the peer and back. If the future is dropped, nothing else happens.
    ///
    /// # Errors
    ///
    /// As [`Session::ping`].
    pub async fn ping(&self) -> Result<Duration, SessionError> {
        let number = self
            .wait(SPEAKING, |held| none_in_time(held.session.start_ping(Patience::Never)))
            .await?;
        self.wait(HEARING, |held| Ok(held.session.pong_that_came(number))).await
    }

    /// Ends the session in good order, as [`Session::shut_down`] does. If the future is dropped,
    /// the peer may have been told.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn shut_down(&self, reason: Option<&str>) -> Result<(), SessionError> {
        let start =
            |held: &mut Held| none_in_time(held.session.start_farewell(reason, Patience::Never));
        self.wait(SPEAKING, start).await?;
        match self.wait(HEARING, |held| Ok(held.session.farewell_that_came())).await {
            // Both sides had the same wish at once.
            Err(SessionError::ShutDown { .. }) => Ok(()),
            result => result,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in there is left half-done by a panic of somebody else's.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the session do what it has to, until `found` finds what is waited for.
    async fn wait<T>(
        &self,
        interest: Interest,
        mut found: impl FnMut(&mut Held) -> Result<Option<T>, SessionError>,
    ) -> Result<T, SessionError> {
        // A task that always finds what it waits for lets others have their turn.
        tokio::task::coop::consume_budget().await;
        let mut ready: Option<Ready<'_>> = None;
        loop {
            // Before the attempt, so that nothing is missed that another task hears behind it.
            let news = self.0.news.notified();
            let (step, has_more, deadline) = self.attempt(&mut found);
            match step? {
                Step::Done(found) => return Ok(found),
                Step::HeldUp { until: None } => news.await,
                Step::HeldUp { until: Some(at) } => {
                    // The attempt itself sees to the end.
                    let _collected = tokio::time::timeout_at(at.into(), news).await.is_ok();
                }
                // So does one whose peer never pauses.
                Step::Enough => tokio::task::yield_now().await,
                Step::Blocked => {
                    if let Some(mut ready) = ready.take() {
                        ready.clear_ready();
                    }
                    // What is queued leaves meanwhile.
                    let interest = if has_more { SPEAKING } else { interest };
                    let either = self.either(interest, news);
                    ready = match deadline {
                        None => either.await?,
                        // The attempt itself sees to the keepalive.
                        Some(at) => {
                            tokio::time::timeout_at(at.into(), either).await.unwrap_or(Ok(None))?
                        }
                    };
                }
            }
        }
    }

    /// One attempt; whether something waits to be sent behind it, and when to try again at the
    /// latest.
    fn attempt<T>(
        &self,
        found: &mut impl FnMut(&mut Held) -> Result<Option<T>, SessionError>,
    ) -> (Result<Step<T>, SessionError>, bool, Option<Instant>) {
        let mut held = self.lock();
        let before = (held.session.position(), held.is_held_up());
        let step = held.advance(found);
        let after = (held.session.position(), held.is_held_up());
        if before.0 != after.0 || (before.1 && !after.1) {
            self.0.news.notify_waiters();
        }
        (step, held.session.outgoing_bytes() > 0, held.session.deadline())
    }

    /// Waits for the descriptor, or for what another task has heard.
    async fn either(
        &self,
        interest: Interest,
        news: impl Future<Output = ()>,
    ) -> Result<Option<Ready<'_>>, SessionError> {
        let (mut ready, mut news) = (pin!(self.0.watched.ready(interest)), pin!(news));
        let either = poll_fn(|context| match ready.as_mut().poll(context) {
            Poll::Ready(ready) => Poll::Ready(ready.map(Some)),
            Poll::Pending => news.as_mut().poll(context).map(|()| Ok(None)),
        });
        Ok(either.await.map_err(ConnectionError::System)?)
    }
}

/// A request whose answer nobody waits for any more, once this is dropped.
struct Asked<'a> {
    session: &'a SharedSession,
    request: RequestId,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.session.lock().session.forget(self.request);
    }
}

impl AsFd for SharedSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.watched.get_ref().0.as_fd()
    }
}

/// Nothing was there in time.
fn none_in_time<T>(result: Result<T, SessionError>) -> Result<Option<T>, SessionError> {
    match result {
        Err(error) if error.is_timeout() => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests;
