//! One connection to a transport daemon: one call at a time, or `Listen` for as long as it lasts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libipc::interface::transport::{Empty, LISTEN};
use libipc::varlink::{self, Bytes, CallFlags};
use libipc::wire::{Limits, Message, Progress, Reading, Wire};
use serde::de::DeserializeOwned;
use sys::ancillary::Wait;
use sys::diag::SocketNumber;

use crate::action::Socket;

/// Bytes of a call that waits for its daemon to read it: it may bring what the rules say of 10,000
/// networks.
const CALL_BYTES_MOST: usize = 4 * 1024 * 1024;

/// A connection to a transport daemon.
#[derive(Debug)]
pub(crate) struct Channel(Wire);

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A whole message.
    Message(Message),
    /// Nothing whole yet.
    Nothing,
    /// The daemon is gone, or broke the rules.
    Over,
}

impl Channel {
    /// Connects and sends a message. It never waits: a daemon whose queue is full is busy.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn open(
        path: &Path,
        message: Bytes,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<Self> {
        Self::over(sys::socket::connect_unix_now(path)?, message, descriptor)
    }

    /// As [`Channel::open`], over a socket that is connected already.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn over(
        socket: OwnedFd,
        message: Bytes,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let limits = Limits { queue_bytes: CALL_BYTES_MOST, ..Limits::default() };
        let mut wire = Wire::new(socket, Reading::Eager, limits);
        wire.queue(message, descriptor).map_err(io::Error::other)?;
        wire.flush(Wait::Never).map_err(io::Error::other)?;
        Ok(Self(wire))
    }

    /// Asks to be told of remote peers.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        let flags = CallFlags { more: true, ..CallFlags::default() };
        Self::open(path, varlink::call(LISTEN, &Empty {}, flags), None)
    }

    /// Sends a further message. False if the daemon is gone.
    pub(crate) fn send(&mut self, message: Bytes, descriptor: Option<OwnedFd>) -> bool {
        self.0.queue(message, descriptor).is_ok() && self.0.flush(Wait::Never).is_ok()
    }

    /// Sends what waits. True once nothing does.
    pub(crate) fn flush(&mut self) -> bool {
        self.0.flush(Wait::Never).unwrap_or(true)
    }

    /// Whether something waits to be sent.
    pub(crate) fn has_outgoing(&self) -> bool {
        self.0.has_outgoing()
    }

    /// Reads one message.
    pub(crate) fn read(&mut self) -> Heard {
        loop {
            match self.0.take() {
                Ok(Some(message)) => return Heard::Message(message),
                Ok(None) => {}
                Err(_) => return Heard::Over,
            }
            match self.0.receive(Wait::Never) {
                Ok(Progress::Some) => {}
                Ok(Progress::Blocked) => return Heard::Nothing,
                Ok(Progress::Ended) | Err(_) => return Heard::Over,
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the kernel says of a descriptor that came from a daemon.
pub(crate) fn inspect(descriptor: OwnedFd) -> Socket {
    let fd = descriptor.as_fd();
    let is_connected_stream = !sys::door::is_path(fd).unwrap_or(true)
        && sys::socket::is_stream(fd).unwrap_or(false)
        && !sys::socket::is_listening(fd).unwrap_or(true)
        && matches!(sys::socket::take_error(fd), Ok(None))
        && sys::socket::peer_path(fd).is_ok();
    let is_unix = sys::socket::is_unix(fd).unwrap_or(false);
    let peer =
        if is_connected_stream { sys::socket::peer_address(fd).ok().flatten() } else { None };
    let number = SocketNumber::of(fd);
    Socket { descriptor, is_connected_stream, is_unix, peer, number }
}

/// The parameters of a reply, unless it is an error or something else.
pub(crate) fn read_reply<P: DeserializeOwned>(message: &[u8]) -> Option<P> {
    let reply = varlink::read_reply(message).ok().filter(|reply| reply.error.is_none())?;
    varlink::read_parameters(reply.parameters).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn opened(bytes: usize) -> io::Result<(Channel, UnixStream)> {
        let (own, daemon) = UnixStream::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        daemon.set_nonblocking(true).unwrap();
        Channel::over(own.into(), Bytes::new(vec![b'x'; bytes]), None).map(|own| (own, daemon))
    }

    #[test]
    fn a_call_of_the_most_bytes_waits_for_its_daemon_and_a_longer_one_is_not_made() {
        let (mut channel, mut daemon) = opened(4 << 20).unwrap();
        assert!(channel.has_outgoing());
        let (mut came, mut buffer) = (0, vec![0; 64 << 10]);
        while came < 4 << 20 {
            channel.flush();
            match daemon.read(&mut buffer) {
                Ok(count) => came += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(!channel.has_outgoing());
        assert!(opened((4 << 20) + 1).is_err(), "whoever waits for it hears that it is gone");
    }
}
