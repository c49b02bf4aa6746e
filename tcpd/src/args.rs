//! The command line of `tcpd`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use daemon::options::{BrokerOptions, LogOptions};
use libipc::name::{NameError, ServiceName};

/// Carries connections of ipcd over TCP: connects for it, and listens for other hosts.
///
/// What may be reached, and by whom, is decided by the rules of ipcd alone.
#[derive(Debug, Parser)]
#[command(name = "tcpd", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Listen for other hosts at this address; may be given several times
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Read where to listen from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// The name under which the broker finds it
    #[arg(long, value_name = "NAME", default_value = "tcp", value_parser = name)]
    pub(crate) name: ServiceName,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

fn name(text: &str) -> Result<ServiceName, NameError> {
    ServiceName::new(text)
}

const EXAMPLES: &str = "\
Examples:
  tcpd --user
  tcpd --listen '[::]:9000' --listen 0.0.0.0:9000

Exit codes: 0 ended by a signal, 64 usage, 78 configuration, 71 the system";
