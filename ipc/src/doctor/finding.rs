//! What is made of the facts about an installation. No I/O.

use std::fmt;
use std::path::{Path, PathBuf};

use libipc::environment::NetworkFileError;
use libipc::interface::control::Status;
use serde_json::{Value, json};

use crate::format;
use crate::tls::Said;

/// Something that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    /// What is wrong.
    pub(super) what: String,
    /// A command, or what else to do.
    pub(super) cure: String,
    /// Whether something does not work because of it.
    pub(super) is_broken: bool,
}

/// What to do with a broker of one's own that has to begin anew.
const RESTART: &str = "end ipcd and start it again";

/// How a broker is.
#[derive(Debug)]
pub(super) enum Broker {
    /// It has no socket.
    Absent,
    /// It has a socket, and nobody listens.
    Silent,
    /// It has a socket that this user may not use.
    Closed,
    /// It takes connections, and does not answer, for this reason.
    Mute(String),
    /// It answers.
    Answers,
    /// It has told how it is.
    Told(Box<Status>),
}

/// Whose broker it is, and so how it is started.
#[derive(Debug)]
pub(super) enum House {
    System,
    User,
    /// One that somebody has named, at that run directory.
    Named(PathBuf),
}

impl House {
    fn is_system(&self) -> bool {
        matches!(self, Self::System)
    }

    fn start(&self) -> String {
        match self {
            Self::System => "systemctl start ipcd.socket".to_owned(),
            Self::User => "ipcd --user &".to_owned(),
            Self::Named(path) => format!("ipcd --rundir {} &", path.display()),
        }
    }

    fn restart(&self) -> String {
        match self {
            Self::System => "systemctl restart ipcd.socket".to_owned(),
            Self::User | Self::Named(_) => self.start(),
        }
    }
}

/// A directory that has not the mode that it should have.
#[derive(Debug)]
pub(super) struct Mode {
    pub(super) path: PathBuf,
    pub(super) wanted: u32,
    /// Its owner and mode, if it is there.
    pub(super) found: Option<(u32, u32)>,
}

/// The socket of a daemon that belongs to somebody else than the broker.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) daemon: &'static str,
    pub(super) path: PathBuf,
    pub(super) owner: u32,
}

/// A unit, as the service manager has it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Unit {
    name: &'static str,
    state: State,
    is_enabled: bool,
    result: String,
    /// The exit code of its program.
    code: String,
}

/// What a unit does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    NotInstalled,
    /// Nothing starts it.
    Masked,
    Active,
    /// It has ended in failure.
    Down,
    /// It is being started, and has not been active since it ended.
    Starting,
    /// Nobody has asked for it.
    Idle,
}

impl Finding {
    fn broken(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into(), is_broken: true }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"what": self.what, "cure": self.cure, "broken": self.is_broken})
    }

    /// How bad it is, what is wrong, and what to do, separated by tabs.
    pub(super) fn raw(&self) -> String {
        let grade = if self.is_broken { "broken" } else { "hint" };
        format!("{grade}\t{}\t{}\n", format::plain(&self.what), format::plain(&self.cure))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  to do  {}", self.what, self.cure)
    }
}

/// The kernel cannot tell which unit a client is in.
pub(super) fn of_old_kernel() -> Finding {
    Finding {
        what: "this kernel does not say for sure which unit a client runs in".to_owned(),
        cure: "use Linux 6.5 or newer for rules with unit:".to_owned(),
        is_broken: false,
    }
}

pub(super) fn of_network(error: &NetworkFileError) -> Finding {
    Finding::broken(error.to_string(), "mend the file that IPC_NETWORK_FILE names")
}

pub(super) fn of_place(error: &str, is_system: bool) -> Finding {
    let cure = if is_system {
        "systemd-tmpfiles --create ipcd.conf"
    } else {
        "make a directory that belongs to you and nobody else can write to"
    };
    Finding::broken(error, cure)
}

pub(super) fn of_modes(wrong: &[Mode]) -> Option<Finding> {
    let said = wrong.iter().map(|Mode { path, wanted, found }| match found {
        None => format!("{} is missing", path.display()),
        Some((0, mode)) => format!("{} has mode {mode:o}, not {wanted:o}", path.display()),
        Some((uid, _)) => format!("{} belongs to uid {uid}, not to root", path.display()),
    });
    let said = said.collect::<Vec<_>>().join("; ");
    (!said.is_empty()).then(|| Finding::broken(said, "systemd-tmpfiles --create ipcd.conf"))
}

