//! How a broker's administrators ask it, and `ipc reload`.

use std::process::ExitCode;
use std::time::Instant;

use libipc::connector::Connector;
use libipc::interface::broker::BrokerError;
use libipc::interface::control::{ControlError, Problem, RELOAD, Reloaded};
use libipc::rundir::{RunDirectory, RunDirectoryError};
use libipc::varlink;
use libipc::{Broker, ConnectError};
use serde::{Serialize, de::DeserializeOwned};

use crate::place::Place;
use crate::report::{self, Report};
use crate::{asker, failure};

/// Asks the first broker that there is.
pub(crate) fn ask<P: Serialize, R: DeserializeOwned>(
    place: &Place,
    name: &str,
    method: &str,
    parameters: &P,
) -> Result<R, Report> {
    let deadline = Instant::now() + place.timeout()?;
    let mut broker = open(place, name, deadline)?;
    let message = broker.call(method, parameters, deadline);
    read(name, &message.map_err(|error| failure::of(name, &asker::text(), &error))?)
}

/// Connects to the broker by way of which this program was started, else to the first that there is.
pub(crate) fn open(place: &Place, name: &str, deadline: Instant) -> Result<Broker, Report> {
    let report = |error: ConnectError| failure::of(name, &asker::text(), &error);
    let environment = place.environment();
    if environment.broker_fd.is_some() {
        let connector = Connector::new(&environment, place.timeout()?).map_err(report)?;
        if let Some(broker) = connector.inherited().map_err(report)? {
            return Ok(broker);
        }
    }
    Broker::open(&directory(place).map_err(report)?, deadline).map_err(report)
}

/// Reads a broker's answer.
pub(crate) fn read<R: DeserializeOwned>(name: &str, message: &[u8]) -> Result<R, Report> {
    let report = |error: ConnectError| failure::of(name, &asker::text(), &error);
    if let Ok(error) = serde_json::from_slice::<BrokerError>(message) {
        return Err(report(ConnectError::Broker(Box::new(error))));
    }
    if let Ok(error) = serde_json::from_slice::<ControlError>(message) {
        return Err(of_control(name, &error));
    }
    let malformed = |error| report(ConnectError::Malformed(error));
    let reply = varlink::read_reply(message).map_err(malformed)?;
    if let Some(error) = reply.error {
        return Err(Report::new(3, name, "the broker cannot do that", error)
            .cure("to do", "compare ipc version with what ipc status says of the broker"));
    }
    varlink::read_parameters(reply.parameters).map_err(malformed)
}

/// The first run directory with a broker; the last one if none has.
pub(crate) fn directory(place: &Place) -> Result<RunDirectory, ConnectError> {
    let mut directories = place.environment().run_directories();
    let first = directories.iter().position(RunDirectory::has_broker);
    let last = directories.len().saturating_sub(1);
    let directory = directories.swap_remove(first.unwrap_or(last));
    match directory.check(nix::unistd::geteuid().as_raw()) {
        Ok(()) => Ok(directory),
        Err(RunDirectoryError::System { .. }) => {
            Err(ConnectError::NoBroker { path: directory.broker() })
        }
        Err(error) => Err(ConnectError::RunDirectory(error)),
    }
}

fn of_control(name: &str, error: &ControlError) -> Report {
    match error {
        ControlError::NotPermitted { reason } => Report::new(50, name, "denied", reason)
            .fact("asked by", asker::text())
            .cure("to do", "ask as root, or as a member of admin-groups"),
        ControlError::ConfigurationInvalid { problems } => {
            let why = "the new configuration has problems, the old one stays";
            let report = Report::new(78, name, "configuration", why);
            let report = problems.iter().fold(report, |report, problem| {
                let report = report.fact("problem", place_of(problem));
                match &problem.help {
                    Some(help) => report.fact("help", help),
                    None => report,
                }
            });
            report.cure("to do", "mend it, then: ipc reload")
        }
        ControlError::UnknownConnection { id } => unknown_connection(name, *id),
        ControlError::HandedOver { reason, .. } => {
            Report::new(50, name, "out of reach", reason).cure("to do", "end it as root: ipc kill")
        }
    }
}

/// A connection that is not there, or no longer.
pub(crate) fn unknown_connection(name: &str, id: u64) -> Report {
    Report::new(69, name, "unknown connection", format!("none has the number {id}"))
        .cure("to do", "look for its number: ipc connections")
}

/// A problem of a configuration, with where it is. One that is about no line of a file, for example
/// that the file cannot be read, says by itself what it is about.
pub(crate) fn place_of(problem: &Problem) -> String {
    let Problem { file, line, column, message, .. } = problem;
    let number = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    match *line {
        0 => message.clone(),
        line => settings::Problem {
            file: file.clone(),
            line: number(line),
            column: number(*column),
            message: message.clone(),
            help: None,
        }
        .to_string(),
    }
}

pub(crate) fn reload(place: &Place, as_json: bool) -> Result<ExitCode, Report> {
    let done: Reloaded = ask(place, "reload", RELOAD, &serde_json::json!({}))?;
    if as_json {
        return report::print(&format!("{}\n", serde_json::json!(done)));
    }
    let stale = match done.would_be_denied {
        0 => String::new(),
        count => format!("{count} would be denied now and stay: ipc connections --stale\n"),
    };
    let ended = match done.ended {
        0 => String::new(),
        count => format!("{count} would be denied now and were ended\n"),
    };
    report::print(&format!("revision {} is live\n{ended}{stale}", done.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_was_not_taken_says_every_problem_with_its_help() {
        let problem = |line, help: Option<&str>| Problem {
            file: "ipcd.toml".into(),
            line,
            column: 2,
            message: "unknown key".into(),
            help: help.map(Into::into),
        };
        let problems = vec![problem(1, Some("did you mean rules?")), problem(9, None)];
        let report = of_control("reload", &ControlError::ConfigurationInvalid { problems });
        assert_eq!(
            report.to_string(),
            "ipc: reload: configuration: the new configuration has problems, the old one stays\n  \
             problem  ipcd.toml:1:2: unknown key\n  help     did you mean rules?\n  \
             problem  ipcd.toml:9:2: unknown key\n  to do    mend it, then: ipc reload"
        );
        assert_eq!(report.code(), 78);
        let message = "/etc/ipcd/ipcd.toml: Permission denied";
        let unread =
            Problem { file: String::new(), column: 0, message: message.into(), ..problem(0, None) };
        assert_eq!(place_of(&unread), message);
        let argument = Problem { file: "command line, rule 1".into(), ..problem(1, None) };
        assert_eq!(place_of(&argument), "command line, rule 1, character 2: unknown key");
    }

    #[test]
    fn what_the_broker_cannot_do_is_told_with_what_can_be_done() {
        let error = ControlError::HandedOver { id: 7, reason: "the client holds it".into() };
        assert_eq!(
            of_control("7", &error).to_string(),
            "ipc: 7: out of reach: the client holds it\n  to do  end it as root: ipc kill"
        );
        let unknown =
            br#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"x"}}"#;
        let said = read::<serde_json::Value>("x", unknown).unwrap_err().to_string();
        assert_eq!(
            said,
            "ipc: x: the broker cannot do that: org.varlink.service.MethodNotFound\n  \
             to do  compare ipc version with what ipc status says of the broker"
        );
    }

    #[test]
    fn who_may_not_administer_is_told_who_may() {
        let error = ControlError::NotPermitted { reason: "not for you".into() };
        let report = of_control("status", &error);
        assert!(report.to_string().ends_with("ask as root, or as a member of admin-groups"));
        assert_eq!(report.code(), 50);
    }
}
