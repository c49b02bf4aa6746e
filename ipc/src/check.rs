//! `ipc check`: everything that is wrong with a configuration.

use std::process::ExitCode;

use serde_json::{Value, json};
use settings::Problem;

use crate::args::Check;
use crate::format::Format;
use crate::report::{self, Report};
use crate::sources::{self, HostAccounts};

pub(crate) fn run(check: &Check, format: Format) -> Result<ExitCode, Report> {
    let sources = match (&check.config, check.files.as_slice()) {
        (Some(main), _) => sources::named(main)?,
        (None, []) => sources::installed()?,
        (None, files) => sources::listed(files)?,
    };
    let found = policy::check::check(&sources, &HostAccounts);
    let shown = match format {
        Format::Json => format!("{}\n", to_json(&found)),
        Format::Pretty => format!("{:#}\n", to_json(&found)),
        Format::Table | Format::Raw => found.to_string(),
    };
    report::print(&shown)?;
    Ok(ExitCode::from(if found.passes(check.strict) { 0 } else { 78 }))
}

fn to_json(found: &policy::check::Report) -> Value {
    let warnings = found.warnings.iter().map(|warning| line(&warning.problem));
    json!({
        "order": found.order,
        "problems": found.problems.iter().map(line).collect::<Vec<_>>(),
        "warnings": warnings.collect::<Vec<_>>(),
    })
}

fn line(problem: &Problem) -> Value {
    let Problem { file, line, column, message, help } = problem;
    json!({"file": file, "line": line, "column": column, "message": message, "help": help})
}
