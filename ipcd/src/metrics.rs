//! All numbers as `OpenMetrics` text.
//!
//! The format is that of <https://prometheus.io/docs/specs/om/open_metrics_spec/>. No label holds
//! what a client or peer can choose, so the number of series is bounded.

use std::fmt::{Display, Write};

use libipc::interface::control::{ConnectionKind, Status};

use crate::audit::Tally;
use crate::connections::Connections;

/// What a monitoring system is told.
pub(crate) fn text(status: &Status, tally: &Tally, connections: &Connections) -> String {
    let mut text = Text(String::with_capacity(8 * 1024));
    about_decisions(&mut text, status, tally);
    about_connections(&mut text, status, connections);
    about_configuration(&mut text, status);
    text.0.push_str("# EOF\n");
    text.0
}

fn about_decisions(text: &mut Text, status: &Status, tally: &Tally) {
    text.family("ipcd_decisions", "counter", "Requests, by what became of them.");
    for (verdict, direction, count) in tally.decisions() {
        let direction = direction.map_or_else(String::new, |direction| direction.to_string());
        let labels = [("verdict", verdict.as_str()), ("direction", &direction)];
        text.sample("ipcd_decisions_total", &labels, count);
    }
    text.family("ipcd_limit_reached", "counter", "Times that a limit was in somebody's way.");
    for (limit, count) in tally.limits() {
        text.sample("ipcd_limit_reached_total", &[("limit", limit)], count);
    }
    text.family("ipcd_limit_used", "gauge", "How much of a limit is taken; by one user, the most.");
    for taken in &status.taken {
        text.sample("ipcd_limit_used", &[("limit", &taken.limit)], taken.used);
    }
    text.family("ipcd_limit", "gauge", "How much of it there may be.");
    for taken in &status.taken {
        text.sample("ipcd_limit", &[("limit", &taken.limit)], taken.most);
    }
    let left_out = tally.left_out();
    text.family("ipcd_log_lines_left_out", "counter", "Lines that the log's limit left out.");
    text.sample("ipcd_log_lines_left_out_total", &[], left_out);
}

fn about_connections(text: &mut Text, status: &Status, connections: &Connections) {
    text.family("ipcd_clients", "gauge", "Connected clients.");
    text.sample("ipcd_clients", &[], status.clients);
    text.family("ipcd_connections", "gauge", "Connections that are listed.");
    for (kind, name) in KINDS {
        let count = connections.iter().filter(|(_, entry)| entry.kind() == kind).count();
        text.sample("ipcd_connections", &[("kind", name)], count);
    }
    text.family(
        "ipcd_connections_forgotten",
        "counter",
        "Connections no longer listed at a limit.",
    );
    text.sample("ipcd_connections_forgotten_total", &[], connections.forgotten());
    text.family("ipcd_carrier_available", "gauge", "Whether a daemon that carries bytes runs.");
    for carrier in &status.transports {
        let labels = [("name", carrier.name.as_str())];
        text.sample("ipcd_carrier_available", &labels, u8::from(carrier.available));
    }
}

fn about_configuration(text: &mut Text, status: &Status) {
    text.family("ipcd", "info", "The program.");
    let labels = [("version", status.version.as_str()), ("instance", &status.instance)];
    text.sample("ipcd_info", &labels, 1);
    text.family("ipcd_uptime_seconds", "gauge", "How long it runs.");
    text.sample("ipcd_uptime_seconds", &[], Seconds(status.uptime_ms));
    text.family("ipcd_configuration_revision", "gauge", "Configurations taken since the start.");
    text.sample("ipcd_configuration_revision", &[], status.revision);
    text.family("ipcd_configuration_age_seconds", "gauge", "Age of the live one.");
    text.sample("ipcd_configuration_age_seconds", &[], Seconds(status.loaded_ms));
    text.family("ipcd_configuration_refused", "gauge", "1 if the files have problems since.");
    let is_refused = u8::from(!status.refused.is_empty());
    text.sample("ipcd_configuration_refused", &[], is_refused);
    text.family("ipcd_rules", "gauge", "Rules of the live configuration.");
    text.sample("ipcd_rules", &[], status.rules);
    text.family("ipcd_rules_dormant", "gauge", "Those that match nobody: no such user or group.");
    text.sample("ipcd_rules_dormant", &[], status.dormant.len());
}

/// Every kind of connection, with its name.
const KINDS: [(ConnectionKind, &str); 4] = [
    (ConnectionKind::Name, "name"),
    (ConnectionKind::Socket, "socket"),
    (ConnectionKind::Registered, "registered"),
    (ConnectionKind::Relayed, "relayed"),
];

/// Milliseconds as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Text while it is written. Writing to a `String` cannot fail.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _written = write!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}\n").is_ok();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let label = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
        let labels = labels.iter().map(label).collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _written = writeln!(self.0, "{name}{labels} {value}").is_ok();
    }
}

/// A label's value: a backslash, a quote and a line's end are written with a backslash.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_times_are_seconds() {
        let mut text = Text(String::new());
        text.sample("a", &[("b", "x\"y\\z\n")], Seconds(1_050));
        text.sample("c", &[], 1);
        assert_eq!(text.0, "a{b=\"x\\\"y\\\\z\\n\"} 1.050\nc 1\n");
    }
}
