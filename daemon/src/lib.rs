//! Start-up that every daemon of ipcd shares: its log and what is in it, its signals, its account, its service
//! manager, how many descriptors it may have, what it gives up, its exit code.
//!
//! The order is each daemon's own; here are the steps.
#![forbid(unsafe_code)]

pub mod account;
pub mod descriptors;
pub mod due;
pub mod event;
pub mod exit;
pub mod generations;
pub mod log;
pub mod memory;
pub mod notify;
pub mod options;
pub mod sandbox;
pub mod signals;
pub mod start;
