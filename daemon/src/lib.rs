//! Start-up that every daemon of ipcd shares: its log, its signals, its account, its exit code.
//!
//! The order is each daemon's own; here are the steps.
#![forbid(unsafe_code)]

pub mod account;
pub mod exit;
pub mod log;
pub mod signals;
