//! Targets, routes and rules of `ipcd`: texts to types, (rules, request) to verdict.
//!
//! This crate opens nothing, reads no clock and looks nothing up by itself: configuration comes in
//! as text, accounts through [`accounts::Accounts`], facts about a request as arguments. What goes
//! out is a decision and the reasons for it.
//!
//! - [`config::Config`] is everything that the administrator has written. Holding one proves that
//!   it is valid.
//! - [`decide::decide`] says where a name leads for whoever asks, and whether that is allowed.
//! - [`evaluate::evaluate`] is the one place where rules meet a request.
//!
//! The language of the rules, for administrators, is described in `docs/policy.md`.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod address;
pub mod check;
pub mod config;
pub mod decide;
pub mod described;
pub mod dump;
pub mod evaluate;
pub mod expectation;
pub mod explain;
pub mod fact;
pub mod fronts;
pub mod host;
pub mod lint;
pub mod pattern;
pub mod peer;
pub mod query;
pub mod redirect;
pub mod resolved;
pub mod route;
pub mod rule;
pub mod rules;
pub mod scheme;
pub mod special;
pub mod subject;
pub mod target;

mod bits;
mod cure;
#[cfg(test)]
mod fixture;
mod index;
mod merge;
#[cfg(test)]
mod sampling;
