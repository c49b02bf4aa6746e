//! `ipc doctor`: what is wrong with an installation, and what to do about each.
//!
//! It changes nothing. Facts are gathered here; what is made of them is in [`finding`].

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use libipc::interface::control::{STATUS, Status};
use libipc::rundir::{Instance, RunDirectory};
use policy::accounts::Accounts;
use serde_json::json;

use crate::control;
use crate::doctor::finding::{Broker, Finding, Foreign, House, Mode, Unit};
use crate::format::Format;
use crate::place::Place;
use crate::report::{self, Report};
use crate::sources::{self, HostAccounts};
use crate::tls;

mod finding;

/// The exit codes of a broker that ends a connection, or says nothing in time.
const MUTE: [u8; 2] = [69, 124];

/// Units of an installation: sockets, that have to be active, and services, that these start.
const UNITS: [&str; 8] = [
    "ipcd.socket",
    "ipcd.service",
    "ipcd-tcpd.socket",
    "ipcd-tcpd.service",
    "ipcd-tlsd.socket",
    "ipcd-tlsd.service",
    "ipcd-authd.socket",
    "ipcd-authd.service",
];

/// What is asked about each.
const PROPERTIES: &str = "--property=LoadState,ActiveState,UnitFileState,Result,ExecMainStatus,\
     ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic";

/// How long all units together may take to start, and how often one that starts is looked at.
const START_MOST: Duration = Duration::from_secs(2);
const START_LOOK: Duration = Duration::from_millis(50);

/// Looks at everything, and tells what is not as it should be.
pub(crate) fn run(place: &Place, format: Format) -> Result<ExitCode, Report> {
    let mut found = Vec::new();
    let environment = place.environment();
    if let Err(error) = environment.network_text() {
        found.push(finding::of_network(&error));
    }
    // What is wrong with files comes first: with them nothing starts.
    found.extend(of_configuration());
    found.extend(tls::problems().iter().map(finding::of_tls));
    let is_named = environment.rundir.is_some();
    let directories = environment.run_directories();
    // A user with a broker of his own needs no other, and one without asks the system's.
    let is_needed = |directory: &RunDirectory| match directory.instance() {
        Instance::System => !directories.iter().any(|one| is_own(one) && one.path().exists()),
        _ => is_named,
    };
    for directory in &directories {
        if directory.path().exists() || is_needed(directory) {
            found.extend(of_directory(place, directory));
        }
    }
    if !libipc::identity::tells_units() {
        found.push(finding::of_old_kernel());
    }
    show(&found, format)?;
    let is_broken = found.iter().any(|finding| finding.is_broken);
    Ok(ExitCode::from(if is_broken { 78 } else { 0 }))
}

fn is_own(directory: &RunDirectory) -> bool {
    directory.instance() != Instance::System
}

fn of_directory(place: &Place, directory: &RunDirectory) -> Vec<Finding> {
    let is_system = !is_own(directory);
    let path = directory.path();
    if let Err(error) = directory.check(nix::unistd::geteuid().as_raw()) {
        return vec![finding::of_place(&error.to_string(), is_system)];
    }
    let mut found: Vec<_> =
        if is_system { of_modes(path).into_iter().collect() } else { Vec::new() };
    let units = if is_system { units() } else { Vec::new() };
    found.extend(units.iter().filter_map(Unit::finding));
    let foreign = if is_system { of_owners(path) } else { Vec::new() };
    found.extend(foreign.iter().map(finding::of_owner));
    // To ask one that cannot start has the service manager try it again and again.
    if !units.iter().any(Unit::keeps_broker_down) {
        let mut broker = ask(place, directory);
        if let Broker::Told(status) = &mut broker {
            // Why these cannot be had has been said.
            status.transports.retain(|one| foreign.iter().all(|place| place.daemon != one.name));
        }
        let house = match directory.instance() {
            Instance::System => House::System,
            Instance::User => House::User,
            Instance::Private => House::Named(path.to_owned()),
        };
        found.extend(finding::of_broker(&directory.broker(), &broker, &house));
    }
    found
}

