//! `ipc connections`: what was handed over.

use std::process::ExitCode;

use libipc::interface::control::{
    CONNECTIONS, Connection, ConnectionKind, Connections, ListConnections,
};

use crate::control;
use crate::format::{self, Format, Rows, span};
use crate::place::Place;
use crate::report::Report;

use sys::diag::Held;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only those that the rules of today would deny
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) fn run(wanted: &Options, format: Format) -> Result<ExitCode, Report> {
    let mut connections = all(&wanted.place, wanted.stale)?;
    forget_ended(&mut connections);
    let columns = ["ID", "KIND", "AGE", "NAME", "LEADS TO", "WHO", "BYTES", "RULE"];
    let none = if wanted.stale {
        "nothing that was handed over would be denied today"
    } else {
        "nothing that was handed over is known to last"
    };
    let mut rows = Rows::new(columns, none);
    for connection in &connections {
        rows.add(row(connection));
    }
    format::print(format, &Connections { connections, next: None }, &rows)
}

fn all(place: &Place, stale: bool) -> Result<Vec<Connection>, Report> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let wanted = ListConnections { stale: Some(stale), after };
        let some: Connections = control::ask(place, "connections", CONNECTIONS, &wanted)?;
        all.extend(some.connections);
        after = some.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// What nobody has any more is over, of which only the kernel knows. It is asked behind the broker, so
/// that what was handed over meanwhile is there; where it tells nothing, all stay.
fn forget_ended(connections: &mut Vec<Connection>) {
    let number = |one: &Connection| one.cookie.zip(one.namespace);
    if !connections.iter().any(|one| number(one).is_some()) {
        return;
    }
    let Ok(held) = Held::now() else { return };
    connections.retain(|one| {
        number(one).is_none_or(|(cookie, namespace)| !held.is_over(cookie, namespace))
    });
}

fn row(connection: &Connection) -> [String; 8] {
    let carrier = match connection.times {
        0 | 1 => connection.carrier.clone(),
        times => format!("{}, asked for {times} times", connection.carrier),
    };
    let stale = if connection.stale { " (would be denied now)" } else { "" };
    [
        connection.id.to_string(),
        kind(connection.kind).to_owned(),
        span(connection.opened_ms),
        connection.service.clone(),
        connection.target.clone(),
        connection.client.clone(),
        carrier,
        format!("{}{stale}", connection.rule),
    ]
}

fn kind(kind: ConnectionKind) -> &'static str {
    match kind {
        ConnectionKind::Name => "name",
        ConnectionKind::Socket => "socket",
        ConnectionKind::Registered => "registered",
        ConnectionKind::Relayed => "relayed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_would_be_denied_now_says_so_behind_its_rule() {
        let connection = |stale: bool, times: u64| -> Connection {
            serde_json::from_value(serde_json::json!({
                "id": 7, "kind": "name", "service": "db", "target": "unix:db",
                "direction": "local", "rule": "allow local db (ipcd.toml:2)",
                "client": "uid 7, pid 9", "openedMs": 61_000, "carrier": "direct",
                "stale": stale, "revision": 1, "times": times, "pid": 9, "uid": 7,
            }))
            .unwrap()
        };
        let expected = [
            "7",
            "name",
            "1 min 1 s",
            "db",
            "unix:db",
            "uid 7, pid 9",
            "direct, asked for 3 times",
            "allow local db (ipcd.toml:2) (would be denied now)",
        ];
        assert_eq!(row(&connection(true, 3)), expected.map(ToOwned::to_owned));
        let [.., carrier, rule] = row(&connection(false, 1));
        assert_eq!((&*carrier, &*rule), ("direct", "allow local db (ipcd.toml:2)"));
    }
}
