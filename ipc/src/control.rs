//! `ipc status` and `ipc reload`, and how a broker is asked.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use libipc::interface::broker::BrokerError;
use libipc::interface::control::{ControlError, RELOAD, Reloaded, STATUS, Status};
use libipc::varlink;
use libipc::{Broker, ConnectError};
use serde::{Serialize, de::DeserializeOwned};

use crate::args::Place;
use crate::report::{self, Report};

/// Asks the first broker that there is.
pub(crate) fn ask<P: Serialize, R: DeserializeOwned>(
    place: &Place,
    name: &str,
    method: &str,
    parameters: &P,
) -> Result<R, Report> {
    let directories = place.environment().run_directories();
    let directory = directories.iter().find(|one| one.has_broker()).or(directories.last());
    let Some(directory) = directory else {
        return Err(Report::usage(name, "no run directory is known"));
    };
    let deadline = Instant::now() + place.timeout()?;
    let report = |error: ConnectError| Report::of(name, &error);
    directory.check(nix::unistd::geteuid().as_raw()).map_err(|error| {
        report(match error {
            libipc::rundir::RunDirectoryError::System { .. } => {
                ConnectError::NoBroker { path: directory.broker() }
            }
            error => ConnectError::RunDirectory(error),
        })
    })?;
    let mut broker = Broker::open(directory, deadline).map_err(report)?;
    let message = broker.call(method, parameters, deadline).map_err(report)?;
    if let Ok(error) = serde_json::from_slice::<BrokerError>(&message) {
        return Err(report(ConnectError::Broker(Box::new(error))));
    }
    if let Ok(error) = serde_json::from_slice::<ControlError>(&message) {
        return Err(of_control(name, &error));
    }
    let malformed = |error| report(ConnectError::Malformed(error));
    let reply = varlink::read_reply(&message).map_err(malformed)?;
    if let Some(error) = reply.error {
        return Err(Report::new(3, name, format!("the broker answered {error}")));
    }
    varlink::read_parameters(reply.parameters).map_err(malformed)
}

fn of_control(name: &str, error: &ControlError) -> Report {
    match error {
        ControlError::NotPermitted { reason } => Report::new(50, name, format!("denied: {reason}")),
        ControlError::ConfigurationInvalid { problems } => {
            let mut text = "the new configuration has problems, the old one stays".to_owned();
            for problem in problems {
                let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
                // Writing to a String cannot fail.
                let _written = write!(text, "\n{place}: {}", problem.message).is_ok();
                if let Some(help) = &problem.help {
                    let _written = write!(text, "\n  help: {help}").is_ok();
                }
            }
            Report::new(78, name, text)
        }
    }
}

pub(crate) fn status(place: &Place, as_json: bool) -> Result<ExitCode, Report> {
    let status: Status = ask(place, "status", STATUS, &serde_json::json!({}))?;
    if as_json {
        return report::print(&format!("{}\n", serde_json::json!(status)));
    }
    let mut text = format!(
        "ipcd {} (pid {}), {} instance at {}\n",
        status.version, status.pid, status.instance, status.rundir
    );
    let mut line = |name: &str, value: String| {
        let _written = writeln!(text, "  {name:14} {value}").is_ok();
    };
    line("running for", format!("{} s", status.uptime_ms / 1000));
    line("configuration", format!("revision {}, {} rules", status.revision, status.rules));
    line("from", status.origins.join(", "));
    line("clients", status.clients.to_string());
    for rule in &status.dormant {
        line("matches nobody", rule.clone());
    }
    for transport in status.transports.iter().filter(|one| one.available) {
        line("carries", transport.name.clone());
    }
    for counter in &status.counters {
        line(&counter.name, counter.value.to_string());
    }
    for problem in &status.refused {
        line(
            "refused",
            format!("{}:{}:{}: {}", problem.file, problem.line, problem.column, problem.message),
        );
    }
    report::print(&text)
}

pub(crate) fn reload(place: &Place) -> Result<ExitCode, Report> {
    let done: Reloaded = ask(place, "reload", RELOAD, &serde_json::json!({}))?;
    report::print(&format!("revision {} is live\n", done.revision))
}
