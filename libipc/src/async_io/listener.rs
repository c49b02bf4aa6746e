//! Serving a name.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{AsyncConnection, Watched, repeat, watch};
use crate::accept_rules::AcceptRules;
use crate::connection::Options;
use crate::listener::{Listener, REST};
use crate::stream::Stream;

/// A [`Listener`] whose clients are waited for without blocking a thread.
///
/// ```
/// use std::time::Duration;
///
/// use libipc::Address;
/// use libipc::async_io::{AsyncListener, connect};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// # let address = format!("@libipc-async-{}", std::process::id());
/// let address: Address = address.parse().unwrap();
/// let listener = AsyncListener::new(address.listen()?)?;
/// let client = connect(&address, Duration::from_secs(10)).await?;
/// let server = listener.accept().await?;
/// # drop((client, server));
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncListener {
    watched: AsyncFd<Watched<Listener>>,
}

impl AsyncListener {
    /// Takes over a listener.
    ///
    /// # Errors
    ///
    /// The system's: there is no runtime of tokio's with its I/O enabled, or no memory.
    pub fn new(listener: Listener) -> io::Result<Self> {
        Ok(Self { watched: watch(listener)? })
    }

    /// Waits for a client. If the future is dropped, no client is lost.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`].
    pub async fn accept(&self) -> io::Result<Stream> {
        let listener = &self.watched.get_ref().0;
        repeat(&self.watched, Interest::READABLE, || listener.try_accept()).await
    }

    /// The next client, as [`Listener::clients`] has them; `None` once another process has taken the
    /// name over. If the future is dropped, no client is lost.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use libipc::Address;
    /// use libipc::async_io::AsyncListener;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// # let address = format!("@libipc-next-{}", std::process::id());
    /// # let address: Address = address.parse().unwrap();
    /// let listener = AsyncListener::new(address.listen()?)?;
    /// # let _client = libipc::async_io::connect(&address, Duration::from_secs(10)).await?;
    /// while let Some(stream) = listener.next(|error| eprintln!("greeter: {error}")).await {
    ///     tokio::spawn(async move { drop(stream) });
    /// #   break;
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn next(&self, mut told: impl FnMut(&io::Error)) -> Option<Stream> {
        loop {
            match self.accept().await {
                Ok(stream) => return Some(stream),
                Err(error) => {
                    told(&error);
                    if error.kind() == io::ErrorKind::AddrInUse {
                        return None;
                    }
                }
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Waits for a client that is let in, as [`AcceptRules::accept`] does. If the future is
    /// dropped, no client is lost.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`].
    pub async fn accept_by(
        &self,
        rules: &AcceptRules,
        options: Options,
    ) -> io::Result<AsyncConnection> {
        loop {
            let stream = self.accept().await?;
            if let Some(connection) = rules.admit(stream, options)? {
                return AsyncConnection::new(connection);
            }
        }
    }
}
