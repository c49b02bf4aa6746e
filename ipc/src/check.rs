//! `ipc check`: everything that is wrong with a configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::accounts::Accounts;
use policy::config::Sources;
use settings::File;

use crate::args::Check;
use crate::report::{self, Report};

/// The accounts of this host.
struct HostAccounts;

impl Accounts for HostAccounts {
    fn uid(&self, name: &str) -> Option<u32> {
        nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid(&self, name: &str) -> Option<u32> {
        nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }
}

pub(crate) fn run(check: &Check, as_json: bool) -> Result<ExitCode, Report> {
    let main = Some(read(&check.file)?);
    let beside = check.file.with_file_name("ipcd.d");
    let drop_ins = drop_ins(&beside)?.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let sources = Sources { command_line: Vec::new(), drop_ins, main };
    let report = policy::check::check(&sources, &HostAccounts);
    if as_json {
        let line = |problem: &settings::Problem| {
            serde_json::json!({
                "file": problem.file, "line": problem.line, "column": problem.column,
                "message": problem.message, "help": problem.help,
            })
        };
        let warnings = report.warnings.iter().map(|warning| &warning.problem);
        let value = serde_json::json!({
            "order": report.order,
            "problems": report.problems.iter().map(line).collect::<Vec<_>>(),
            "warnings": warnings.map(line).collect::<Vec<_>>(),
        });
        report::print(&format!("{value}\n"))?;
    } else {
        report::print(&report.to_string())?;
    }
    Ok(ExitCode::from(if report.passes(check.strict) { 0 } else { 78 }))
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, Report> {
    let failed = |error| Report::new(78, &directory.display().to_string(), error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths: std::io::Result<Vec<PathBuf>> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<File, Report> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Report::new(78, &name, error))?;
    Ok(File { name, text })
}
