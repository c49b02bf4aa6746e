//! `ipc run`: a program that reaches some services and no others.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use libipc::connector::Connector;
use libipc::secret::Secret;

use crate::args;
use crate::connect::not_started;
use crate::place::Place;
use crate::report::Report;
use crate::{asker, failure};

mod network;
mod opening;
mod program;
mod proxy;

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The services, each perhaps with the place that its name leads to
    #[arg(long, required = true, value_name = "NAME[=TARGET]", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Give the program a network with nothing in it but a proxy (HTTP CONNECT and SOCKS 5) to
    /// these services
    #[arg(long)]
    pub(crate) proxy: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    /// The program
    #[arg(last = true, required = true, value_name = "PROG")]
    pub(crate) program: Vec<OsString>,
}

/// Becomes the program, or lasts as long as it with `--proxy`. It inherits a connection that is
/// narrowed to the names of `run`.
pub(crate) fn run(run: &Run) -> Result<ExitCode, Report> {
    let subject = run.only.join(",");
    let socket = narrowed(run, &subject)?;
    let (program, arguments) =
        run.program.split_first().ok_or_else(|| Report::usage(&subject, "no program"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("IPC_BROKER_FD", socket.as_raw_fd().to_string())
        // What they say is in the connection already, or would only lead past it.
        .env_remove("IPC_NETWORK")
        .env_remove("IPC_NETWORK_FILE")
        .env_remove("IPC_RUNDIR");
    let not_started = |error: &io::Error| not_started(&program.to_string_lossy(), error);
    if !run.proxy {
        return Err(not_started(&command.exec()));
    }
    let listener = network::listener()?;
    // Before there are threads: they are to leave signals to this one.
    let signals = program::Signals::block().map_err(|error| Report::system(&subject, error))?;
    let address = listener.local_addr().map_err(|error| Report::system(&subject, error))?;
    let proxy = proxy::Proxy::start(listener, socket, run.place.timeout()?)
        .map_err(|error| Report::system(&subject, error))?;
    proxy::announce(&mut command, address);
    let code = program::run(&mut command, &signals).map_err(|error| not_started(&error))?;
    proxy.finish(Instant::now());
    Ok(code)
}

/// A connection to the broker that may ask for the names of `run` alone, and outlives `exec`.
fn narrowed(run: &Run, subject: &str) -> Result<OwnedFd, Report> {
    let timeout = run.place.timeout()?;
    let report = |error| failure::of(subject, &asker::text(), &error);
    let connector = Connector::new(&run.place.environment(), timeout).map_err(report)?;
    let entries = run.only.iter().map(|only| entry(only, &connector));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    if connector.inherited().map_err(report)?.is_some() {
        let why = "this program reaches the broker by what it has inherited, and nothing else can \
                   be inherited from it";
        return Err(Report::new(69, subject, "no broker", why)
            .cure("to do", "name the services where the first program is started"));
    }
    let mut broker = connector.broker().map_err(report)?;
    broker.restrict(&entries, Instant::now() + timeout).map_err(report)?;
    let socket = broker.into_socket();
    sys::socket::make_plain(socket.as_fd())
        .and_then(|()| sys::socket::set_close_on_exec(socket.as_fd(), false))
        .map_err(|error| Report::system(subject, error))?;
    Ok(socket)
}

/// A name as the broker is told it: with where it leads, by the command line or by `IPC_NETWORK`.
fn entry(only: &str, connector: &Connector) -> Result<String, Report> {
    let (name, target) = match only.split_once('=') {
        Some((name, target)) => (name, Some(target)),
        None => (only, None),
    };
    let name = args::service(name)?;
    if let Some(target) = target {
        if target.trim().is_empty() {
            return Err(Report::usage("--only", format!("no target stands behind {name}="))
                .cure("to do", "write NAME, or NAME=TARGET: db=tcp://db1.example.com:5432"));
        }
        // It is seen by whoever lists the processes of this host.
        args::network("--only", target)?;
        return Ok(format!("{name} {target}"));
    }
    let network = connector.network(&name);
    let network = network.map_err(|error| failure::of(only, &asker::text(), &error))?;
    Ok(network.as_ref().map_or_else(|| name.to_string(), |text| Secret::expose(text).to_owned()))
}
