//! `ipc check`: everything that is wrong with a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use policy::config::WarningKind;
use policy::dump::Line;
use serde_json::{Value, json};
use settings::Problem;

use crate::format::Format;
use crate::report::{self, Report};
use crate::sources::{self, HostAccounts};

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Files as they would lie in ipcd.d, whoever may write to them where they are now; none: those
    /// that the broker reads
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub(crate) files: Vec<PathBuf>,
    /// The main file alone, as `ipcd --config` reads it, or a directory like /etc/ipcd; refused, as
    /// by the broker, if others may write to it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The broker's run directory, below whose `front` its fronts are
    #[arg(long, value_name = "DIR")]
    pub(crate) rundir: Option<PathBuf>,
    /// Print what all files say together, each line with where it stands
    #[arg(long)]
    pub(crate) dump: bool,
    /// Accounts that do not exist are errors too
    #[arg(long)]
    pub(crate) strict: bool,
}

pub(crate) fn run(check: &Check, format: Format) -> Result<ExitCode, Report> {
    let sources = match (&check.config, check.files.as_slice()) {
        (Some(main), _) => sources::named(std::slice::from_ref(main))?,
        (None, []) => sources::installed()?,
        (None, files) => sources::listed(files)?,
    };
    if check.dump
        && let Ok(lines) = policy::dump::dump(&sources, &HostAccounts)
    {
        return dump(&lines, format);
    }
    let found =
        policy::check::check(&sources, &HostAccounts, &sources::fronts(check.rundir.as_deref()));
    let shown = match format {
        Format::Json => format!("{}\n", to_json(&found)),
        Format::Pretty => format!("{:#}\n", to_json(&found)),
        Format::Table | Format::Raw => found.to_string(),
    };
    report::print(&shown)?;
    Ok(ExitCode::from(if found.passes(check.strict) { 0 } else { 78 }))
}

fn dump(lines: &[Line], format: Format) -> Result<ExitCode, Report> {
    let as_json = lines.iter().map(|line| json!({"text": line.text, "origin": line.origin}));
    let shown = match format {
        Format::Json => format!("{}\n", as_json.collect::<Value>()),
        Format::Pretty => format!("{:#}\n", as_json.collect::<Value>()),
        Format::Table | Format::Raw => {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            format!("{}\n", lines.join("\n"))
        }
    };
    report::print(&shown)
}

fn to_json(found: &policy::check::Report) -> Value {
    let (odd, warnings): (Vec<_>, Vec<_>) =
        found.warnings.iter().partition(|warning| warning.kind == WarningKind::Lint);
    let odd = odd.into_iter().map(|warning| line(&warning.problem));
    json!({
        "order": found.order,
        "problems": found.problems.iter().map(line).chain(odd).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(|warning| line(&warning.problem)).collect::<Vec<_>>(),
        "tests": found.tests,
    })
}

fn line(problem: &Problem) -> Value {
    let Problem { file, line, column, message, help } = problem;
    json!({"file": file, "line": line, "column": column, "message": message, "help": help})
}
