//! `ipc echo`: sends back what comes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libipc::Channel;
use libipc::schema::{SchemaError, SchemaOptions, SchemaRegistry};
use libipc::session::{Checked, ServerOptions, Session, SessionError};

use super::peers::{self, Service};
use super::{BUILTIN, Where};
use crate::log::{Log, Logging};
use crate::report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) at: Where,
    /// The channels to serve, instead of 1 to 4
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = super::channel)]
    pub(crate) channels: Vec<Channel>,
    /// Check what comes against the schemas in this directory, strictly; what is wrong is answered
    /// on channel 4
    #[arg(long, value_name = "DIR")]
    pub(crate) validate: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

pub(crate) fn run(echo: &Echo) -> Result<ExitCode, Report> {
    let channels = if echo.channels.is_empty() { &BUILTIN[..] } else { &echo.channels };
    let options = ServerOptions::new(channels);
    let schemas = echo.validate.as_deref().map(schemas).transpose()?.map(Arc::new);
    let log = Log::new(echo.logging);
    let service = Service::open(&echo.at)?;
    peers::serve(service, options, move |session, _| {
        if let Some(schemas) = &schemas {
            session.check(Arc::clone(schemas), Checked::Received);
        }
        loop {
            let message = match session.receive() {
                Err(SessionError::Schema(error)) => {
                    explain(session, &error)?;
                    continue;
                }
                received => received?,
            };
            log.echoing(message.channel, message.payload.len());
            match message.request {
                Some(request) => session.answer(request, &message.payload)?,
                None => session.send(message.channel, &message.payload)?,
            }
        }
    })
}

/// Tells a peer what is wrong with its message, if there is a channel for that, and answers it if
/// it is a request for sure: in a session without numbers an answer would be one message more.
fn explain(session: &mut Session, error: &SchemaError) -> Result<(), SessionError> {
    let words = serde_json::json!({ "error": format!("schema validation error: {error}") });
    let words = words.to_string();
    if session.has_channel(Channel::ERROR) {
        session.send(Channel::ERROR, words.as_bytes())?;
    }
    let is_numbered = session.negotiated().is_some_and(|agreed| agreed.request_ids);
    match session.take_refused() {
        Some(request) if is_numbered => session.answer(request, words.as_bytes()),
        _ => Ok(()),
    }
}

fn schemas(directory: &Path) -> Result<SchemaRegistry, Report> {
    let options = SchemaOptions { strict: true, ..SchemaOptions::default() };
    SchemaRegistry::from_directory(directory, options).map_err(|error| {
        Report::new(60, &directory.to_string_lossy(), "schema", error)
            .cure("to do", "correct the schema, or name another directory")
    })
}
