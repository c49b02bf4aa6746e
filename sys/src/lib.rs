//! What ipcd needs from the kernel and std lacks. The only crate with `unsafe`.
//!
//! - [`ancillary`] receives and sends descriptors; every one is owned before anything is checked.
//! - [`credentials`] tells who made a connection.
//! - [`abstract_name`] is about sockets without a file.
//! - [`door`] opens the socket of a service without connecting to it, and connects through it.
//! - [`diag`] finds sockets by the number that the kernel gave them.
//! - [`file`](mod@file) opens what somebody named, so that what was checked is what is read.
//! - [`loopback`] is the device of a network namespace's own.
//! - [`map`], [`memfd`], [`futex`]: memory that processes have in common; [`random`]: bytes that
//!   nobody can guess.
//! - [`process`] tells whether a process lives, and takes copies of its descriptors.
//! - [`socket`], [`tcp`], [`inherited`], [`splice`], [`secure`], [`child`]: options, beginnings,
//!   sockets of the service manager, bytes that never reach user space, raised rights, signals of
//!   a child.
//! - [`unread`]: what lies unread in a Unix stream, and what that does when it is closed.
//! - [`wiped`]: memory that is overwritten before it is given back.
//!
//! Nothing here decides anything: these are the kernel's words in types that own what they hold.

pub mod abstract_name;
pub mod ancillary;
pub mod child;
pub mod credentials;
pub mod diag;
pub mod door;
pub mod file;
pub mod forgetful;
pub mod futex;
pub mod inherited;
pub mod loopback;
pub mod map;
pub mod memfd;
pub mod process;
pub mod random;
pub mod secure;
pub mod socket;
pub mod splice;
pub mod tcp;
pub mod unread;
pub mod wiped;
