//! `ipc send`: sends one message, and perhaps waits for an answer.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libipc::frame::PAYLOAD_MOST;
use libipc::session::{ClientOptions, Received, Session};
use libipc::{Channel, Patience};

use super::shown::{self, Shown};
use super::{Where, failed, leave};
use crate::format::Format;
use crate::report::{self, Report};

#[derive(Debug, clap::Args)]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) at: Where,
    /// The channel
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = super::channel)]
    pub(crate) channel: Channel,
    #[command(flatten)]
    pub(crate) content: Content,
    /// Wait for an answer on the same channel, or on channel 4, and print it
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait for it, and for the service, as 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = super::span)]
    pub(crate) wait_timeout: Duration,
}

/// What is sent; nothing named: an empty message.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Content {
    /// A text that has to be JSON
    #[arg(long, value_name = "TEXT")]
    json_text: Option<String>,
    /// Any text
    #[arg(long, value_name = "TEXT")]
    data: Option<OsString>,
    /// The content of a file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(send: &Send, format: Format) -> Result<ExitCode, Report> {
    let name = &send.at.address;
    let payload = send.content.read()?;
    let mut channels = vec![send.channel];
    if send.wait && send.channel != Channel::ERROR {
        channels.push(Channel::ERROR);
    }
    let options = ClientOptions { timeout: send.wait_timeout, ..ClientOptions::new(&channels) };
    let patience = Patience::Until(Instant::now() + send.wait_timeout);
    let mut session = send.at.session(&options)?;
    session
        .send_within(send.channel, &payload, &[], patience)
        .map_err(|error| failed(name, &error))?;
    if !send.wait {
        return Ok(leave(session));
    }
    let answer = session.receive_within(patience).map_err(|error| failed(name, &error))?;
    print(&answer, &session, format)?;
    let code = code(send.channel, &answer);
    leave(session);
    Ok(code)
}

fn print(answer: &Received, session: &Session, format: Format) -> Result<(), Report> {
    report::print(shown::heading(format))?;
    let peer = session.negotiated().map_or("", |agreed| agreed.peer_id.as_str());
    let shown = Shown { channel: answer.channel, payload: &answer.payload, peer };
    match shown.print(format) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Report::system("standard output", error))
        }
        _ => Ok(()),
    }
}

/// An answer on channel 4 says that it was not what the service wants.
fn code(asked: Channel, answer: &Received) -> ExitCode {
    if answer.channel != Channel::ERROR || asked == Channel::ERROR {
        return ExitCode::SUCCESS;
    }
    let is_of_schema = answer.payload.windows(SCHEMA.len()).any(|part| part == SCHEMA);
    ExitCode::from(if is_of_schema { 60 } else { 1 })
}

/// What ipcprims and `ipc echo` say of a message that its schema does not allow.
const SCHEMA: &[u8] = b"schema validation error";

impl Content {
    /// Everything that can be wrong is told before anybody is asked.
    fn read(&self) -> Result<Vec<u8>, Report> {
        use std::os::unix::ffi::OsStrExt;
        if let Some(text) = &self.json_text {
            serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
                Report::usage("--json-text", format!("this is no JSON: {error}"))
                    .cure("to do", "correct it, or send it as it is: --data")
            })?;
            return Ok(text.clone().into_bytes());
        }
        if let Some(text) = &self.data {
            return Ok(text.as_bytes().to_vec());
        }
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let named = file.to_string_lossy();
        let read = if file.as_os_str() == "-" {
            read_some(io::stdin().lock())
        } else {
            std::fs::File::open(file).and_then(read_some)
        };
        let content = read.map_err(|error| {
            Report::usage(&named, format!("cannot be read: {error}"))
                .cure("to do", "name a file that is there, or - for standard input")
        })?;
        if content.len() > PAYLOAD_MOST {
            let why = format!("a message has {PAYLOAD_MOST} bytes at most, and this is longer");
            return Err(Report::usage(&named, why).cure("to do", "send it in parts"));
        }
        Ok(content)
    }
}

/// Reads no more than what shows that it is too long: a device may have no end.
fn read_some(file: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(PAYLOAD_MOST as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}
