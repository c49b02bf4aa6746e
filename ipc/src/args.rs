//! The commands and their options.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use libipc::environment::Environment;
use libipc::secret::Secret;

use crate::report::{self, Report};

/// Reach services by name, offer them, and ask why.
#[derive(Debug, Parser)]
#[command(name = "ipc", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Print data and errors as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 refused by the far side, 3 no way there, 50 denied, 64 usage,
69 unknown service or no broker, 78 configuration, 124 timed out; with -- PROG, PROG's own";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect to a service: standard input and output, or a program's
    #[command(
        after_help = "Examples:\n  echo ping | ipc connect pongd\n  ipc connect db -- pg_isready\n  ssh -o ProxyCommand='ipc connect --fdpass %h' -o ProxyUseFdpass=yes host"
    )]
    Connect(Connect),
    /// Offer a service: one process per connection
    #[command(after_help = "Examples:\n  ipc serve echo -- cat\n  ipc serve date -- date -u")]
    Serve(Serve),
    /// Tell where a name leads, and which rule decides
    #[command(after_help = "Exit codes: 0 allowed, 50 denied")]
    Why(Why),
    /// Check configuration files, and tell everything that is wrong with them
    Check(Check),
    /// Tell how the broker does
    Status(Place),
    /// Have the broker read its configuration again
    Reload(Place),
    /// Print the version
    Version,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which broker to ask.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The run directory, instead of `IPC_RUNDIR` and the default ones
    #[arg(long, value_name = "DIR")]
    pub(crate) rundir: Option<PathBuf>,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) timeout: f64,
}

impl Place {
    /// The environment, with what the options say instead.
    pub(crate) fn environment(&self) -> Environment {
        let mut environment = Environment::of_process();
        if let Some(rundir) = &self.rundir {
            environment.rundir = Some(rundir.clone());
        }
        environment
    }

    /// How long to wait.
    pub(crate) fn timeout(&self) -> Result<Duration, Report> {
        Duration::try_from_secs_f64(self.timeout)
            .map_err(|_| Report::usage("--timeout", "not a number of seconds"))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// The service
    pub(crate) name: String,
    /// Hand the connection to the parent process, as `ProxyUseFdpass` of OpenSSH wants it
    #[arg(long, conflicts_with = "program")]
    pub(crate) fdpass: bool,
    /// Entries that stand before those of `IPC_NETWORK`; no secrets here
    #[arg(long, value_name = "TEXT")]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// A program that gets the connection as standard input and output
    #[arg(last = true)]
    pub(crate) program: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The service
    pub(crate) name: String,
    /// The run directory
    #[arg(long, value_name = "DIR")]
    pub(crate) rundir: Option<PathBuf>,
    /// Processes at once; further clients wait
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub(crate) most: usize,
    /// The program, with the connection as standard input and output
    #[arg(last = true, required = true)]
    pub(crate) program: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// The service
    pub(crate) name: String,
    /// Entries instead of those of `IPC_NETWORK`; no secrets here
    #[arg(long, value_name = "TEXT")]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The main file; ipcd.d beside it is read too
    #[arg(value_name = "FILE", default_value = "/etc/ipcd/ipcd.toml")]
    pub(crate) file: PathBuf,
    /// Warnings are errors
    #[arg(long)]
    pub(crate) strict: bool,
}

/// A text of the command line as `IPC_NETWORK`. Everybody on this host can read a command line.
pub(crate) fn network(text: &str) -> Result<Secret, Report> {
    if text.split("://").skip(1).any(|rest| {
        rest.split(['/', ';', '\n']).next().is_some_and(|authority| authority.contains('@'))
    }) {
        return Err(Report::usage(
            "--network",
            "a login on the command line can be read by everybody: use IPC_NETWORK_FILE",
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Prints completions.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Report> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ipc", &mut text);
    report::print(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_refused_on_the_command_line() {
        assert!(network("a tcp://h:1/x; b unix://c").is_ok());
        let said = network("a tls://u:secret@h/x").unwrap_err().to_string();
        assert!(said.contains("can be read by everybody") && !said.contains("secret@"), "{said}");
        assert!(network("a tls://u@secret:h:1/x").is_err());
    }

    #[test]
    fn the_commands_are_consistent() {
        Args::command().debug_assert();
    }
}
