//! `ipc listen`: prints what comes.

use std::process::ExitCode;
use std::sync::Mutex;

use libipc::Channel;
use libipc::session::ServerOptions;

use super::peers::{self, After, Service};
use super::shown::{self, Shown};
use super::{Where, builtin_and};
use crate::format::Format;
use crate::report::{self, Report};

#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    #[command(flatten)]
    pub(crate) at: Where,
    /// Print messages of these channels alone
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = super::channel)]
    pub(crate) channels: Vec<Channel>,
    /// End after that many messages were printed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

pub(crate) fn run(listen: &Listen, format: Format) -> Result<ExitCode, Report> {
    let service = Service::open(&listen.at)?;
    report::print(shown::heading(format))?;
    let options = ServerOptions::new(&builtin_and(&listen.channels));
    let (wanted, left) = (listen.channels.clone(), Mutex::new(listen.count));
    peers::serve(service, options, move |session, peer| {
        loop {
            let message = session.receive()?;
            if !wanted.is_empty() && !wanted.contains(&message.channel) {
                continue;
            }
            let shown = Shown { channel: message.channel, payload: &message.payload, peer };
            // Whatever happened to another peer's thread, the number is right.
            let mut left = left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *left == Some(0) || shown.print(format).is_err() {
                return Ok(After::Done);
            }
            if let Some(left) = &mut *left {
                *left -= 1;
                if *left == 0 {
                    return Ok(After::Done);
                }
            }
        }
    })
}
