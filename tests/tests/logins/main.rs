//! Logins between two hosts: who has proven what, and what becomes of one that proves nothing.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

mod authd;
mod canary;
mod cores;
mod hosts;
mod identities;
mod killed;
mod verifiers;
