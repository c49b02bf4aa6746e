//! What administrators see: decisions as they are made, what was handed over, numbers; and what
//! they can end.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

mod connections;
mod decisions;
mod options;
mod reload;
mod tables;
mod watching;
