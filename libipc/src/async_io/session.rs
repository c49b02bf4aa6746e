//! Messages on agreed channels.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::shared_session::SharedSession;
use super::{HEARING, SPEAKING, Watched, repeat, watch};
use crate::channel::Channel;
use crate::connection::{Connection, ConnectionError};
use crate::patience::Patience;
use crate::session::beginning::{FAREWELL, TurnedAway};
use crate::session::{
    ClientOptions, Negotiated, Received, ReplyTo, RequestId, ServerOptions, Session, SessionError,
};
use crate::stream::Stream;

/// A [`Session`] whose methods wait without blocking a thread.
///
/// The runtime needs its timer: beginnings end in time, and keepalives are due.
///
/// ```
/// use libipc::Stream;
/// use libipc::async_io::AsyncSession;
/// use libipc::session::{ClientOptions, ServerOptions};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (near, far) = Stream::pair()?;
/// let server = tokio::spawn(async move {
///     let mut session = AsyncSession::accept(far, &ServerOptions::default(), "peer-1").await?;
///     let question = session.receive().await?;
///     session.answer(question.request.unwrap(), b"42").await
/// });
/// let mut session = AsyncSession::connect(near, &ClientOptions::default()).await?;
/// assert_eq!(session.request(b"a question").await?, "42");
/// # server.await.unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncSession {
    /// Dropped before the descriptor that it watches is closed.
    watched: AsyncFd<Watched<OwnedFd>>,
    session: Session,
    /// A request whose future was dropped.
    abandoned: Option<RequestId>,
}

