//! A remote peer: from its connection to the service that it gets.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libipc::interface::transport::{Arrival, Proven};
use libipc::interface::tunnel::TunnelError;
use libipc::name::ServiceName;
use relay::hello::{self, Asked, Reader};
use sys::ancillary::{self, Wait};

use crate::dialling::read_exactly;

/// How long a peer may take to say what it wants.
pub(crate) const HELLO_TIME: Duration = Duration::from_secs(5);

/// How long a peer waits for a broker that does not listen: one that is just being started does in
/// a moment.
pub(crate) const BROKER_TIME: Duration = Duration::from_secs(2);

/// How long the broker may take to decide.
pub(crate) const DECISION_TIME: Duration = Duration::from_secs(10);

/// How long a refused peer may take to hear it.
pub(crate) const PARTING_TIME: Duration = Duration::from_secs(1);

/// Peers that are not yet connected to a service, at most.
pub(crate) const PEERS_MOST: usize = 1024;

/// Those of one source: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) const PEERS_PER_ADDRESS_MOST: usize = 64;

/// Pieces of what a refused peer still sends that are read before others are served again.
const DRAINED_CHUNKS: usize = 16;

/// A remote peer that is not yet connected to a service.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its connection.
    pub(crate) socket: OwnedFd,
    /// Where it comes from.
    pub(crate) address: SocketAddr,
    /// The listener that it came to.
    pub(crate) listener: String,
    /// When its time is over.
    pub(crate) deadline: Instant,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Neither a hello nor an answer is for it: it is a plain client of the listener's service, or
    /// another daemon goes on with it.
    pub(crate) is_plain: bool,
    /// How it comes: `tcp`, or the scheme that it goes on by.
    pub(crate) scheme: &'static str,
}

/// How far a peer is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It has not said what it wants.
    Silent(Reader),
    /// The broker has been told.
    Reported,
    /// It was refused, and is given time to hear that.
    Parting,
}

/// What came of listening to a peer.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Nothing whole yet.
    Nothing,
    /// What it wants.
    Asked(Asked),
    /// Nothing that could be answered.
    Garbage,
    /// It is gone.
    Gone,
}

impl Peer {
    /// A peer that has just connected.
    pub(crate) fn new(
        socket: OwnedFd,
        address: SocketAddr,
        listener: String,
        now: Instant,
    ) -> Self {
        let phase = Phase::Silent(Reader::default());
        let deadline = now + HELLO_TIME;
        Self { socket, address, listener, deadline, phase, is_plain: false, scheme: "tcp" }
    }

    /// Listens to what the peer says.
    pub(crate) fn listen(&mut self) -> Heard {
        match &mut self.phase {
            Phase::Silent(reader) => match read_exactly(self.socket.as_fd(), reader) {
                Ok(None) => Heard::Nothing,
                Ok(Some(message)) => match hello::read_unprotected(&message) {
                    Ok(asked) => Heard::Asked(asked),
                    Err(_) => Heard::Garbage,
                },
                Err(crate::dialling::ReadError::Hello(_)) => Heard::Garbage,
                Err(_) => Heard::Gone,
            },
            Phase::Reported => Heard::Nothing,
            Phase::Parting => self.drain(),
        }
    }

    /// Reads and forgets, so that closing does not reset what the peer is still to read.
    fn drain(&self) -> Heard {
        let mut chunk = [0; 4096];
        for _ in 0..DRAINED_CHUNKS {
            match ancillary::receive(self.socket.as_fd(), &mut chunk, 0, Wait::Never) {
                Ok(received) if received.bytes > 0 => {}
                Err(ancillary::ReceiveError::System(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    return Heard::Nothing;
                }
                _ => return Heard::Gone,
            }
        }
        Heard::Nothing
    }

    /// The peer as the broker is told of it.
    pub(crate) fn arrival(
        &self,
        id: u64,
        service: Option<&ServiceName>,
        hops: Option<u32>,
    ) -> Arrival {
        Arrival {
            id,
            scheme: self.scheme.to_owned(),
            listener: self.listener.clone(),
            address: SocketAddr::new(self.address.ip().to_canonical(), self.address.port()),
            service: service.map(ToString::to_string),
            hops,
            identity: Proven::default(),
            user: None,
            secret: None,
        }
    }

    /// Tells the peer no. It has until the new deadline to hear it.
    pub(crate) fn refuse(&mut self, retry: bool, now: Instant) {
        if !self.is_plain {
            // A peer that does not take these few bytes would not hear anything else.
            let _untold = !self.say(&hello::no(TunnelError::no(retry)));
        }
        let _gone = sys::socket::end_sending(self.socket.as_fd()).is_err();
        self.phase = Phase::Parting;
        self.deadline = now + PARTING_TIME;
    }

    /// Tells the peer yes, if that is for it. False if it is gone.
    pub(crate) fn say_yes(&self) -> bool {
        if self.is_plain {
            return true;
        }
        self.say(&hello::yes(None))
    }

    /// False if it does not take all of it now.
    fn say(&self, mut rest: &[u8]) -> bool {
        while !rest.is_empty() {
            let sent = ancillary::send(self.socket.as_fd(), rest, &[], Wait::Never);
            match sent.ok().and_then(|count| rest.get(count..)) {
                Some(left) if left.len() < rest.len() => rest = left,
                _ => return false,
            }
        }
        true
    }
}
