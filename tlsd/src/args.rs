//! The command line of `tlsd`.

use std::path::PathBuf;

use clap::Parser;
use daemon::options::{BrokerOptions, LogOptions};
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
    /// Start anew at SIGHUP, and let the process before that finish what goes through it
    #[arg(long)]
    pub(crate) generations: bool,
    /// Which generation this is
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) generation: Option<u64>,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// The name under which the broker finds it
    #[arg(long, value_name = "NAME", default_value = "tls", value_parser = name)]
    pub(crate) name: ServiceName,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

fn name(text: &str) -> Result<ServiceName, NameError> {
    ServiceName::new(text)
}

const EXAMPLES: &str = "\
Examples:
  tlsd --user --config ~/.config/ipcd/tlsd.toml
  tlsd --config /etc/ipcd/tlsd.toml --check
  tlsd --key /etc/ipcd/tls/host.key

Signals: SIGHUP reads everything again, SIGTERM lets connections finish.
With --generations SIGHUP also takes a new program that was installed meanwhile: a process of its
own, while the one before ends with the last connection that goes through it.

Exit codes: 0 ended by a signal, 64 usage, 78 configuration, 71 the system";
