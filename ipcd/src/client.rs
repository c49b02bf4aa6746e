//! One client's connection: which protocol it speaks, and its bytes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use std::time::Instant;

use libipc::identity::LocalIdentity;
use libipc::varlink::Bytes;
use libipc::wire::{self, Limits, Progress, Reading, Wire, WireError};
use sys::ancillary::{self, Wait};
use sys::credentials::PeerCredentials;

use crate::action::{Attached, Message};
use crate::inbox::Inbox;
use crate::lookup::{Lookup, OK, Wanted};

/// Bytes that a client may have waiting to be collected.
pub(crate) const QUEUE_BYTES_MOST: usize = 512 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    protocol: Protocol,
    who: PeerCredentials,
    origin: Origin,
    is_shared: bool,
    /// What lies there for a service that registered on it.
    inbox: Inbox,
}

/// Whence a connection's socket comes, which tells what is set on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Accepted where requests come in: each message carries its sender.
    Requests,
    /// Accepted by a front: nothing was ever set.
    Front,
    /// A client has made it, with whatever was set; it may have kept copies.
    Client,
}

#[derive(Debug)]
enum Protocol {
    /// None: a front's, whose bytes are all for the service.
    Silent(OwnedFd),
    /// Nothing whole has come yet.
    Unknown(Box<Wire>),
    Varlink(Box<Wire>),
    /// The first libipc's.
    Lookup(OwnedFd, Lookup),
    /// Given away or broken.
    Over,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A varlink message.
    Message(Message),
    /// A request in the first libipc's protocol.
    Lookup(Wanted),
}

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Read {
    /// Something whole.
    Sent(Sent),
    /// Nothing whole yet. True if something unfinished is there.
    Nothing { unfinished: bool },
    /// The client is gone, or broke the rules; `why` for the log.
    Over { why: Option<String> },
}

impl Connection {
    /// Takes over an accepted socket.
    pub(crate) fn new(socket: OwnedFd, who: PeerCredentials, origin: Origin) -> Self {
        let limits = Limits { queue_bytes: QUEUE_BYTES_MOST, ..Limits::default() };
        let protocol = match origin {
            Origin::Front => Protocol::Silent(socket),
            Origin::Requests | Origin::Client => {
                Protocol::Unknown(Box::new(Wire::new(socket, Reading::Exact, limits)))
            }
        };
        Self { protocol, who, origin, is_shared: false, inbox: Inbox::default() }
    }

