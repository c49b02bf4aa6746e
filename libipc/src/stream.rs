//! A connected stream of bytes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::ancillary::{self, ReceiveError, Wait};
use sys::socket::SocketKind;

use crate::identity::{Identity, LocalIdentity, Peer};
use crate::unit::Units;

/// A connected, blocking, close-on-exec stream of bytes to a service, or to a client.
///
/// It is a plain socket of the kernel (Unix or TCP): [`OwnedFd::from`] gives it away, and no part
/// of ipcd has to live for it to go on. Dropping it closes it. Writing to a closed peer is an
/// error, never a signal. It also works if somebody has set the descriptor non-blocking: reads and
/// writes then wait by themselves.
///
/// ```
/// use std::io::{Read, Write};
/// use libipc::Stream;
///
/// let (mut near, mut far) = Stream::pair()?;
/// near.write_all(b"hello")?;
/// drop(near);
/// let mut text = String::new();
/// far.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    // Of std's types the one that offers shutdown, time-outs and duplication for any socket.
    socket: Arc<UnixStream>,
    peer: Peer,
    target: Option<Box<str>>,
}

impl Stream {
    /// Takes over a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd, peer: Option<Identity>) -> Self {
        Self { socket: Arc::new(socket.into()), peer: Peer::known(peer), target: None }
    }

    /// Takes over a Unix socket that is connected to a process of this host, whose identity is
    /// looked up when somebody asks for it.
    pub(crate) fn local(socket: OwnedFd) -> Self {
        Self { socket: Arc::new(socket.into()), peer: Peer::local(), target: None }
    }

    /// A handle that does not keep the connection open, and can end it while somebody has it.
    pub(crate) fn watched(&self) -> Weak<UnixStream> {
        Arc::downgrade(&self.socket)
    }

    /// Two streams that are connected to each other, both of this process.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = sys::socket::unix_pair(SocketKind::Stream)?;
        Ok((Self::new(left, None), Self::new(right, None)))
    }

    /// What is proven about the other end; `None` where nobody has looked. Of a process of this
    /// host the units are there only if the broker had to know them: [`Stream::peer_units`] looks.
    ///
    /// For a client it is the kernel's word about whoever made the service's socket, where the
    /// client has connected to that by itself: at a path, under an abstract name, or under a
    /// service name where there is no broker. Of a service that a broker has led to nothing is
    /// known here but [`Stream::target`]: the other end may be a daemon that carries the bytes.
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        self.peer.identity(self.as_fd())
    }

    /// In which units the other end is: by the word of the broker, or else by a look at the process
    /// that made the connection, which takes some 10 us and does not wait.
    ///
    /// Both are unknown for a peer on another host, a process that has ended, one that no service
    /// manager runs, one that had its connection made by another process, and where this process
    /// sees no others in `/proc` (a unit of its own needs `ProtectProc=default`).
    #[must_use]
    pub fn peer_units(&self) -> Units {
        let Some(Identity::Local(peer)) = self.peer() else { return Units::default() };
        if peer.unit.is_some() || peer.user_unit.is_some() {
            return Units { unit: peer.unit.clone(), user_unit: peer.user_unit.clone() };
        }
        // What the broker has brought may have been made by another process than the client.
        let is_the_maker = LocalIdentity::of_peer(self.as_fd())
            .is_ok_and(|maker| maker.pid.is_some() && maker.pid == peer.pid);
        if is_the_maker { Units::of_peer(self.as_fd()) } else { Units::default() }
    }

    /// The same stream, with what somebody has found out about the other end.
    #[must_use]
    pub(crate) fn with_peer(self, peer: Identity) -> Self {
        Self { peer: Peer::known(Some(peer)), ..self }
    }

    /// Where the broker says that the name led, as rules write it: `tcp:db1.example.com:5432`, or
    /// `unix:NAME` for a service of this host. `None` where no broker was asked.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The same stream, with where the broker says that the name led.
    #[must_use]
    pub(crate) fn with_target(self, target: &str) -> Self {
        Self { target: Some(target.into()), ..self }
    }

    /// As [`Stream::peer`], for whoever takes the socket over.
    pub(crate) fn peer_to_be_asked(&self) -> Peer {
        self.peer.clone()
    }

    /// Whether the other end is known to be on another host: bytes get there, descriptors do not,
    /// also where a daemon of this host carries them.
    pub(crate) fn leads_elsewhere(&self) -> bool {
        let is_local = |target: &str| target.starts_with("unix:");
        self.peer.is_remote() || self.target().is_some_and(|target| !is_local(target))
    }

    /// Sends small pieces at once, where that means something; elsewhere nothing happens.
    pub fn set_nodelay(&self) {
        // A Unix socket has no such delay, and refuses the option.
        let _unix = sys::tcp::set_nodelay(self.as_fd()).is_err();
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOTCONN` if the peer is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Bounds how long a read waits; `None`: for ever.
    ///
    /// # Errors
    ///
    /// The kernel's; [`io::ErrorKind::InvalidInput`] for zero.
    pub fn set_read_timeout(&self, span: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(span)
    }

    /// Bounds how long a write waits; `None`: for ever.
    ///
    /// # Errors
    ///
    /// The kernel's; [`io::ErrorKind::InvalidInput`] for zero.
    pub fn set_write_timeout(&self, span: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(span)
    }

    /// Another handle to the same connection.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let (peer, target) = (self.peer.clone(), self.target.clone());
        Ok(Self { socket: Arc::new(self.socket.try_clone()?), peer, target })
    }

    /// Whether a call that would block has to be waited for here: the descriptor is non-blocking
    /// without a time-out of ours.
    fn waits_by_itself(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock && is_nonblocking(self.as_fd())
    }

    fn wait_for(&self, what: PollFlags, limit: Option<Duration>) -> io::Result<()> {
        let timeout = match limit {
            Some(limit) => PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        match poll(&mut [PollFd::new(self.as_fd(), what)], timeout) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_nonblocking(descriptor: BorrowedFd<'_>) -> bool {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(descriptor, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match ancillary::receive(self.as_fd(), buffer, 0, Wait::Block) {
                Ok(received) => return Ok(received.bytes),
                Err(ReceiveError::System(error)) if self.waits_by_itself(&error) => {
                    self.wait_for(PollFlags::POLLIN, self.socket.read_timeout()?)?;
                }
                Err(ReceiveError::System(error)) => return Err(error),
                Err(error @ ReceiveError::TooManyDescriptors { .. }) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match ancillary::send(self.as_fd(), bytes, &[], Wait::Block) {
                Err(error) if self.waits_by_itself(&error) => {
                    self.wait_for(PollFlags::POLLOUT, self.socket.write_timeout()?)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        let mut socket = stream.socket;
        loop {
            match Arc::try_unwrap(socket) {
                Ok(socket) => return socket.into(),
                // Somebody is just ending the connection, which takes one system call.
                Err(shared) => socket = shared,
            }
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_stream_may_end() {
        let (mut left, mut right) = Stream::pair().unwrap();
        left.set_nodelay();
        left.write_all(b"question").unwrap();
        left.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        right.read_to_string(&mut text).unwrap();
        right.write_all(b"answer").unwrap();
        drop(right);
        let mut answer = String::new();
        left.read_to_string(&mut answer).unwrap();
        assert_eq!((text.as_str(), answer.as_str()), ("question", "answer"));
        assert_eq!(left.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn units_are_those_told_or_else_those_of_the_maker_and_of_nobody_else() {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = Units::parse(&own);
        let brought = |client: LocalIdentity| {
            let (socket, _other) = sys::socket::unix_pair(SocketKind::Stream).unwrap();
            Stream::new(socket, Some(Identity::Local(client))).peer_units()
        };
        let process = LocalIdentity::of_process().unwrap();
        assert_eq!(brought(process.clone()), own);
        let told = Units { unit: Some("shop.service".to_owned()), user_unit: None };
        let unit = told.unit.clone();
        assert_eq!(brought(LocalIdentity { unit, ..process.clone() }), told);
        let pid = Some(std::os::unix::process::parent_id());
        assert_eq!(brought(LocalIdentity { pid, ..process.clone() }), Units::default());
        assert_eq!(brought(LocalIdentity { pid: None, ..process }), Units::default());
        assert_eq!(Stream::pair().unwrap().0.peer_units(), Units::default());
    }

    #[test]
    fn a_nonblocking_descriptor_is_waited_for() {
        let (mut left, right) = Stream::pair().unwrap();
        sys::socket::set_blocking(right.as_fd(), false).unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 5];
            (&right).read_exact(&mut buffer).unwrap();
            buffer
        });
        left.write_all(b"hello").unwrap();
        assert_eq!(&reader.join().unwrap(), b"hello");
    }

    #[test]
    fn time_outs_hold_whatever_the_flags() {
        let (_left, mut right) = Stream::pair().unwrap();
        right.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        for blocking in [true, false] {
            sys::socket::set_blocking(right.as_fd(), blocking).unwrap();
            let error = right.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
