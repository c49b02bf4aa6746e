//! A real tcpd, called over its socket as the broker calls it, and met over TCP as another host
//! meets it.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

mod arrivals;
mod dialling;
mod process;
mod start;
