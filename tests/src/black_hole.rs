//! A TCP port that takes no connection and refuses none: whoever tries waits.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A listening socket of loopback whose queue is full.
#[derive(Debug)]
pub struct BlackHole {
    /// Where it is.
    pub address: SocketAddr,
    _listener: OwnedFd,
    _queued: Vec<TcpStream>,
}

/// How long an attempt hangs before the queue is believed to be full.
const HANGS: Duration = Duration::from_millis(300);

impl BlackHole {
    /// Opens one.
    #[must_use]
    pub fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = sys::tcp::listen(any, 0).expect("a listener");
        let address = sys::socket::local_address(std::os::fd::AsFd::as_fd(&listener));
        let address = address.expect("it is bound").expect("it has an address");
        let queued = std::iter::from_fn(|| TcpStream::connect_timeout(&address, HANGS).ok());
        let queued = queued.collect();
        Self { address, _listener: listener, _queued: queued }
    }
}

impl Default for BlackHole {
    fn default() -> Self {
        Self::new()
    }
}