/// Whether the broker of that directory answers, and what it says if it may be asked.
fn ask(place: &Place, directory: &RunDirectory) -> Broker {
    match sys::socket::connect_unix_now(&directory.broker()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Broker::Absent,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Broker::Closed,
        Err(_) => return Broker::Silent,
        Ok(_connected) => {}
    }
    let place = place.at(directory.path());
    match control::ask::<_, Status>(&place, "doctor", STATUS, &json!({})) {
        Ok(status) => Broker::Told(Box::new(status)),
        Err(report) if MUTE.contains(&report.code()) => Broker::Mute(report.why().to_owned()),
        // It answers, though not this question of this user.
        Err(_) => Broker::Answers,
    }
}

/// Modes of the system's directories, which are the wall before services.
fn of_modes(path: &Path) -> Option<Finding> {
    let wanted = [("services", 0o710), ("transport", 0o711)];
    let wrong = wanted.into_iter().filter_map(|(name, mode)| {
        let path = path.join(name);
        let facts = fs::metadata(&path).ok();
        let found = facts.map(|facts| (facts.uid(), facts.mode() & 0o7777));
        (found != Some((0, mode))).then_some(Mode { path, wanted: mode, found })
    });
    finding::of_modes(&wrong.collect::<Vec<_>>())
}

/// Sockets at which the broker finds other daemons: it may use those alone that belong to it.
fn of_owners(path: &Path) -> Vec<Foreign> {
    let Some(broker) = HostAccounts.uid("ipcd") else { return Vec::new() };
    let found = ["tcp", "tls"].into_iter().filter_map(|daemon| {
        let path = path.join("transport").join(daemon);
        let owner = fs::symlink_metadata(&path).ok()?.uid();
        (owner != broker).then_some(Foreign { daemon, path, owner })
    });
    found.collect()
}

fn of_configuration() -> Vec<Finding> {
    // Where there is a service manager, that starts the broker too if it does not run.
    let by_unit = nix::unistd::geteuid().is_root() && has_service_manager();
    let then = if by_unit { "systemctl reload-or-restart ipcd" } else { "ipc reload" };
    match sources::installed() {
        Ok(sources) => {
            let report = policy::check::check(&sources, &HostAccounts, &sources::fronts(None));
            let problems = report.problems.iter().map(ToString::to_string);
            problems.map(|problem| finding::of_configuration(problem, "mend it", then)).collect()
        }
        Err(report) => {
            let problem = format!("{}: {}", report.name(), report.why());
            let cure = report.what_to_do().unwrap_or("mend it");
            vec![finding::of_configuration(problem, cure, then)]
        }
    }
}

fn has_service_manager() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// How the service manager has the units; nothing where there is none.
fn units() -> Vec<Unit> {
    if !has_service_manager() {
        return Vec::new();
    }
    let until = Instant::now() + START_MOST;
    UNITS.iter().filter_map(|name| settled(name, until)).collect()
}

/// A unit, as it is once it is no longer being started: then it runs, or it has failed. One that is
/// started again and again comes to neither.
fn settled(name: &'static str, until: Instant) -> Option<Unit> {
    loop {
        let output = Command::new("systemctl").args(["show", PROPERTIES, name]).output().ok()?;
        let unit = Unit::read(name, &String::from_utf8_lossy(&output.stdout));
        if !unit.is_starting() || Instant::now() >= until {
            return Some(unit);
        }
        std::thread::park_timeout(START_LOOK);
    }
}

fn show(found: &[Finding], format: Format) -> Result<ExitCode, Report> {
    let value = json!({"findings": found.iter().map(Finding::to_json).collect::<Vec<_>>()});
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    report::print(&match format {
        Format::Json => format!("{value}\n"),
        Format::Pretty => format!("{value:#}\n"),
        Format::Raw => found.iter().map(Finding::raw).collect(),
        Format::Table if found.is_empty() => "nothing is wrong\n".to_owned(),
        Format::Table => lines.join("\n") + "\n",
    })
}
