//! The command line of `authd`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use daemon::options::{BrokerOptions, LogOptions};

use crate::passwords::{NAME_RULE, is_name};

/// Verifies logins for the broker against a file of users.
///
/// It is a service like any other: the broker asks for it by its name, and rules decide who may.
/// Secrets are read from standard input or a terminal, never from the command line.
#[derive(Debug, Parser)]
#[command(name = "authd", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// The file of users, whatever the configuration says
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) passwords: Option<PathBuf>,
    /// Check the configuration and the file of users, then end
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// What to do with the file of users instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a user, whose secret is read from standard input
    Add {
        /// The user
        #[arg(value_parser = name)]
        user: String,
        /// A group that the user is in; may be repeated
        #[arg(long = "group", value_name = "GROUP", value_parser = name)]
        groups: Vec<String>,
    },
    /// Change the secret of a user
    Change {
        /// The user
        #[arg(value_parser = name)]
        user: String,
    },
    /// Remove a user
    Remove {
        /// The user
        #[arg(value_parser = name)]
        user: String,
    },
    /// List the users and their groups
    List,
}

fn name(text: &str) -> Result<String, NameError> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(NameError) }
}

/// What was written is no name of a user or group.
#[derive(Debug)]
struct NameError;

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a name has {NAME_RULE}")
    }
}

impl std::error::Error for NameError {}

const EXAMPLES: &str = "\
Examples:
  authd add alice --group staff        ask for the secret at the terminal
  pass show alice | authd change alice
  authd --user --passwords ~/.config/ipcd/passwords

A daemon that runs takes changes with SIGHUP: systemctl reload ipcd-authd

Signals: SIGHUP reads the users again, SIGTERM ends it

Exit codes: 0 done, or ended by a signal, 64 usage, 78 configuration, 71 the system";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_secret_has_no_place_on_the_command_line() {
        assert!(Args::try_parse_from(["authd", "add", "alice", "CANARY"]).is_err());
        assert!(Args::try_parse_from(["authd", "add", "alice", "--secret", "CANARY"]).is_err());
        assert!(Args::try_parse_from(["authd", "add", "a:b"]).is_err());
    }
}
