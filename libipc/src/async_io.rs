//! The same library for programs whose event loop is tokio's (feature `tokio`).
//!
//! Every future here may be dropped at any time without losing or doubling a message: what has
//! come of a message, and what has not left of one, stays in the connection. Each method says what
//! has happened to its message if its future is dropped.
//!
//! Nothing here spawns a task; only [`connect`] uses a thread of tokio's for blocking work. The
//! runtime needs its timer only for sessions, whose beginnings and keepalives end in time, and for
//! [`AsyncListener::next`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use connection::{AsyncConnection, AsyncReceiver, AsyncSender};
pub use listener::AsyncListener;
pub use session::AsyncSession;
pub use shared_session::{SharedSession, Subscription};

use crate::address::Address;
use crate::error::ConnectError;
use crate::stream::Stream;

mod connection;
mod listener;
mod session;
mod shared_session;

/// Connects to `address` within `timeout`, as [`Address::connect`] does.
///
/// If its future is dropped, the attempt goes on in a thread until the timeout, and what it brings
/// is closed.
///
/// # Errors
///
/// [`ConnectError`].
pub async fn connect(address: &Address, timeout: Duration) -> Result<Stream, ConnectError> {
    let (address, deadline) = (address.clone(), Instant::now() + timeout);
    tokio::task::spawn_blocking(move || address.connect(deadline))
        .await
        .map_err(|error| ConnectError::System(io::Error::other(error)))?
}

/// A descriptor that tokio watches, and that belongs to what it is in.
#[derive(Debug)]
struct Watched<T>(T);

impl<T: AsFd> AsRawFd for Watched<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches the descriptor of `owner`, which it keeps, and which answers the same one all its life.
#[expect(
    deprecated,
    reason = "the other one is unsafe for owners that change or close their descriptor; ours do not"
)]
fn watch<T: AsFd>(owner: T) -> io::Result<AsyncFd<Watched<T>>> {
    AsyncFd::with_interest(Watched(owner), Interest::READABLE | Interest::WRITABLE)
}

/// What somebody waits for who is to hear something.
const HEARING: Interest = Interest::READABLE;

/// What somebody waits for who is to say something, and may have to hear something before.
const SPEAKING: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Repeats `attempt`, which answers `None` where it would have to wait, whenever the descriptor
/// becomes ready.
///
/// It is tried before anything is waited for: readiness is told at its edge, and what was tried
/// without success will be told anew.
async fn repeat<T, V, E: From<io::Error>>(
    watched: &AsyncFd<T>,
    interest: Interest,
    mut attempt: impl FnMut() -> Result<Option<V>, E>,
) -> Result<V, E>
where
    T: AsRawFd,
{
    // A task whose peer never pauses lets others have their turn.
    tokio::task::coop::consume_budget().await;
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        let mut ready = watched.ready(interest).await?;
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        ready.clear_ready();
    }
}

/// A descriptor that is borrowed by what watches it.
#[derive(Debug)]
struct Shared(std::sync::Arc<std::os::fd::OwnedFd>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
