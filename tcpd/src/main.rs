//! Carries connections of ipcd over TCP: dials for it, and listens for other hosts.
//!
//! It hands over the TCP socket itself; no byte passes through it after that, but for services
//! with a socket of their own, to which it relays. It knows no rules: every address that it tries
//! is decided by the list that came with the call, every peer by the broker.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use daemon::exit::{Failure, finish};
use daemon::notify::Notifier;
use daemon::sandbox::Sockets;
use daemon::signals::Signals;
use daemon::start::{give_up_root, read_config};
use relay::start::{Inheritance, shut_in};

use crate::args::Args;
use crate::config::Config;
use crate::event_loop::EventLoop;
use crate::listeners::{Listeners, OpenError};

mod args;
mod config;
mod dialling;
mod event_loop;
mod failure;
mod keepalive;
mod listeners;
mod options;
mod peer;
mod race;
mod resolver;
mod select;

/// The account that the system's tcpd runs as.
const ACCOUNT: &str = "ipcd-tcpd";

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => finish("tcpd", run(&args)),
        Err(error) => {
            // Where even that cannot be written, nobody reads it.
            let _unwritten = error.print().is_err();
            ExitCode::from(if error.use_stderr() { 64 } else { 0 })
        }
    }
}

/// Starts `tcpd` and serves until told to stop. The order is the contract: nothing is opened
/// before the configuration is known to be good, sockets are bound while
/// there are rights to bind them, root is given up before the first byte of a stranger is read,
/// and the broker finds us only once we answer.
fn run(args: &Args) -> Result<(), Failure> {
    let inherited = Inheritance::take();
    let config = read_config(args.config.as_deref(), Config::parse)?;
    let signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    let log = args.log.start();
    if let Err(error) = daemon::descriptors::raise_limit() {
        tracing::warn!(event = "few-descriptors", %error);
    }
    let directory = args.broker.directory()?;
    let listeners = Listeners::open(inherited.others, &args.listen, config.listen).map_err(
        |error| match error {
            OpenError::NotInherited(_) => Failure::Config(error.to_string()),
            OpenError::System { .. } => Failure::System(error.to_string()),
        },
    )?;
    let server = relay::start::serve(inherited.place, &directory, args.name.as_str())
        .map_err(|error| Failure::System(error.to_string()))?;
    if !give_up_root(&directory, ACCOUNT)? {
        tracing::warn!(event = "running-as-root", account = ACCOUNT);
    }
    let mut notifier = Notifier::of_process(Instant::now());
    shut_in(&directory, Sockets::Internet, &[], log)?;
    let mut event_loop = EventLoop::new(server, listeners, signals)
        .map_err(|error| Failure::system("the event loop", &error))?;
    tracing::info!(event = "started", rundir = ?directory.path());
    notifier.ready("Connecting and listening as the broker says");
    event_loop.run(&mut notifier).map_err(|error| Failure::system("the event loop", &error))?;
    notifier.stopping();
    tracing::info!(event = "stopped");
    Ok(())
}
