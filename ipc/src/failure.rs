//! Why there is no connection, for people: each error with its exit code, its facts and its cure.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use libipc::ConnectError;
use libipc::interface::broker::BrokerError;
use libipc::interface::transport::refusal;
use libipc::listener::ListenError;
use libipc::rundir::SYSTEM_RUNDIR;

use crate::report::Report;

/// Why there is no connection to `name`, for `asker`.
pub(crate) fn of(name: &str, asker: &str, error: &ConnectError) -> Report {
    let new = |code, what, why: &dyn std::fmt::Display| Report::new(code, name, what, why);
    let report = match error {
        ConnectError::Name(error) => {
            new(64, "no service name", error).cure("to do", "write another name")
        }
        ConnectError::Network(error) => new(64, "invalid request", error)
            .cure("to do", "write IPC_NETWORK as: NAME TARGET; NAME TARGET"),
        ConnectError::NetworkFile(error) => new(64, "invalid request", error)
            .cure("to do", "let IPC_NETWORK_FILE name a file that you alone can read"),
        ConnectError::RunDirectory(error) => {
            new(78, "configuration", error).cure("to do", "name another one in IPC_RUNDIR")
        }
        ConnectError::NoBroker { path } => {
            let why = format!("nothing listens at {}", path.display());
            no_broker(new(69, "no broker", &why), path)
        }
        ConnectError::BrokerDown { path, error } => {
            let why = format!("{} does not answer: {error}", path.display());
            no_broker(new(69, "no broker", &why), path)
        }
        ConnectError::BrokerGone => new(69, "no broker", &"it closed the connection")
            .cure("to do", "try again; the broker's log says why"),
        ConnectError::InheritedGone => {
            let why = "the one has ended by way of which this program was started";
            new(69, "no broker", &why).cure("to do", "start the program anew")
        }
        ConnectError::Broker(error) => of_broker(name, asker, error),
        ConnectError::TimedOut => new(124, "timed out", &"the broker did not answer")
            .cure("to do", "ipc status, or wait longer: --timeout SECONDS"),
        ConnectError::Service { error, .. } => new(1, "refused", error)
            .fact("leads to", format!("unix:{name}"))
            .cure("to do", "start the service; its socket is there, and nobody answers on it"),
        ConnectError::NotAStream => {
            new(3, "cannot connect", &"the service speaks in messages, not in a stream")
                .cure("to do", "use a program that is made for it")
        }
        ConnectError::System(error) => Report::system(name, error)
            .cure("to do", "look at the limits of this process: ulimit -n"),
        error => new(3, "protocol error", error)
            .cure("to do", "compare ipc version with what ipc status says of the broker"),
    };
    report.retry(error.retry())
}

/// As [`of`]; of a denial, `way` is put behind where the name leads.
pub(crate) fn of_way(name: &str, asker: &str, error: &ConnectError, way: &str) -> Report {
    match error {
        ConnectError::Broker(denial) => {
            let mut denial = (**denial).clone();
            if let BrokerError::Denied { target, .. } = &mut denial {
                target.push_str(way);
            }
            of(name, asker, &ConnectError::Broker(Box::new(denial)))
        }
        error => of(name, asker, error),
    }
}

/// Why `asker` cannot offer `name`.
pub(crate) fn not_offered(name: &str, asker: &str, error: &ListenError) -> Report {
    let cure = "offer it under another name, or in another place: --rundir DIR";
    match error {
        ListenError::Refused { error, .. } => of(name, asker, &ConnectError::Broker(error.clone())),
        ListenError::System { error: kernel, .. }
            if kernel.kind() == io::ErrorKind::PermissionDenied =>
        {
            Report::new(50, name, "not permitted", error).cure("to do", cure)
        }
        error => Report::new(71, name, "cannot be offered", error).cure("to do", cure),
    }
}

/// What is written where, for more of what a limit is about.
fn raised_where(limit: &str) -> String {
    match limit {
        "descriptors" => "LimitNOFILE= of ipcd.service".to_owned(),
        limit => format!("{limit} under [limits]"),
    }
}

