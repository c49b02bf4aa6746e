//! What transport daemons share.
//!
//! - [`hello`]: the message between daemons of two hosts, without I/O.
//! - [`server`]: a daemon's end of `org.ipcd.Transport`: its socket, its callers, their calls.
//! - [`start`]: the steps of start-up.
//! - [`pump`]: bytes between two sockets, by splice, until both directions have ended.
//!
//! What a daemon does with a call is its own business; what it may decide about policy is nothing.
#![forbid(unsafe_code)]

pub mod hello;
pub mod pump;
pub mod server;
pub mod start;
