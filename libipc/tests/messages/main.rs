//! Messages against the bytes of the programs that came before ours.
#![expect(clippy::unwrap_used, reason = "a broken premise ends the test")]

mod frames;
mod session;
mod vectors;
