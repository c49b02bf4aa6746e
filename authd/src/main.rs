//! Verifies logins for ipcd.
//!
//! A service like any other: it answers `org.ipcd.Authenticator.Verify` under a name that the
//! broker leads to it, from a file with an argon2id hash for each user. It opens no network socket,
//! and knows nothing of rules: what a login is good for, they say.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use clap::Parser;
use daemon::exit::{Failure, finish};
use daemon::memory;
use daemon::notify::Notifier;
use daemon::sandbox::{Sandbox, Sockets};
use daemon::signals::Signals;
use daemon::start::{give_up_root, read_config};
use libipc::rundir::{Instance, RunDirectory};
use libipc::{Listener, ServiceName};

use crate::args::Args;
use crate::config::Config;
use crate::event_loop::EventLoop;
use crate::passwords::file;
use crate::report::Reports;
use crate::server::{Crowd, Office};
use crate::verifier::{Users, Verifier};

mod args;
mod config;
mod edit;
mod event_loop;
mod hash;
mod passwords;
mod penalty;
mod prompt;
mod report;
mod server;
mod verifier;

/// The account that the system's authd runs as.
const ACCOUNT: &str = "ipcd-authd";

/// Where the configuration is, if nobody says.
const CONFIG: &str = "/etc/ipcd/authd.toml";

/// Where the users are, if nobody says.
const PASSWORDS: &str = "/var/lib/ipcd-authd/passwords";

/// Verifications at the same time, if nobody says; fewer where there are fewer processors.
const VERIFICATIONS: usize = 4;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => finish("authd", run(&args)),
        Err(error) => {
            // Where even that cannot be written, nobody reads it.
            let _unwritten = error.print().is_err();
            ExitCode::from(if error.use_stderr() { 64 } else { 0 })
        }
    }
}

/// Changes the file of users, or serves until told to stop. The order is the contract: nobody can
/// look into the process before there is a secret in it, and nothing is served before the
/// configuration and the users are known to be good.
fn run(args: &Args) -> Result<(), Failure> {
    memory::hide()?;
    let config = config(args.config.as_deref())?;
    let passwords = args.passwords.as_ref().or(config.passwords.as_ref());
    let passwords = passwords.map_or(Path::new(PASSWORDS), PathBuf::as_path);
    let passwords = std::path::absolute(passwords)
        .map_err(|error| Failure::system("the file of users", &error))?;
    match &args.command {
        Some(command) => edit::run(command, &passwords),
        None => serve(args, &config, passwords),
    }
}

fn serve(args: &Args, config: &Config, passwords: PathBuf) -> Result<(), Failure> {
    if args.check {
        return load(&passwords).map(drop);
    }
    let signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    let log = args.log.start();
    let directory = args.broker.directory()?;
    let listener = listen(config.service.as_ref(), &directory)?;
    if !give_up_root(&directory, ACCOUNT)? {
        tracing::warn!(event = "running-as-root", account = ACCOUNT);
    }
    // A change of account has undone it.
    memory::hide()?;
    let most = config.verifications.unwrap_or_else(|| {
        thread::available_parallelism().map_or(1, usize::from).min(VERIFICATIONS)
    });
    let users = load(&passwords)?;
    let count = users.passwords.len();
    let office = Office {
        verifier: Verifier::new(users, most),
        reports: Reports::new(Instant::now()),
        crowd: Crowd::default(),
    };
    let mut notifier = Notifier::of_process(Instant::now());
    shut_in(&directory, &passwords, log)?;
    let mut event_loop = EventLoop::new(listener, signals, Arc::new(office), passwords)
        .map_err(|error| Failure::system("the event loop", &error))?;
    tracing::info!(event = "started", rundir = ?directory.path(), users = count);
    notifier.ready(event_loop::STATUS);
    event_loop.run(&mut notifier).map_err(|error| Failure::system("the event loop", &error))?;
    notifier.stopping();
    tracing::info!(event = "stopped");
    Ok(())
}

fn load(passwords: &Path) -> Result<Users, Failure> {
    let passwords = file::load(passwords).map_err(|error| Failure::Config(error.to_string()))?;
    Users::new(passwords).map_err(|error| Failure::system("random numbers", &error))
}

/// Without a file the defaults hold, unless it was named.
fn config(named: Option<&Path>) -> Result<Config, Failure> {
    let usual = Path::new(CONFIG);
    read_config(named.or(usual.exists().then_some(usual)), Config::parse)
}

/// The socket that the service manager passed, or a registration.
fn listen(service: Option<&ServiceName>, directory: &RunDirectory) -> Result<Listener, Failure> {
    let default = ServiceName::new("authd").map_err(|error| Failure::system("authd", &error))?;
    let service = service.unwrap_or(&default);
    let inherited = sys::inherited::take().into_iter().find(|one| one.name == service.as_str());
    let listener = match inherited {
        Some(ours) => Listener::from_socket(ours.descriptor),
        None => Listener::bind_in(directory, service),
    };
    listener.map_err(|error| Failure::System(error.to_string()))
}

fn shut_in(
    directory: &RunDirectory,
    passwords: &Path,
    log: daemon::log::Log,
) -> Result<(), Failure> {
    let reads = [file::parent(passwords).to_owned()];
    let binds: &[_] = match directory.instance() {
        Instance::System => &[],
        _ => &[directory.path().to_owned()],
    };
    Sandbox { sockets: Sockets::Unix, reads: &reads, binds, has_children: false }.enter(log)
}
