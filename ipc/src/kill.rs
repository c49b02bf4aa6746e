//! `ipc kill`: a connection is ended, by the broker, or for root by this process itself.

use std::process::ExitCode;

use libipc::interface::control::{
    CONNECTIONS, Connection, ConnectionKind, Connections, KILL, ListConnections,
};
use serde_json::Value;

use crate::control;
use crate::place::Place;
use crate::report::{self, Report};
use held::Ended;

mod held;

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// The connection's number, as `ipc connections` tells it
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) fn run(wanted: &Kill, as_json: bool) -> Result<ExitCode, Report> {
    let name = wanted.id.to_string();
    let connection = find(wanted, &name)?;
    let how = match (connection.kind, connection.cookie) {
        (ConnectionKind::Name, _) => return Err(right_to_connect(&name, &connection)),
        (ConnectionKind::Socket, Some(cookie)) => end_held(wanted, &name, &connection, cookie)?,
        _ => {
            tell_broker(wanted, &name, false)?;
            "the broker had it ended"
        }
    };
    let Connection { id, service, client, .. } = &connection;
    if as_json {
        let done = serde_json::json!({"id": id, "service": service, "client": client, "how": how});
        return report::print(&format!("{done}\n"));
    }
    report::print(&format!("{id} is over: {service} of {client}; {how}\n"))
}

fn find(wanted: &Kill, name: &str) -> Result<Connection, Report> {
    let list = ListConnections { stale: None, after: Some(wanted.id.saturating_sub(1)) };
    let listed: Connections = control::ask(&wanted.place, name, CONNECTIONS, &list)?;
    let found = listed.connections.into_iter().find(|one| one.id == wanted.id);
    found.ok_or_else(|| control::unknown_connection(name, wanted.id))
}

/// Has the broker end it, or tells it that it is over.
fn tell_broker(wanted: &Kill, name: &str, over: bool) -> Result<(), Report> {
    let parameters = libipc::interface::control::Kill { id: wanted.id, over: Some(over) };
    let _done: Value = control::ask(&wanted.place, name, KILL, &parameters)?;
    Ok(())
}

/// Ends what the client holds alone. The kernel's number for the socket makes sure that it is this
/// one.
fn end_held(
    wanted: &Kill,
    name: &str,
    connection: &Connection,
    cookie: u64,
) -> Result<&'static str, Report> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Report::new(50, name, "denied", "the client holds this connection alone")
            .fact("client", &connection.client)
            .cure("to do", format!("end it as root: ipc kill {}", wanted.id)));
    }
    let pid = match &connection.who {
        libipc::interface::Identity::Local(local) => local.pid,
        libipc::interface::Identity::Remote(_) => None,
    };
    let ended = held::end(cookie, pid).map_err(|error| {
        Report::system(name, error).cure("to do", "end the client's process instead")
    })?;
    tell_broker(wanted, name, true)?;
    Ok(match ended {
        Ended::ByKernel => "both ends see a reset",
        Ended::Shut => "it was shut down where a process had it",
        Ended::Before => "no process had it any more",
    })
}

/// What cannot be taken back from a client.
fn right_to_connect(name: &str, connection: &Connection) -> Report {
    let why = "the client may connect to the service itself, and that cannot be taken back";
    let report = Report::new(50, name, "handed over", why)
        .fact("client", &connection.client)
        .fact("may reach", &connection.target);
    report.cure("to do", "end the client's process, or start the service anew")
}
