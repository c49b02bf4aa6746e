//! What happens to the broker, and what it wants done.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libipc::identity::LocalIdentity;
use libipc::interface::transport::Arrival;
use libipc::name::ServiceName;
use libipc::secret::Secret;
use libipc::varlink::{self, Bytes};
use sys::diag::SocketNumber;

use crate::connections::ConnectionId;
use crate::kept::Purpose;

/// A client's connection. Never used again for another one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ClientId(pub(crate) u64);

/// A call to a transport daemon. Never used again for another one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct CallId(pub(crate) u64);

/// Something that happened. Facts only: whoever reports it decides nothing.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody connected.
    Connected {
        /// Under which id from now on.
        client: ClientId,
        /// Who.
        identity: LocalIdentity,
        /// Which way in.
        entrance: Entrance,
    },
    /// A connection that is listed came to nothing: its client was gone.
    NotGiven {
        /// What is listed.
        listed: ConnectionId,
    },
    /// A connection that the last broker had is this one's now.
    Restored {
        /// Under which id from now on.
        client: ClientId,
        /// Who.
        identity: LocalIdentity,
        /// What it is for.
        purpose: Purpose,
    },
    /// A client sent a whole message.
    Called {
        /// Which client.
        client: ClientId,
        /// The message.
        message: Message,
    },
    /// A client of the first libipc asked.
    LookedUp {
        /// Which client.
        client: ClientId,
        /// The name, as it was sent.
        name: String,
        /// Its `IPC_NETWORK`.
        network: Secret,
    },
    /// A client is gone.
    Left {
        /// Which client.
        client: ClientId,
    },
    /// A transport daemon answered a call, or will not.
    Answered {
        /// Which call.
        call: CallId,
        /// What came.
        answer: Answer,
    },
    /// A remote peer asks for a service.
    Arrived {
        /// The daemon that brings it.
        daemon: String,
        /// The peer.
        arrival: Arrival,
    },
    /// A daemon no longer moves the bytes of a connection.
    RelayEnded {
        /// The daemon.
        daemon: String,
        /// Its number for the connection.
        id: u64,
    },
}

/// Which way a client came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entrance {
    /// The broker's own socket.
    Broker,
    /// A further broker socket, which the service manager named.
    Named(String),
    /// A front: to connect there is to ask for this name.
    Front(ServiceName),
    /// A socket pair's end that this client handed over.
    Adopted(ClientId),
}

/// A message of a client.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its bytes, without the NUL.
    pub(crate) bytes: Bytes,
    /// Another process wrote it than the one that made the connection.
    pub(crate) is_foreign: bool,
    /// What came with it.
    pub(crate) attached: Option<Attached>,
}

/// A descriptor that a client sent, and what the kernel says of it.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The descriptor.
    pub(crate) descriptor: OwnedFd,
    /// Whoever made it, if it is a connected Unix stream socket that the writer of the message
    /// made; `None` for anything else.
    pub(crate) maker: Option<LocalIdentity>,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A reply came.
    Reply {
        /// The message, without its NUL.
        message: Bytes,
        /// What came with it.
        socket: Option<Socket>,
    },
    /// The daemon does not run, or went away.
    Gone,
}

impl Answer {
    /// Whether it is a reply, and no error.
    pub(crate) fn is_yes(&self) -> bool {
        match self {
            Self::Gone => false,
            Self::Reply { message, .. } => {
                varlink::read_reply(message).is_ok_and(|reply| reply.error.is_none())
            }
        }
    }
}

