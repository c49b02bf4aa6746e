//! `ipc info`: who serves there, and how fast it answers.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libipc::Patience;
use libipc::identity::Identity;
use libipc::session::{ClientOptions, Session};
use nix::poll::{PollTimeout, poll};
use serde::Serialize;

use super::{Where, failed, leave};
use crate::format::Format;
use crate::report::{self, Report};

#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) at: Where,
    /// How long to wait, also for a service that is just being started, as 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = super::span)]
    pub(crate) timeout: Duration,
}

const SCHEMA: &str = "https://schemas.3leaps.dev/ipcprims/cli/v1/connection-info.schema.json";

#[derive(Serialize)]
struct Json<'a> {
    schema_id: &'static str,
    peer_id: &'a str,
    protocol_version: &'a str,
    channels: Vec<JsonChannel>,
    ping_latency_ms: Option<f64>,
    peer_credentials: Option<JsonCredentials>,
    connected: bool,
}

#[derive(Serialize)]
struct JsonChannel {
    id: u16,
    name: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct JsonCredentials {
    uid: Option<u32>,
    gid: Option<u32>,
    pid: Option<u32>,
}

pub(crate) fn run(info: &Info, format: Format) -> Result<ExitCode, Report> {
    let mut session = connect(info)?;
    let round_trip = session
        .ping(Patience::within(info.timeout))
        .map_err(|error| failed(&info.at.address, &error))?;
    report::print(&text(&session, round_trip, format)?)?;
    Ok(leave(session))
}

/// How long to wait before a service that is not there is asked again.
const RETRY_MS: u8 = 50;

/// Connects, and tries again while nobody answers there yet.
fn connect(info: &Info) -> Result<Session, Report> {
    let end = Instant::now() + info.timeout;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match info.at.connect(left) {
            Ok(stream) => {
                let timeout = end.saturating_duration_since(Instant::now());
                let options = ClientOptions { timeout, ..ClientOptions::default() };
                return Session::connect(stream, &options)
                    .map_err(|error| failed(&info.at.address, &error));
            }
            Err(report) if !report.can_retry() => return Err(report),
            // Nothing tells when a socket begins to listen.
            Err(_) if !left.is_zero() => {
                let _interrupted = poll(&mut [], PollTimeout::from(RETRY_MS)).is_err();
            }
            Err(_) => {
                let why = format!("connect timed out after {:?}", info.timeout);
                return Err(Report::new(124, &info.at.address, "timed out", why)
                    .cure("to do", "start the service, or wait longer: --timeout"));
            }
        }
    }
}

fn text(session: &Session, round_trip: Duration, format: Format) -> Result<String, Report> {
    let Some(agreed) = session.negotiated() else { return Ok(String::new()) };
    let milliseconds = round_trip.as_secs_f64() * 1e3;
    let credentials = match session.peer() {
        Some(Identity::Local(local)) => {
            Some(JsonCredentials { uid: local.uid, gid: local.gid, pid: local.pid })
        }
        _ => None,
    };
    match format {
        Format::Raw => Ok(format!("{}\n", agreed.peer_id.escape_debug())),
        Format::Json => {
            let channels = agreed.channels.iter();
            let json = Json {
                schema_id: SCHEMA,
                peer_id: &agreed.peer_id,
                protocol_version: &agreed.version,
                channels: channels.map(|one| JsonChannel { id: one.0, name: one.name() }).collect(),
                ping_latency_ms: Some((milliseconds * 1e3).round() / 1e3),
                peer_credentials: credentials,
                connected: true,
            };
            serde_json::to_string(&json)
                .map(|line| line + "\n")
                .map_err(|error| Report::new(125, "output", "our mistake", error))
        }
        Format::Table | Format::Pretty => {
            let channels: Vec<String> =
                agreed.channels.iter().map(|one| format!("{} ({})", one.name(), one.0)).collect();
            let mut text = format!(
                "Connection Info:\n  Peer ID:          {}\n  Protocol:         ipcprims {}\n  \
                 Channels:         {}\n  Ping:             {milliseconds:.2}ms\n",
                agreed.peer_id.escape_debug(),
                agreed.version.escape_debug(),
                channels.join(", ")
            );
            if let Some(JsonCredentials { uid, gid, pid }) = credentials {
                let number = |id: Option<u32>| id.map_or("?".to_owned(), |id| id.to_string());
                let (uid, gid, pid) = (number(uid), number(gid), number(pid));
                // Writing to a String cannot fail.
                let _written =
                    writeln!(text, "  Peer credentials: uid={uid} gid={gid} pid={pid}").is_ok();
            }
            Ok(text)
        }
    }
}