/// The daemon has looked up whose its socket is when it started: it has to do so again.
pub(super) fn of_owner(Foreign { daemon, path, owner }: &Foreign) -> Finding {
    let path = path.display();
    let what =
        format!("{path} belongs to uid {owner}, and the broker, which is ipcd, cannot use it");
    let again = format!("systemctl reload-or-restart ipcd-{daemon}d");
    Finding::broken(what, format!("chown ipcd {path} && {again}"))
}

pub(super) fn of_broker(socket: &Path, broker: &Broker, house: &House) -> Vec<Finding> {
    let socket = socket.display();
    match broker {
        Broker::Answers => Vec::new(),
        Broker::Mute(why) => {
            let restart = if house.is_system() { "systemctl restart ipcd" } else { RESTART };
            vec![Finding::broken(format!("the broker at {socket} does not answer: {why}"), restart)]
        }
        Broker::Absent => vec![Finding::broken(format!("{socket} is not there"), house.start())],
        Broker::Silent => {
            vec![Finding::broken(format!("nobody listens at {socket}"), house.restart())]
        }
        Broker::Closed => {
            vec![Finding::broken(format!("{socket} may not be used by you"), house.restart())]
        }
        Broker::Told(status) => of_status(status, house.is_system()),
    }
}

fn of_status(status: &Status, is_system: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if status.version != env!("CARGO_PKG_VERSION") {
        let what =
            format!("ipcd {} runs, this is ipc {}", status.version, env!("CARGO_PKG_VERSION"));
        let cure = if is_system { "systemctl restart ipcd" } else { RESTART };
        found.push(Finding { what, cure: cure.to_owned(), is_broken: false });
    }
    if !status.refused.is_empty() {
        let problems = status.refused.iter().map(|problem| match problem.file.as_str() {
            "" => problem.message.clone(),
            file => format!("{file}:{}:{}: {}", problem.line, problem.column, problem.message),
        });
        let what = format!(
            "the files have problems since revision {} was read, which is still in force: {}",
            status.revision,
            problems.collect::<Vec<_>>().join("; ")
        );
        found.push(Finding::broken(what, "mend that, then: ipc reload"));
    }
    let silent = status.transports.iter().filter(|carrier| {
        // Others are not missed until a rule speaks of them.
        !carrier.available && ["tcp", "tls"].contains(&carrier.name.as_str())
    });
    for carrier in silent {
        let what = format!("ipcd-{}d does not run: nothing can be reached over {0}", carrier.name);
        let cure = if is_system {
            format!("systemctl start ipcd-{}d.socket", carrier.name)
        } else {
            format!("start ipcd with --with {}d", carrier.name)
        };
        found.push(Finding { what, cure, is_broken: false });
    }
    for rule in &status.dormant {
        let what =
            format!("the rule at {rule} matches nobody: it names an account that is not there");
        let cure = "make the account, or take the rule out".to_owned();
        found.push(Finding { what, cure, is_broken: false });
    }
    found
}

/// A problem of the files, and what to do about it and then.
pub(super) fn of_configuration(problem: String, cure: &str, then: &str) -> Finding {
    Finding::broken(problem, format!("{cure}, then: {then}"))
}

/// What tlsd says of its configuration.
pub(super) fn of_tls(said: &Said) -> Finding {
    let cure = "mend it, then: systemctl reload ipcd-tlsd".to_owned();
    Finding { what: said.text.clone(), cure, is_broken: said.is_broken }
}