/// A descriptor that a transport daemon made, and what the kernel says of it.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The descriptor.
    pub(crate) descriptor: OwnedFd,
    /// It is a connected stream socket without a pending error.
    pub(crate) is_connected_stream: bool,
    /// It is a Unix socket.
    pub(crate) is_unix: bool,
    /// The other end, if it is on the internet.
    pub(crate) peer: Option<SocketAddr>,
    /// What the kernel knows it by.
    pub(crate) number: Option<SocketNumber>,
}

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a message to a client, with or without a descriptor; then listen to it again.
    Reply {
        /// Which client.
        client: ClientId,
        /// The message, with its NUL.
        message: Bytes,
        /// What rides on it.
        descriptor: Option<OwnedFd>,
    },
    /// Give a client of the first libipc its connected descriptor.
    Provide {
        /// Which client.
        client: ClientId,
        /// The descriptor; a door is first connected through.
        descriptor: OwnedFd,
    },
    /// Send an error to a client that wanted its connection to become a stream; then listen to it
    /// again, or close it if more than its call is there by then: bytes for a service that it does
    /// not get are no calls.
    Refuse {
        /// Which client.
        client: ClientId,
        /// The error, with its NUL.
        message: Bytes,
    },
    /// Make a client of a descriptor that another one sent.
    Adopt {
        /// Which client sent it.
        through: ClientId,
        /// The descriptor.
        descriptor: OwnedFd,
        /// Who made it.
        maker: LocalIdentity,
    },
    /// Give a client's connection itself away, after a last answer to it.
    PassOn {
        /// Which client.
        client: ClientId,
        /// The answer, with its NUL; a client of a front gets none.
        answer: Option<Bytes>,
        /// Who gets it.
        receiver: Receiver,
        /// What is listed about it, which is over if the client is gone.
        listed: Option<ConnectionId>,
    },
    /// Give a client's connection itself to a transport daemon, after a last answer to it.
    Join {
        /// Which client.
        client: ClientId,
        /// The answer, with its NUL; a client of a front gets none.
        answer: Option<Bytes>,
        /// The answered call on whose connection it goes on.
        before: CallId,
        /// The further call.
        call: CallId,
        /// The message of that, with its NUL.
        message: Bytes,
    },
    /// Give a client of the first libipc one end of a pair, and the other to a service.
    ProvidePair {
        /// Which client.
        client: ClientId,
        /// The connection on which the service registered.
        registration: ClientId,
        /// The message that tells it, with its NUL.
        message: Bytes,
    },
    /// Have a service's connection outlive this broker.
    Keep {
        /// Which client serves.
        client: ClientId,
        /// Which name.
        service: ServiceName,
    },
    /// Listen to a client again: its call has no answer.
    Resume,
    /// Tell a service that registered: of a peer that a transport daemon brought, or of something
    /// that is no new client.
    Notify {
        /// The connection on which the service registered.
        registration: ClientId,
        /// The message, with its NUL.
        message: Bytes,
        /// The peer's connection.
        descriptor: Option<OwnedFd>,
    },
    /// Send a message to a client that watches; whether it has read the last one or not.
    Tell {
        /// Which client.
        client: ClientId,
        /// The message, with its NUL.
        message: Bytes,
    },
    /// Close a client's connection.
    Drop {
        /// Which client.
        client: ClientId,
    },
    /// Call a transport daemon.
    Call {
        /// Under which id.
        call: CallId,
        /// Which daemon.
        daemon: String,
        /// The message, with its NUL.
        message: Bytes,
        /// What rides on it.
        descriptor: Option<OwnedFd>,
        /// The answered call on whose connection it is made: what that one has opened lives as long
        /// as its connection.
        via: Option<CallId>,
    },
    /// Tell a generation of a daemon that is finishing, where it tells of peers.
    TellFinishing {
        /// The daemon.
        daemon: String,
        /// Which generation.
        generation: u64,
        /// A call without an answer.
        message: Bytes,
    },
    /// Keep the connection of a call that was answered just now, under another id, for a further
    /// call.
    Hold {
        /// The answered call.
        before: CallId,
        /// Under which id from now on.
        call: CallId,
    },
    /// Ask a service, as a client of our own.
    Ask {
        /// Under which id.
        call: CallId,
        /// Which service.
        service: ServiceName,
        /// The call to it, with its NUL.
        message: Bytes,
        /// How long a connection to it may take.
        timeout: Duration,
    },
    /// Give a call up: its connection is closed.
    Cancel {
        /// Which call.
        call: CallId,
    },
}

/// Who gets a client's connection.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The connection on which a service registered.
    pub(crate) registration: ClientId,
    /// The message that tells it, with its NUL.
    pub(crate) message: Bytes,
}
