//! What transport daemons share.
//!
//! - [`hello`]: the message between daemons of two hosts, without I/O.
//! - [`server`]: a daemon's end of `org.ipcd.Transport`: its socket, its callers, their calls;
//!   [`callers`]: all of them, and the answers that they have not collected.
//! - [`codec`]: what an encapsulation has to be able to do; [`link`]: one connection through one.
//! - [`start`]: the steps of start-up.
//! - [`pump`]: bytes between two sockets, by splice, until both directions have ended.
//!
//! What a daemon does with a call is its own business; what it may decide about policy is nothing.
#![forbid(unsafe_code)]

pub mod callers;
pub mod codec;
pub mod failure;
pub mod hello;
pub mod link;
pub mod pump;
pub mod server;
pub mod service;
pub mod source;
pub mod start;
pub mod turned_away;
pub mod workers;
pub mod wrapping;
