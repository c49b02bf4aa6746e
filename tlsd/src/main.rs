//! Encrypts connections of ipcd, and proves who is at their other end.
//!
//! It opens no network socket and resolves no name: it works on connections that it is given. It
//! has all keys, and no rules: whom it believes is in its configuration, who may do what is not.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use daemon::exit::{Failure, finish};
use daemon::memory;
use daemon::notify::Notifier;
use daemon::sandbox::Sockets;
use daemon::signals::Signals;
use daemon::start::give_up_root;
use relay::start::{Inheritance, serve, shut_in};
use relay::wrapping::{EventLoop, STATUS};
use sys::forgetful::Forgetful;

use crate::args::Args;
use crate::checkup::Remark;
use crate::tls::Tls;

mod args;
mod checkup;
mod config;
mod der;
mod dial;
mod exporter;
mod failure;
mod files;
mod key;
mod keygen;
mod listeners;
mod login;
mod material;
mod names;
mod pin;
mod proving;
mod reception;
mod session;
mod starttls;
mod tls;
mod validity;
mod verify;

/// The library for TLS gives back what it has opened as it is; a login may be among that.
#[global_allocator]
static MEMORY: Forgetful = Forgetful;

/// The account that the system's tlsd runs as.
const ACCOUNT: &str = "ipcd-tlsd";

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) if args.generations => match run_generations(&args) {
            Ok(code) => code,
            Err(failure) => finish("tlsd", Err(failure)),
        },
        Ok(args) => finish("tlsd", run(args)),
        Err(error) => {
            // Where even that cannot be written, nobody reads it.
            let _unwritten = error.print().is_err();
            ExitCode::from(if error.use_stderr() { 64 } else { 0 })
        }
    }
}

/// Starts `tlsd` as often as it is to be replaced. This process reads no file and no byte of a peer.
fn run_generations(args: &Args) -> Result<ExitCode, Failure> {
    let log = args.log.start();
    // Before anybody replaces it: afterwards it would be told as deleted.
    let program = std::env::current_exe().map_err(|error| Failure::system("tlsd", &error))?;
    let arguments = std::env::args_os().skip(1).filter(|one| one != "--generations");
    daemon::generations::run(program, arguments.collect(), log)
}

/// Starts `tlsd` and serves until told to stop. The order is the contract: nobody can look into
/// the process before there is a key in it, nothing is opened before the configuration and its
/// files are known to be good, root is given up before the first byte of a stranger is read, and
/// the broker finds us only once we answer.
fn run(args: Args) -> Result<(), Failure> {
    let inherited = match args.generation {
        Some(_) => Inheritance::take_of_parent(),
        None => Inheritance::take(),
    };
    memory::hide()?;
    if let Some(path) = &args.key {
        let pin = keygen::pin_of(path, &rustls::crypto::aws_lc_rs::default_provider())?;
        return writeln!(io::stdout(), "{pin}").map_err(|error| Failure::system("output", &error));
    }
    let place = args.config.map(std::path::absolute).transpose();
    let place = place.map_err(|error| Failure::system("the configuration", &error))?;
    let tls = Tls::load(place)?;
    if args.check {
        return tell(&tls.remarks());
    }
    let signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    let log = args.log.start();
    if let Err(error) = daemon::descriptors::raise_limit() {
        tracing::warn!(event = "few-descriptors", %error);
    }
    let directory = args.broker.directory()?;
    let server = serve(inherited.place, &directory, args.name.as_str())
        .map_err(|error| Failure::System(error.to_string()))?;
    if !give_up_root(&directory, ACCOUNT)? {
        tracing::warn!(event = "running-as-root", account = ACCOUNT);
    }
    // A change of account has undone it.
    memory::hide()?;
    let mut notifier = Notifier::of_process(Instant::now());
    if args.generation.is_some() {
        notifier.beat_to_parent();
    }
    // Keys and certificates lie where the administrator has put them, after a reload elsewhere.
    shut_in(&directory, Sockets::Unix, &["/".into()], log)?;
    let mut event_loop = EventLoop::new(tls, server, inherited.others, signals)
        .map_err(|error| Failure::system("the event loop", &error))?;
    if let Some(generation) = args.generation {
        event_loop = event_loop.of_generation(generation);
    }
    tracing::info!(event = "started", rundir = ?directory.path());
    notifier.ready(STATUS);
    if args.generation.is_some() {
        io::stdout()
            .write_all(daemon::generations::READY)
            .map_err(|error| Failure::system("output", &error))?;
    }
    event_loop.run(&mut notifier).map_err(|error| Failure::system("the event loop", &error))?;
    tracing::info!(event = "stopped");
    Ok(())
}

/// Says what is wrong with certificates: what others refuse today is a fault of the configuration.
fn tell(remarks: &[Remark]) -> Result<(), Failure> {
    let lines = |is_broken| {
        let some = remarks.iter().filter(move |remark| remark.is_broken() == is_broken);
        some.map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let (broken, others) = (lines(true), lines(false));
    if !others.is_empty() {
        writeln!(io::stdout(), "{others}").map_err(|error| Failure::system("output", &error))?;
    }
    if broken.is_empty() { Ok(()) } else { Err(Failure::Config(broken)) }
}
