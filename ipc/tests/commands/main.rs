//! The commands as they are run, in private run directories without a broker.
#![expect(clippy::unwrap_used, reason = "a broken premise ends the test")]

mod check;
mod connect;
mod doctor;
mod errors;
mod guide;
mod place;
mod rendezvous;
mod serve;
mod session;
