//! Carries connections of ipcd over TCP: dials for it, and listens for other hosts.
//!
//! It hands over the TCP socket itself; no byte passes through it after that, but for services
//! with a socket of their own, to which it relays. It knows no rules: every address that it tries
//! is decided by the list that came with the call, every peer by the broker.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use daemon::exit::{Failure, finish};
use daemon::notify::Notifier;
use daemon::signals::Signals;
use libipc::environment::Environment;
use libipc::listener::ListenError;
use libipc::rundir::{Instance, RunDirectory};
use relay::server::Server;
use sys::inherited::Inherited;

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
    let (place, inherited) = split(sys::inherited::take());
    let config = read_config(args)?;
    let signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    daemon::log::start(args.log_format, args.log_level)
        .map_err(|error| Failure::system("the log", &error))?;
    if let Err(error) = daemon::descriptors::raise_limit() {
        tracing::warn!(event = "few-descriptors", %error);
    }
    let directory = run_directory(args)?;
    let listeners =
        Listeners::open(inherited, &args.listen, config.listen).map_err(|error| match error {
            OpenError::NotInherited(_) => Failure::Config(error.to_string()),
            OpenError::System { .. } => Failure::System(error.to_string()),
        })?;
    let server = serve(place, &directory, args.name.as_str())
        .map_err(|error| Failure::System(error.to_string()))?;
    give_up_root(&directory)?;
    let mut event_loop = EventLoop::new(server, listeners, signals)
        .map_err(|error| Failure::system("the event loop", &error))?;
    tracing::info!(event = "started", rundir = ?directory.path());
    let mut notifier = Notifier::of_process(Instant::now());
    notifier.ready("Connecting and listening as the broker says");
    event_loop.run(&mut notifier).map_err(|error| Failure::system("the event loop", &error))?;
    notifier.stopping();
    tracing::info!(event = "stopped");
    Ok(())
}

/// What the service manager passed: a Unix socket at our place in the run directory, for the
/// broker, if any; and sockets for other hosts.
fn split(inherited: Vec<Inherited>) -> (Option<OwnedFd>, Vec<Inherited>) {
    let is_place = |one: &Inherited| sys::socket::is_unix(one.descriptor.as_fd()).unwrap_or(false);
    let (mut places, others): (Vec<_>, Vec<_>) = inherited.into_iter().partition(is_place);
    (places.pop().map(|place| place.descriptor), others)
}

fn serve(
    place: Option<OwnedFd>,
    directory: &RunDirectory,
    name: &str,
) -> Result<Server, ListenError> {
    match place {
        Some(place) => Server::from_socket(place),
        None => Server::bind(directory, name),
    }
}

fn read_config(args: &Args) -> Result<Config, Failure> {
    let Some(path) = &args.config else { return Ok(Config::default()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Config(format!("{name}: cannot be read: {error}")))?;
    Config::parse(&name, &text).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::Config(problems.join("\n"))
    })
}

fn run_directory(args: &Args) -> Result<RunDirectory, Failure> {
    let environment = Environment::of_process();
    let named = args.rundir.as_ref().or(environment.rundir.as_ref().filter(|_| !args.user));
    if let Some(path) = named {
        let path = std::path::absolute(path)
            .map_err(|error| Failure::system("the run directory", &error))?;
        return Ok(RunDirectory::named(&path, &environment));
    }
    if nix::unistd::geteuid().is_root() && !args.user {
        return Ok(RunDirectory::system());
    }
    RunDirectory::user(&environment).ok_or_else(|| {
        Failure::Usage(
            "XDG_RUNTIME_DIR is not set: name the run directory with --rundir DIR".to_owned(),
        )
    })
}

/// The system's tcpd, started as root, goes on as its own account where there is one.
fn give_up_root(directory: &RunDirectory) -> Result<(), Failure> {
    if directory.instance() != Instance::System || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let switched = daemon::account::switch_to(ACCOUNT)
        .map_err(|error| Failure::system("cannot give up root", &error))?;
    if !switched {
        tracing::warn!(event = "running-as-root", account = ACCOUNT);
    }
    Ok(())
}
