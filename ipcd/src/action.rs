//! What happens to the broker, and what it wants done.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use libipc::identity::LocalIdentity;
use libipc::interface::transport::Arrival;
use libipc::secret::Secret;
use libipc::varlink::Bytes;

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
    },
    /// A client sent a whole message.
    Called {
        /// Which client.
        client: ClientId,
        /// The message, without its NUL.
        message: Bytes,
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
    /// Give a call up: its connection is closed.
    Cancel {
        /// Which call.
        call: CallId,
    },
}