    /// Takes over a socket that a client made, which may already hold a request.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn adopted(socket: OwnedFd, who: PeerCredentials) -> io::Result<Self> {
        sys::credentials::pass_credentials(socket.as_fd(), true)?;
        Ok(Self::new(socket, who, Origin::Client))
    }

    /// Reads until something whole is there, or nothing is left.
    pub(crate) fn read(&mut self) -> Read {
        match &mut self.protocol {
            Protocol::Unknown(wire) => {
                let read = read_varlink(wire, self.who);
                let Read::Sent(Sent::Message(first)) = &read else { return read };
                // A frame of the first libipc begins with a zero, which ends an empty message.
                if first.bytes.is_empty() && !first.is_foreign {
                    return self.begin_lookup();
                }
                self.speak_varlink();
                read
            }
            Protocol::Varlink(wire) => read_varlink(wire, self.who),
            Protocol::Lookup(socket, lookup) => read_lookup(socket.as_fd(), lookup, self.who),
            Protocol::Silent(_) => Read::Nothing { unfinished: false },
            Protocol::Over => Read::Over { why: None },
        }
    }

    /// Reads the first libipc's protocol, whose first byte was taken for a message.
    fn begin_lookup(&mut self) -> Read {
        if let Protocol::Unknown(wire) = std::mem::replace(&mut self.protocol, Protocol::Over) {
            self.protocol = Protocol::Lookup(wire.into_socket(), Lookup::default());
        }
        let Protocol::Lookup(socket, lookup) = &mut self.protocol else {
            return Read::Over { why: None };
        };
        match lookup.push(&[0]) {
            Ok(_) => read_lookup(socket.as_fd(), lookup, self.who),
            Err(error) => Read::Over { why: Some(format!("{error:?}")) },
        }
    }

    fn speak_varlink(&mut self) {
        self.protocol = match std::mem::replace(&mut self.protocol, Protocol::Over) {
            Protocol::Unknown(wire) => Protocol::Varlink(wire),
            other => other,
        };
    }

    /// Queues a message and sends what can be sent. True once nothing waits.
    ///
    /// # Errors
    ///
    /// The client is gone, or does not collect.
    pub(crate) fn send(
        &mut self,
        message: Bytes,
        descriptor: Option<OwnedFd>,
    ) -> Result<bool, WireError> {
        self.speak_varlink();
        let Protocol::Varlink(wire) = &mut self.protocol else { return Ok(true) };
        wire.queue(message, descriptor)?;
        wire.flush(Wait::Never)
    }

    /// Sends what waits. True once nothing does.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(crate) fn flush(&mut self) -> Result<bool, WireError> {
        match &mut self.protocol {
            Protocol::Varlink(wire) => wire.flush(Wait::Never),
            _ => Ok(true),
        }
    }

    /// Whether something waits to be sent.
    pub(crate) fn has_outgoing(&self) -> bool {
        match &self.protocol {
            Protocol::Varlink(wire) => wire.has_outgoing(),
            Protocol::Silent(_) | Protocol::Unknown(_) | Protocol::Lookup(..) | Protocol::Over => {
                false
            }
        }
    }

    /// Gives a client of the first libipc its descriptor: `ok` with the descriptor riding on it.
    pub(crate) fn provide(&mut self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        if let Protocol::Lookup(socket, _) = &self.protocol {
            ancillary::send(socket.as_fd(), OK, &[descriptor], Wait::Never)?;
        }
        Ok(())
    }

    /// Sends a last message and gives the socket away, with nothing of ours left on it: bytes
    /// behind the last call are in it still.
    ///
    /// # Errors
    ///
    /// The client is gone, or has not collected what it was sent before.
    pub(crate) fn give_away(&mut self, last: Option<Bytes>) -> Result<OwnedFd, WireError> {
        if let Some(message) = last
            && !self.send(message, None)?
        {
            return Err(WireError::QueueFull { most: 0 });
        }
        let socket = match std::mem::replace(&mut self.protocol, Protocol::Over) {
            Protocol::Silent(socket) | Protocol::Lookup(socket, _) => socket,
            Protocol::Unknown(wire) | Protocol::Varlink(wire) => wire.into_socket(),
            Protocol::Over => return Err(WireError::System(io::ErrorKind::NotConnected.into())),
        };
        let plain = match self.origin {
            Origin::Client => sys::socket::make_plain(socket.as_fd()),
            Origin::Requests => sys::credentials::pass_credentials(socket.as_fd(), false),
            Origin::Front => Ok(()),
        };
        plain.map_err(WireError::System)?;
        Ok(socket)
    }

    /// Sends a service one of its clients. True once nothing waits.
    ///
    /// # Errors
    ///
    /// The service is gone, or does not collect.
    pub(crate) fn notify(
        &mut self,
        message: Bytes,
        descriptor: Option<OwnedFd>,
        now: Instant,
    ) -> Result<bool, WireError> {
        let bytes = message.len();
        let before = self.inbox.wants_measure(bytes).then(|| self.occupied());
        let sent = self.send(message, descriptor)?;
        if let Some(before) = before {
            self.inbox.measured(bytes, before, self.occupied());
        }
        self.inbox.sent(now);
        Ok(sent)
    }

    /// Whether a service has collected all but fewer than so many of the messages it was sent.
    pub(crate) fn has_fewer_uncollected_than(&self, most: usize) -> bool {
        self.inbox.has_fewer_than(most, || self.occupied())
    }

    /// When [`Connection::is_stuck`] has to be asked.
    pub(crate) fn stuck_at(&self) -> Option<Instant> {
        self.inbox.deadline()
    }

    /// Whether a service has left for too long what it was sent.
    pub(crate) fn is_stuck(&mut self, now: Instant) -> bool {
        let occupied = self.occupied();
        self.inbox.is_stuck(occupied, now)
    }

    fn occupied(&self) -> usize {
        self.socket().and_then(|socket| sys::socket::uncollected(socket).ok()).unwrap_or(0)
    }

    /// Whether the client has sent something that was not read.
    pub(crate) fn is_followed(&self) -> bool {
        let mut first = [0];
        self.socket()
            .is_some_and(|socket| matches!(ancillary::peek(socket, &mut first, Wait::Never), Ok(1)))
    }

    /// Ends it for whoever has copies of it, too.
    pub(crate) fn hang_up(&self) {
        if let Some(socket) = self.socket() {
            // One that is over already needs no end.
            let _over =
                nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both)
                    .is_err();
        }
    }

    /// Takes note that somebody else is given a copy of the socket.
    pub(crate) fn share(&mut self) {
        self.is_shared = true;
    }

    /// Whether somebody else may hold a copy of the socket.
    pub(crate) fn may_be_shared(&self) -> bool {
        self.is_shared || self.origin == Origin::Client
    }

    /// Whether something lies in it that was said to a service: all that comes by a front is.
    pub(crate) fn has_words_for_a_service(&self) -> bool {
        let waits = |socket| sys::unread::unread(socket).is_ok_and(|bytes| bytes > 0);
        self.origin == Origin::Front && self.socket().is_some_and(waits)
    }

    /// The socket, while it is ours.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.protocol {
            Protocol::Silent(socket) | Protocol::Lookup(socket, _) => Some(socket.as_fd()),
            Protocol::Unknown(wire) | Protocol::Varlink(wire) => Some(wire.as_fd()),
            Protocol::Over => None,
        }
    }
}

