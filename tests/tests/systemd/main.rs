//! The installed system, under a real systemd: units, packages, restarts.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a broken premise ends them"
)]

mod clients;
mod doctor;
mod documents;
mod install;
mod journal;
mod logins;
mod restart;
mod system;
mod tls;
mod units;
mod varlink;
