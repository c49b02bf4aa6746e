//! The command line of `tlsd`.

use std::path::PathBuf;

use clap::Parser;
use daemon::log::{LogFormat, LogLevel};
use libipc::name::{NameError, ServiceName};

/// Encrypts connections of ipcd, and proves who is at their other end.
///
/// It opens no network socket: it works on connections that it is given. Keys are read from the
/// files that the configuration names, never from the command line.
#[derive(Debug, Parser)]
#[command(name = "tlsd", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Read certificates, trust and listeners from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and all files that it names, then end
    #[arg(long)]
    pub(crate) check: bool,
    /// Print the pin of the key in this file, which is made if it is not there, then end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "check"])]
    pub(crate) key: Option<PathBuf>,
    /// The run directory of the broker to work for
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    pub(crate) rundir: Option<PathBuf>,
    /// Work for the user's own broker, in `$XDG_RUNTIME_DIR/ipc`
    #[arg(long)]
    pub(crate) user: bool,
    /// The name under which the broker finds it
    #[arg(long, value_name = "NAME", default_value = "tls", value_parser = name)]
    pub(crate) name: ServiceName,
    /// How to write the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// How much to write to the log
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
}

fn name(text: &str) -> Result<ServiceName, NameError> {
    ServiceName::new(text)
}

const EXAMPLES: &str = "\
Examples:
  tlsd --user --config ~/.config/ipcd/tlsd.toml
  tlsd --config /etc/ipcd/tlsd.toml --check
  tlsd --key /etc/ipcd/tls/host.key

Signals: SIGHUP reads everything again, SIGTERM lets connections finish

Exit codes: 0 ended by a signal, 64 usage, 78 configuration, 71 the system";