impl AsyncSession {
    /// Begins a session as the client, as [`Session::connect`] does. If the future is dropped, the
    /// connection is closed.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn connect(stream: Stream, options: &ClientOptions) -> Result<Self, SessionError> {
        let mut session = Self::new(Session::start(stream, options)?)?;
        let agreed = session.wait(HEARING, |session| session.agree(Patience::Never));
        let agreed = tokio::time::timeout(options.timeout, agreed).await;
        agreed.map_err(|_| ConnectionError::TimedOut)??;
        Ok(session)
    }

    /// Begins a session as the server, as [`Session::accept`] does. If the future is dropped, the
    /// connection is closed.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn accept(
        stream: Stream,
        options: &ServerOptions,
        peer_id: &str,
    ) -> Result<Self, SessionError> {
        // The client's words are waited for here; then everything is there that is judged.
        let watched = watch(stream.as_fd().try_clone_to_owned()?)?;
        let mut beginning = Session::begin(stream, options)?;
        let heard =
            repeat(&watched, Interest::READABLE, || match beginning.hear(Patience::Never) {
                Err(error) if error.is_timeout() => Ok(None),
                heard => heard.map(Some),
            });
        let heard = tokio::time::timeout(options.timeout, heard).await;
        let heard = heard.unwrap_or_else(|_| Err(ConnectionError::TimedOut.into()));
        match beginning.judge(heard, options, peer_id, Patience::Never) {
            Ok(session) => Ok(Self { watched, session, abandoned: None }),
            Err(TurnedAway { error, leaving }) => {
                if let Some(connection) = leaving {
                    let left = see_off(&watched, *connection);
                    let _in_time = tokio::time::timeout(FAREWELL, left).await.is_ok();
                }
                Err(error)
            }
        }
    }

    /// Takes over a session.
    ///
    /// # Errors
    ///
    /// The system's: there is no runtime of tokio's with its I/O enabled, or no descriptor left.
    pub fn new(session: Session) -> io::Result<Self> {
        let watched = watch(session.as_fd().try_clone_to_owned()?)?;
        Ok(Self { watched, session, abandoned: None })
    }

    /// The session for many tasks at once. What has come already goes to whoever subscribes before
    /// a task next waits.
    #[must_use]
    pub fn share(mut self) -> SharedSession {
        if let Some(request) = self.abandoned.take() {
            self.session.forget(request);
        }
        SharedSession::new(self.watched, self.session)
    }

    /// The session, for what needs no waiting.
    #[must_use]
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// What was agreed.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.session.negotiated()
    }

    /// Waits for the next message on any channel. If the future is dropped, no message is lost.
    ///
    /// # Errors
    ///
    /// As [`Session::receive`].
    pub async fn receive(&mut self) -> Result<Received, SessionError> {
        self.wait(HEARING, |session| session.receive_within(Patience::Never)).await
    }

    /// Waits for the next message on one channel. If the future is dropped, no message is lost.
    ///
    /// # Errors
    ///
    /// As [`Session::receive_on`].
    pub async fn receive_on(&mut self, channel: Channel) -> Result<Received, SessionError> {
        self.wait(HEARING, |session| session.receive_on(channel, Patience::Never)).await
    }

    /// Sends a message, and waits until all of it has left. If the future is dropped, either
    /// nothing of the message was sent, or its rest goes before whatever is sent next.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub async fn send(&mut self, channel: Channel, payload: &[u8]) -> Result<(), SessionError> {
        self.send_with(channel, payload, &[]).await
    }

    /// As [`AsyncSession::send`], with descriptors.
    ///
    /// # Errors
    ///
    /// As [`Session::send_within`].
    pub async fn send_with(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SessionError> {
        self.wait(SPEAKING, |session| {
            session.send_within(channel, payload, descriptors, Patience::Never)
        })
        .await?;
        self.flush().await
    }

    /// Waits until everything that was queued has left. If the future is dropped, the rest stays
    /// queued.
    ///
    /// # Errors
    ///
    /// As [`Session::flush`].
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        self.wait(SPEAKING, |session| match session.flush(Patience::Never) {
            Ok(false) => Err(ConnectionError::TimedOut.into()),
            flushed => flushed.map(drop),
        })
        .await
    }

    /// Sends a request and waits for its answer. If the future is dropped, the request may have
    /// been sent; its answer is then dropped when it comes.
    ///
    /// # Errors
    ///
    /// As [`Session::request`].
    pub async fn request(&mut self, payload: &[u8]) -> Result<Bytes, SessionError> {
        let request =
            self.wait(SPEAKING, |session| session.start_request(payload, Patience::Never)).await?;
        self.abandoned = Some(request);
        self.flush_and(|session| session.answer_to(request, Patience::Never)).await
    }

    /// Answers a request. If the future is dropped, as [`AsyncSession::send`].
    ///
    /// # Errors
    ///
    /// As [`Session::answer`].
    pub async fn answer(&mut self, request: ReplyTo, payload: &[u8]) -> Result<(), SessionError> {
        self.wait(SPEAKING, |session| session.answer_within(request, payload, Patience::Never))
            .await?;
        self.flush().await
    }

    /// Measures the way to the peer and back. If the future is dropped, nothing else happens.
    ///
    /// # Errors
    ///
    /// As [`Session::ping`].
    pub async fn ping(&mut self) -> Result<Duration, SessionError> {
        let number = self.wait(SPEAKING, |session| session.start_ping(Patience::Never)).await?;
        self.wait(HEARING, |session| session.pong(number, Patience::Never)).await
    }

    /// Ends the session in good order, as [`Session::shut_down`] does. If the future is dropped,
    /// the peer may have been told.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn shut_down(&mut self, reason: Option<&str>) -> Result<(), SessionError> {
        self.wait(SPEAKING, |session| session.start_farewell(reason, Patience::Never)).await?;
        self.wait(HEARING, |session| session.farewell(Patience::Never)).await
    }

    /// As [`AsyncSession::wait`], for the request that must not be forgotten meanwhile.
    async fn flush_and<T>(
        &mut self,
        attempt: impl FnMut(&mut Session) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let request = self.abandoned.take();
        let mut guard = Keeping { session: self, request };
        let result = guard.session.wait(HEARING, attempt).await;
        guard.request = None;
        result
    }

    /// Repeats `attempt` until it does not time out.
    async fn wait<T>(
        &mut self,
        interest: Interest,
        mut attempt: impl FnMut(&mut Session) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        if let Some(request) = self.abandoned.take() {
            self.session.forget(request);
        }
        // A task whose peer never pauses lets others have their turn.
        tokio::task::coop::consume_budget().await;
        loop {
            match attempt(&mut self.session) {
                Err(error) if error.is_timeout() => {}
                result => return result,
            }
            // What is queued leaves meanwhile.
            let interest = if self.session.outgoing_bytes() > 0 { SPEAKING } else { interest };
            let ready = self.watched.ready(interest);
            let mut ready = match self.session.deadline() {
                None => ready.await,
                Some(deadline) => match tokio::time::timeout_at(deadline.into(), ready).await {
                    Ok(ready) => ready,
                    // The attempt itself sees to the keepalive.
                    Err(_) => continue,
                },
            }
            .map_err(ConnectionError::System)?;
            match attempt(&mut self.session) {
                Err(error) if error.is_timeout() => ready.clear_ready(),
                result => return result,
            }
        }
    }
}

/// Waits until a client that was not let in has left.
async fn see_off(watched: &AsyncFd<Watched<OwnedFd>>, mut connection: Connection) {
    let mut discard = || match connection.discard(Patience::Never) {
        Ok(false) => Ok(None),
        discarded => discarded.map(Some),
    };
    while repeat(watched, Interest::READABLE, &mut discard).await.is_ok() {}
}

/// Remembers a request whose future is dropped.
struct Keeping<'a> {
    session: &'a mut AsyncSession,
    request: Option<RequestId>,
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        self.session.abandoned = self.request;
    }
}

impl AsFd for AsyncSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }
}
