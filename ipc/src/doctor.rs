//! `ipc doctor`: what is wrong with an installation, and what to do about each.
//!
//! It changes nothing. Facts are gathered here; what is made of them is in [`finding`].

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use libipc::interface::control::{STATUS, Status};
use libipc::rundir::{Instance, RunDirectory};
use serde_json::json;

use crate::control;
use crate::doctor::finding::{Broker, Finding, Mode, Unit};
use crate::format::Format;
use crate::place::Place;
use crate::report::{self, Report};
use crate::sources::{self, HostAccounts};
use crate::tls;

mod finding;

/// Units of an installation that have to be active.
const UNITS: [&str; 3] = ["ipcd.socket", "ipcd-tcpd.socket", "ipcd-tlsd.socket"];

/// Looks at everything, and tells what is not as it should be.
pub(crate) fn run(place: &Place, format: Format) -> Result<ExitCode, Report> {
    let mut found = Vec::new();
    let environment = place.environment();
    if let Err(error) = environment.network_text() {
        found.push(finding::of_network(&error));
    }
    let is_named = environment.rundir.is_some();
    for directory in environment.run_directories() {
        found.extend(of_directory(place, &directory, is_named));
    }
    found.extend(of_configuration());
    found.extend(tls::problems().iter().map(finding::of_tls));
    if !libipc::identity::tells_units() {
        found.push(finding::of_old_kernel());
    }
    show(&found, format)?;
    let is_broken = found.iter().any(|finding| finding.is_broken);
    Ok(ExitCode::from(if is_broken { 78 } else { 0 }))
}

fn of_directory(place: &Place, directory: &RunDirectory, is_named: bool) -> Vec<Finding> {
    let is_system = directory.instance() == Instance::System;
    let path = directory.path();
    if !path.exists() && !is_named && !is_system {
        // A user without a broker of his own asks the system's.
        return Vec::new();
    }
    if let Err(error) = directory.check(nix::unistd::geteuid().as_raw()) {
        return vec![finding::of_place(&error.to_string(), is_system)];
    }
    let mut found: Vec<_> =
        if is_system { of_modes(path).into_iter().collect() } else { Vec::new() };
    let units = if is_system { units() } else { Vec::new() };
    let broker = ask(place, directory);
    found.extend(finding::of_broker(&directory.broker(), &broker, is_system));
    found.extend(units.iter().filter_map(Unit::finding));
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

fn of_configuration() -> Vec<Finding> {
    match sources::installed() {
        Ok(sources) => {
            let report = policy::check::check(&sources, &HostAccounts, &sources::fronts(None));
            finding::of_configuration(report.problems.iter().map(ToString::to_string).collect())
        }
        Err(report) => vec![finding::of_files(&report.to_string())],
    }
}

/// How the service manager has the units; nothing where there is none.
fn units() -> Vec<Unit> {
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let unit = |name: &&'static str| {
        let properties = "--property=LoadState,ActiveState,UnitFileState,Result";
        let output = Command::new("systemctl").args(["show", properties, name]).output().ok()?;
        Some(Unit::read(name, &String::from_utf8_lossy(&output.stdout)))
    };
    UNITS.iter().filter_map(unit).collect()
}

fn show(found: &[Finding], format: Format) -> Result<ExitCode, Report> {
    let value = json!({"findings": found.iter().map(Finding::to_json).collect::<Vec<_>>()});
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    report::print(&match format {
        Format::Json => format!("{value}\n"),
        Format::Pretty => format!("{value:#}\n"),
        Format::Table | Format::Raw if found.is_empty() => "nothing is wrong\n".to_owned(),
        Format::Table | Format::Raw => lines.join("\n") + "\n",
    })
}
