//! The installed system, under a real systemd: units, packages, restarts.

mod install;
mod journal;
mod system;
mod units;