/// The broker's own words.
fn of_broker(name: &str, asker: &str, error: &BrokerError) -> Report {
    let new = |code, what, why: &str| {
        let report = Report::new(code, name, what, why);
        match error.target() {
            // Of a denial the first fact is who asked.
            Some(target) if code != 50 => report.fact("leads to", target),
            _ => report,
        }
    };
    let look = |report: Report| report.cure("to look", format!("ipc why {name}"));
    match error {
        BrokerError::Denied { target, rule, reason, cure, retry } => {
            let report = new(50, "denied", reason).fact("asked by", asker);
            let report = if target.is_empty() { report } else { report.fact("leads to", target) };
            let report = match rule {
                Some(rule) => report.fact("by rule", rule),
                None => report,
            };
            match cure.as_deref().filter(|cure| !cure.is_empty()) {
                Some(cure) => report.cure("to allow", with_next_step(cure)),
                None if *retry => report.cure("to do", "ask again: the rules have just changed"),
                None => look(report),
            }
        }
        BrokerError::UnknownService { service, known } => {
            let report = new(69, "unknown service", "nothing answers here under that name");
            let report =
                if known.is_empty() { report } else { report.fact("known", known.join(", ")) };
            report.cure("to do", format!("start {service}, or write a redirect for it"))
        }
        BrokerError::Unreachable { reason, .. } => look(new(3, "unreachable", reason)),
        BrokerError::Refused { reason, .. } => {
            new(1, "refused", reason).cure("to do", after_refusal(reason))
        }
        BrokerError::TimedOut { waited_ms, .. } => {
            new(124, "timed out", &format!("no answer within {waited_ms} ms"))
                .cure("to do", "wait longer: --timeout SECONDS")
        }
        BrokerError::TransportMissing { transport, cure, .. } => {
            new(3, "cannot connect", &format!("{transport} does not run")).cure("to start", cure)
        }
        BrokerError::Untrusted { reason, .. } => look(new(3, "untrusted", reason)),
        BrokerError::Unauthenticated { reason } => {
            new(50, "not authenticated", reason).cure("to do", after_doubt(reason))
        }
        BrokerError::Busy { limit, most, .. } => {
            new(3, "busy", &format!("the limit {limit} ({most}) is reached"))
                .cure("to do", format!("try again, or raise {}", raised_where(limit)))
        }
        BrokerError::Protocol { reason, .. } => look(new(3, "protocol error", reason)),
        BrokerError::NoHandoff { .. } => {
            look(new(3, "cannot connect", "it offers nothing that this program can take"))
        }
        BrokerError::InvalidRequest { field, reason } => {
            new(64, "invalid request", &format!("{field}: {reason}"))
                .cure("to do", "correct it, and see where it leads: ipc why")
        }
        BrokerError::Internal { reason } => new(125, "the broker failed", reason)
            .cure("to do", "report this, with the broker's log"),
        error => look(new(3, "cannot connect", &error.to_string())),
    }
}

/// What helps against a far end's no.
fn after_refusal(reason: &str) -> &'static str {
    match reason {
        _ if reason.starts_with(refusal::LOGIN) => {
            "correct the user or the secret in its target; that host's log says more"
        }
        _ if reason.starts_with(refusal::LOGIN_LATER) => {
            "try again; its broker's log says why what verifies logins there does not answer"
        }
        _ if reason.starts_with(refusal::CERTIFICATE) => {
            "have it shown another certificate: certificate= of the redirect"
        }
        _ => {
            "ask for a rule on that host, or for the service; ipc monitor there shows what is asked"
        }
    }
}

/// What helps if the broker does not know who asks: a login, or whose words these are.
fn after_doubt(reason: &str) -> &'static str {
    if reason.contains("login") {
        "correct the user or the secret in its target; the broker's log says more"
    } else {
        "ask with a connection that this process has made itself"
    }
}

/// What allows it, and what brings that to life: a broker reads files again, and never its command
/// line. What is no line of a configuration is done at once.
pub(crate) fn with_next_step(cure: &str) -> String {
    if !cure.starts_with("allow ") && !cure.starts_with("[services.") {
        return cure.to_owned();
    }
    match cure.split_once("   # before command line") {
        Some((rule, place)) => {
            let place = place.trim_start_matches([',', ' ']);
            format!("start ipcd with --rule '{rule}' before {place} of its command line")
        }
        None => format!("{cure}     then: ipc reload"),
    }
}

/// What is done where no broker answers: one is started, but not where something else has its place.
fn no_broker(report: Report, path: &Path) -> Report {
    match fs::symlink_metadata(path) {
        Ok(facts) if !facts.file_type().is_socket() => {
            let path = path.display();
            report.cure("to do", format!("move {path} away, which is no socket, and start ipcd"))
        }
        _ => report.cure("to start", starting(path)),
    }
}

/// How to start the broker whose socket would be at `path`.
fn starting(path: &Path) -> String {
    match path.parent() {
        Some(rundir) if rundir != Path::new(SYSTEM_RUNDIR) => {
            format!("ipcd --rundir {} --with tcpd", rundir.display())
        }
        _ => "systemctl start ipcd".to_owned(),
    }
}

#[cfg(test)]
mod tests;
