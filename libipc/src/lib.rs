//! Ask for a service by name, get a connected descriptor.
//!
//! ```no_run
//! use std::io::{Read, Write};
//!
//! let mut stream = libipc::connect("pongd")?;
//! stream.write_all(b"ping")?;
//! let mut answer = [0; 4];
//! stream.read_exact(&mut answer)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! - [`connect`] asks the broker `ipcd`, which knows where the name leads, and whether this
//!   program may go there. The [`Stream`] that comes back is a plain socket.
//! - [`Listener`] serves a name; [`Stream::peer`] tells who came.
//! - [`Broker`] keeps a connection to the broker for many calls.
//!
//! The library waits in the calling thread, starts none, never prints, never exits, and raises no
//! signal. What the broker and the library say to each other is in `docs/protocol.md`.
#![forbid(unsafe_code)]

pub mod accept_rules;
pub mod address;
#[cfg(feature = "tokio")]
pub mod async_io;
pub mod broker;
pub mod channel;
pub mod connection;
pub mod connector;
pub mod decoder;
pub mod environment;
pub mod error;
pub mod event_loop;
pub mod frame;
pub mod identity;
pub mod interface;
pub mod length_frame;
pub mod listener;
pub mod name;
pub mod network;
pub mod patience;
pub mod poller;
pub mod private_place;
mod registration;
#[cfg(feature = "rendezvous")]
pub mod rendezvous;
pub mod ring;
pub mod rundir;
#[cfg(feature = "schema")]
pub mod schema;
pub mod secret;
pub mod session;
pub mod shm;
mod shown;
pub mod stream;
pub mod typed;
pub mod unit;
pub mod varlink;
pub mod wire;

pub use accept_rules::AcceptRules;
pub use address::Address;
pub use broker::Broker;
pub use channel::Channel;
pub use connection::{Connection, ConnectionError, Message};
pub use connector::{connect, connect_within};
pub use error::ConnectError;
pub use event_loop::EventLoop;
pub use identity::Identity;
pub use listener::Listener;
pub use name::ServiceName;
pub use patience::Patience;
pub use session::Session;
pub use shm::Shm;
pub use stream::Stream;