fn read_varlink(wire: &mut Wire, who: PeerCredentials) -> Read {
    loop {
        match wire.take() {
            Ok(Some(message)) => return Read::Sent(Sent::Message(look_at(message, who))),
            Ok(None) => {}
            Err(error) => return Read::Over { why: Some(error.to_string()) },
        }
        match wire.receive(Wait::Never) {
            Ok(Progress::Some) => {}
            Ok(Progress::Blocked) => {
                return Read::Nothing { unfinished: !wire.pending().is_empty() };
            }
            Ok(Progress::Ended) | Err(WireError::System(_)) => return Read::Over { why: None },
            Err(error) => return Read::Over { why: Some(error.to_string()) },
        }
    }
}

/// Tells what the kernel says of a message, and of what came with it.
fn look_at(message: wire::Message, who: PeerCredentials) -> Message {
    let attached = message.descriptors.into_iter().next().map(|descriptor| {
        let maker = maker_of(descriptor.as_fd(), message.sender);
        Attached { descriptor, maker }
    });
    Message { bytes: message.bytes, is_foreign: message.sender != Some(who), attached }
}

/// Whoever made a connected Unix stream socket, if that is `sender`.
fn maker_of(descriptor: BorrowedFd<'_>, sender: Option<PeerCredentials>) -> Option<LocalIdentity> {
    let fits = sys::socket::is_unix(descriptor).ok()?
        && sys::socket::is_stream(descriptor).ok()?
        && !sys::socket::is_listening(descriptor).ok()?;
    let maker = LocalIdentity::of_peer(descriptor).ok()?;
    let credentials = PeerCredentials { pid: maker.pid, uid: maker.uid, gid: maker.gid };
    (fits && maker.pid.is_some() && Some(credentials) == sender).then_some(maker)
}

fn read_lookup(socket: BorrowedFd<'_>, lookup: &mut Lookup, who: PeerCredentials) -> Read {
    let mut chunk = zeroize::Zeroizing::new([0; 4096]);
    loop {
        let received = match ancillary::receive(socket, &mut *chunk, 0, Wait::Never) {
            Ok(received) if received.bytes == 0 => return Read::Over { why: None },
            Ok(received) => received,
            Err(ancillary::ReceiveError::System(error))
                if error.kind() == io::ErrorKind::WouldBlock =>
            {
                return Read::Nothing { unfinished: true };
            }
            Err(error) => return Read::Over { why: Some(error.to_string()) },
        };
        if received.credentials.map(PeerCredentials::of_message) != Some(who) {
            return Read::Over { why: Some("another process writes here".to_owned()) };
        }
        match lookup.push(chunk.get(..received.bytes).unwrap_or_default()) {
            Ok(Some(wanted)) => return Read::Sent(Sent::Lookup(wanted)),
            Ok(None) => {}
            Err(error) => return Read::Over { why: Some(format!("{error:?}")) },
        }
    }
}