impl Unit {
    /// Reads what `systemctl show` prints.
    pub(super) fn read(name: &'static str, text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default()
        };
        let number = |key: &str| value(key).parse::<u64>().unwrap_or_default();
        let has_ended_since =
            number("InactiveEnterTimestampMonotonic") > number("ActiveEnterTimestampMonotonic");
        let state = match (value("LoadState"), value("ActiveState")) {
            ("masked", _) => State::Masked,
            ("loaded", "active") => State::Active,
            ("loaded", "failed") => State::Down,
            ("loaded", "activating") if has_ended_since => State::Starting,
            ("loaded", _) => State::Idle,
            _ => State::NotInstalled,
        };
        Self {
            name,
            state,
            is_enabled: value("UnitFileState") == "enabled",
            result: value("Result").to_owned(),
            code: value("ExecMainStatus").to_owned(),
        }
    }

    /// Whether it has ended before and is being started, which may come to nothing again.
    pub(super) fn is_starting(&self) -> bool {
        self.state == State::Starting
    }

    /// Whether it is the broker's, and does not start.
    pub(super) fn keeps_broker_down(&self) -> bool {
        let does_not_run = matches!(self.state, State::Masked | State::Down | State::Starting);
        self.name == "ipcd.service" && does_not_run
    }

    /// What is wrong with it. One that is not installed, or that somebody has switched off, is as
    /// it should be.
    pub(super) fn finding(&self) -> Option<Finding> {
        let Self { name, state, is_enabled, result, code } = self;
        let what = match state {
            State::Masked => {
                let what = format!("{name} is masked: nothing starts it");
                return Some(Finding::broken(what, format!("systemctl unmask {name}")));
            }
            State::Down | State::Starting if name.ends_with(".service") => {
                let how = match result.as_str() {
                    "success" => "it is started again and again".to_owned(),
                    _ => format!("{result}, exit code {code}"),
                };
                format!("{name} does not run ({how}): journalctl --unit {name} says why")
            }
            State::Down | State::Idle if name.ends_with(".socket") && *is_enabled => {
                let why = if result == "success" { "" } else { result };
                let colon = if why.is_empty() { "" } else { ": " };
                format!("{name} is enabled and not active{colon}{why}")
            }
            _ => return None,
        };
        Some(Finding::broken(what, format!("systemctl restart {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_socket_is_set_right_by_one_line() {
        let path = PathBuf::from("/run/ipc/transport/tcp");
        let found = of_owner(&Foreign { daemon: "tcp", path, owner: 7 });
        let line = "chown ipcd /run/ipc/transport/tcp && \
                    systemctl reload-or-restart ipcd-tcpd";
        assert_eq!(found.cure, line);
    }

    #[test]
    fn only_a_unit_that_should_be_active_and_is_not_is_wrong() {
        let read = |text: &str| Unit::read("ipcd.socket", text).finding();
        let state = "LoadState=loaded\nUnitFileState=enabled\n";
        assert_eq!(read(&format!("{state}ActiveState=active\nResult=success\n")), None);
        assert_eq!(read("LoadState=not-found\nActiveState=inactive\n"), None);
        assert_eq!(read("LoadState=loaded\nUnitFileState=disabled\nActiveState=inactive\n"), None);
        let text = format!("{state}ActiveState=failed\nResult=trigger-limit-hit\n");
        let found = read(&text).unwrap();
        assert_eq!(found.what, "ipcd.socket is enabled and not active: trigger-limit-hit");
        assert_eq!(found.cure, "systemctl restart ipcd.socket");
        let found = read(&format!("{state}ActiveState=inactive\nResult=success\n")).unwrap();
        assert_eq!(found.what, "ipcd.socket is enabled and not active");
        let found = read("LoadState=masked\nActiveState=inactive\n").unwrap();
        assert_eq!(found.cure, "systemctl unmask ipcd.socket");
    }

    #[test]
    fn a_service_that_fails_is_wrong_and_one_that_nobody_asks_for_is_not() {
        let read = |text: &str| {
            let text = format!("LoadState=loaded\nUnitFileState=indirect\n{text}");
            Unit::read("ipcd-tcpd.service", &text).finding().map(|found| found.what)
        };
        let times = |entered: u32, ended: u32| {
            format!(
                "ActiveEnterTimestampMonotonic={entered}\nInactiveEnterTimestampMonotonic={ended}\n"
            )
        };
        for fine in [
            "ActiveState=inactive\nResult=success\n".to_owned(),
            format!("ActiveState=active\n{}", times(5, 4)),
            // For the first time.
            format!("ActiveState=activating\n{}", times(0, 0)),
            format!("ActiveState=reloading\n{}", times(5, 4)),
        ] {
            assert_eq!(read(&fine), None, "{fine}");
        }
        let said = read("ActiveState=failed\nResult=exit-code\nExecMainStatus=78\n").unwrap();
        assert!(
            said.starts_with("ipcd-tcpd.service does not run (exit-code, exit code 78)"),
            "{said}"
        );
        // Started again and again.
        assert!(read(&format!("ActiveState=activating\n{}", times(4, 5))).is_some());
    }

    #[test]
    fn modes_are_told_with_what_they_should_be() {
        assert_eq!(of_modes(&[]), None);
        let wrong = [
            Mode { path: "/a".into(), wanted: 0o710, found: Some((0, 0o755)) },
            Mode { path: "/b".into(), wanted: 0o711, found: Some((7, 0o711)) },
            Mode { path: "/c".into(), wanted: 0o755, found: None },
        ];
        let said = of_modes(&wrong).unwrap().what;
        assert_eq!(
            said,
            "/a has mode 755, not 710; /b belongs to uid 7, not to root; /c is missing"
        );
    }
}
