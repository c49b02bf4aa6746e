//! Ask for a service by name, get a connected descriptor.
#![forbid(unsafe_code)]

pub mod identity;
pub mod name;
pub mod network;
pub mod secret;
