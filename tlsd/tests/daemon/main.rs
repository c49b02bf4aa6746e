//! A real tlsd, called over its socket as the broker calls it, with far ends of every kind.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

mod authority;
mod believed;
mod bytes;
mod far;
mod foreign;
mod keys;
mod openssl;
mod peers;
mod process;
mod proofs;
mod refusals;
mod reload;
mod servers;
mod slow;
mod strange;
