//! Messages against the bytes of the programs that came before ours.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

mod endurance;
mod frames;
mod interrupted;
mod session;
mod vectors;
