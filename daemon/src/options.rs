//! What the command line of every daemon says alike.

use std::path::PathBuf;

use libipc::environment::Environment;
use libipc::rundir::RunDirectory;

use crate::exit::Failure;
use crate::log::{self, Log, LogFormat, LogLevel};

/// Which broker a daemon works for.
#[derive(Clone, Debug, clap::Args)]
pub struct BrokerOptions {
    /// The run directory of the broker to work for
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    pub rundir: Option<PathBuf>,
    /// Work for the user's own broker, in `$XDG_RUNTIME_DIR/ipc`
    #[arg(long)]
    pub user: bool,
}

impl BrokerOptions {
    /// The run directory: the one that was named, by the command line or `IPC_RUNDIR`; else the
    /// system's for root, and the user's own for everybody else.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if there is none; [`Failure::System`] if the current directory is
    /// unknown.
    pub fn directory(&self) -> Result<RunDirectory, Failure> {
        let environment = Environment::of_process();
        let named = environment.rundir.as_ref().filter(|_| !self.user);
        if let Some(path) = self.rundir.as_ref().or(named) {
            let path = std::path::absolute(path)
                .map_err(|error| Failure::system("the run directory", &error))?;
            return Ok(RunDirectory::named(&path, &environment));
        }
        if nix::unistd::geteuid().is_root() && !self.user {
            return Ok(RunDirectory::system());
        }
        let none = "XDG_RUNTIME_DIR is not set: name the run directory with --rundir DIR";
        RunDirectory::user(&environment).ok_or_else(|| Failure::Usage(none.to_owned()))
    }
}

/// How a daemon writes its log.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LogOptions {
    /// How to write the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// How much to write to the log
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

impl LogOptions {
    /// Starts the log; see [`log::start`].
    pub fn start(self) -> Log {
        log::start(self.log_format, self.log_level)
    }
}
