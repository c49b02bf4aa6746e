//! `ipc serve`: one process per connection.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libipc::environment::Environment;
use libipc::rundir::RunDirectory;
use libipc::{Listener, ServiceName};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::args;
use crate::connect::not_started;
use crate::log::tell;
use crate::report::Report;
use crate::{asker, failure};

mod placing;
mod processes;

use crate::signals::{Signal, Signals};
use placing::Placing;
use processes::Processes;

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The service
    pub(crate) name: String,
    /// The run directory
    #[arg(long, value_name = "DIR")]
    pub(crate) rundir: Option<PathBuf>,
    /// Processes at once; further clients wait
    #[arg(long, value_name = "COUNT", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) most: u16,
    /// Descriptors of the program that are to be the connection
    #[arg(long, value_name = "N,M", value_delimiter = ',', default_value = "0,1",
          value_parser = clap::value_parser!(u8).range(..=99))]
    pub(crate) fd: Vec<u8>,
    /// The program
    #[arg(last = true, required = true, value_name = "PROG")]
    pub(crate) program: Vec<OsString>,
}

/// How long to rest when the system has no descriptor or process left.
const REST: Duration = Duration::from_millis(100);

/// How long programs have to end when the command does.
const FAREWELL: Duration = Duration::from_secs(5);

pub(crate) fn run(serve: &Serve) -> Result<ExitCode, Report> {
    let name = args::service(&serve.name)?;
    let system = |error: io::Error| Report::system(&serve.name, error);
    let (program, arguments) =
        serve.program.split_first().ok_or_else(|| Report::usage(&serve.name, "no program"))?;
    find(program)?;
    // Before anything else is opened: it could have taken the numbers.
    let placing = Placing::reserve(&serve.fd).map_err(|error| Report::usage("--fd", error))?;
    let mut signals = Signals::new().map_err(system)?;
    let listener = listen(serve, &name)?;
    let mut processes = Processes::new(program, arguments, &name, placing);
    let most = usize::from(serve.most);
    let (mut rests, mut is_replaced) = (false, false);
    loop {
        if is_replaced && processes.count() == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let takes = processes.count() < most && !rests && !is_replaced;
        let ready = wait(&listener, &signals, takes, rests).map_err(system)?;
        rests = false;
        while let Some(signal) = signals.read() {
            if signal == Signal::Stop {
                // New clients are to find nobody, not to wait for us.
                drop(listener);
                end(processes, &mut signals).map_err(system)?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        processes.reap();
        if ready && let Err(error) = take(&listener, &mut processes) {
            // No client is worth ending the service for. Who has lost the name has no more of them,
            // and serves those that have come.
            is_replaced = error.kind() == io::ErrorKind::AddrInUse;
            rests = !is_replaced;
            tell(&Report::system(&serve.name, error));
        }
    }
}

fn listen(serve: &Serve, name: &ServiceName) -> Result<Listener, Report> {
    let listener = match &serve.rundir {
        Some(path) => {
            let directory = RunDirectory::named(path, &Environment::of_process());
            Listener::bind_in(&directory, name)
        }
        None => Listener::bind(name),
    };
    listener.map_err(|error| failure::not_offered(&serve.name, &asker::text(), &error))
}

/// A program that is not there is told at once, not to the first client.
fn find(program: &OsStr) -> Result<(), Report> {
    let is_path = Path::new(program).components().count() > 1;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = if is_path {
        Path::new(program).exists()
    } else {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    if is_there {
        return Ok(());
    }
    Err(not_started(&program.to_string_lossy(), &Errno::ENOENT.into()))
}

/// Waits for a signal, or for a client if one can be taken; whether there is a client.
fn wait(listener: &Listener, signals: &Signals, takes: bool, rests: bool) -> io::Result<bool> {
    let wanted = if takes { PollFlags::POLLIN } else { PollFlags::empty() };
    let mut sources =
        [PollFd::new(listener.as_fd(), wanted), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let timeout = if rests { timeout(REST) } else { PollTimeout::NONE };
    match poll(&mut sources, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [client, _] = sources;
    Ok(takes && client.any().unwrap_or(false))
}

fn timeout(span: Duration) -> PollTimeout {
    PollTimeout::try_from(span).unwrap_or(PollTimeout::ZERO)
}

fn take(listener: &Listener, processes: &mut Processes<'_>) -> io::Result<()> {
    match listener.try_accept()? {
        Some(stream) => processes.start(stream),
        None => Ok(()),
    }
}

/// Tells the programs to end, and ends those that do not, or at once at a second signal.
fn end(mut processes: Processes<'_>, signals: &mut Signals) -> io::Result<()> {
    processes.terminate();
    let end = std::time::Instant::now() + FAREWELL;
    loop {
        processes.reap();
        let left = end.saturating_duration_since(std::time::Instant::now());
        if processes.count() == 0 || left.is_zero() {
            break;
        }
        let mut source = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut source, timeout(left)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if std::iter::from_fn(|| signals.read()).any(|signal| signal == Signal::Stop) {
            break;
        }
    }
    processes.kill();
    Ok(())
}
