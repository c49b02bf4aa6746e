//! `ipc echo`: sends back what comes.

use std::process::ExitCode;

use libipc::Channel;
use libipc::session::ServerOptions;

use super::{BUILTIN, Where, peers};
use crate::log::{Log, Logging};
use crate::report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) at: Where,
    /// The channels to serve, instead of 1 to 4
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = super::channel)]
    pub(crate) channels: Vec<Channel>,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

pub(crate) fn run(echo: &Echo) -> Result<ExitCode, Report> {
    let channels = if echo.channels.is_empty() { &BUILTIN[..] } else { &echo.channels };
    let options = ServerOptions::new(channels);
    let log = Log::new(echo.logging);
    let listener = echo.at.listen()?;
    peers::serve(&echo.at.address, &listener, options, move |session, _| {
        loop {
            let message = session.receive()?;
            log.echoing(message.channel, message.payload.len());
            match message.request {
                Some(request) => session.answer(request, &message.payload)?,
                None => session.send(message.channel, &message.payload)?,
            }
        }
    })
}
