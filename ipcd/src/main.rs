//! The broker: programs ask it for a service by name, and get a connected descriptor.
//!
//! It has no network of its own. Where a name leads elsewhere, a transport daemon dials, and the
//! descriptor that it makes is handed on. Decisions are in [`broker`], which does no I/O; the
//! [`event_loop`] reports to it and carries out what it says. See `ARCHITECTURE.md`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use daemon::exit::{Failure, finish};
use daemon::log::Log;
use daemon::memory;
use daemon::notify::Notifier;
use daemon::sandbox::{Sandbox, Sockets};
use daemon::signals::Signals;
use libipc::environment::Environment;
use libipc::rundir::{Instance, RunDirectory};

use crate::accounts::HostAccounts;
use crate::args::Args;
use crate::broker::Broker;
use crate::children::Children;
use crate::event_loop::EventLoop;
use crate::files::Files;
use crate::world::Host;

mod accounts;
mod action;
mod answer;
mod args;
mod asking;
mod audit;
mod broker;
mod channel;
mod children;
mod client;
mod connections;
mod decision;
mod entrance;
mod event_loop;
mod files;
mod fronts;
mod inbox;
mod kept;
mod lobby;
mod lookup;
mod metrics;
mod monitors;
mod patience;
mod place;
mod process;
mod reload;
mod service;
mod world;

fn main() -> ExitCode {
    let args = match Args::from_env() {
        Ok(args) => args,
        Err(error) => {
            // Where even that cannot be written, nobody reads it.
            let _unwritten = error.print().is_err();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    finish("ipcd", run(&args))
}

/// Starts `ipcd` and serves until told to stop. The order is the contract: nothing is opened
/// before the configuration is known to be good, the socket is there only once a client would be
/// answered, and root is given up before the first client.
fn run(args: &Args) -> Result<(), Failure> {
    let inherited = sys::inherited::take();
    let environment = Environment::of_process();
    let directory = place::run_directory(args, &environment)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let files = Files::of(directory.instance(), args.config.as_deref(), args.policy.clone());
    if args.check {
        // As whom the broker reads them: what root alone may read, it does not.
        if args.config.is_none() {
            give_up_root(&directory)?;
        }
        return check(&files, &directory, args.strict);
    }
    refuse_partial_maps()?;
    let signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    let log = args.log.start();
    let live =
        reload::load(&files, &directory).map_err(|refusal| Failure::Config(refusal.to_string()))?;
    let (kept, inherited) = kept::take(inherited);
    let ways =
        place::open(&directory, inherited).map_err(|error| Failure::System(error.to_string()))?;
    let places = files.places();
    let host = Host::new(&directory, files)
        .map_err(|error| Failure::system("the run directory", &error))?;
    give_up_root(&directory)?;
    // Logins of clients and of redirects pass through it.
    memory::hide()?;
    let uid = nix::unistd::geteuid().as_raw();
    let mut broker = Broker::new(directory.clone(), uid, live, Instant::now());
    match daemon::descriptors::raise_limit() {
        Ok(descriptors) => {
            broker.set_descriptors(usize::try_from(descriptors).unwrap_or(usize::MAX));
        }
        Err(error) => tracing::warn!(event = "few-descriptors", %error),
    }
    let mut event_loop = EventLoop::new(&directory, ways, signals, broker, &host)
        .map_err(|error| Failure::system("the event loop", &error))?;
    let children = Children::start(&args.with, &directory)
        .map_err(|error| Failure::system("cannot start a child", &error))?;
    event_loop.mind(children);
    let mut notifier = Notifier::of_process(Instant::now());
    shut_in(args, &directory, &places, log)?;
    tracing::info!(
        event = "started",
        rundir = ?directory.path(),
        instance = directory.instance().as_str(),
    );
    event_loop.restore(kept, &notifier, Instant::now());
    event_loop.run(&mut notifier).map_err(|error| Failure::system("the event loop", &error))?;
    notifier.stopping();
    tracing::info!(event = "stopped");
    Ok(())
}

/// Under a partial map all strangers have one uid, and nobody can be told apart.
fn refuse_partial_maps() -> Result<(), Failure> {
    match sys::credentials::id_maps_are_full() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Config(
            "this user namespace does not map all users, so that clients cannot be told apart: \
             run without PrivateUsers= and outside rootless containers"
                .to_owned(),
        )),
        Err(error) => Err(Failure::system("/proc/self/uid_map", &error)),
    }
}

/// The system's broker, started as root, goes on as the account `ipcd` where there is one.
fn give_up_root(directory: &RunDirectory) -> Result<(), Failure> {
    if directory.instance() != Instance::System || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let switched = daemon::account::switch_to(place::ACCOUNT)
        .map_err(|error| Failure::system("cannot give up root", &error))?;
    if !switched {
        tracing::warn!(event = "running-as-root", account = place::ACCOUNT);
    }
    Ok(())
}

/// From here on the broker has no network, changes nothing but its own sockets, and starts nothing.
fn shut_in(
    args: &Args,
    directory: &RunDirectory,
    reads: &[PathBuf],
    log: Log,
) -> Result<(), Failure> {
    let binds: &[_] = match directory.instance() {
        // There everything was made by root, and is not to be changed, but for fronts: they come and
        // go with the configuration.
        Instance::System => &[directory.fronts()],
        _ => &[directory.path().to_owned()],
    };
    let sandbox =
        Sandbox { sockets: Sockets::Unix, reads, binds, has_children: !args.with.is_empty() };
    sandbox.enter(log)
}

fn check(files: &Files, directory: &RunDirectory, strict: bool) -> Result<(), Failure> {
    let sources = files.read().map_err(|error| Failure::Config(error.to_string()))?;
    let report = policy::check::check(&sources, &HostAccounts, &[directory.fronts()]);
    if report.passes(strict) {
        return Ok(());
    }
    Err(Failure::Config(format!("the configuration has problems\n{report}")))
}
