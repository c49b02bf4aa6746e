//! Reading the configuration, at the start and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use libipc::interface::control;
use libipc::name::ServiceName;
use libipc::rundir::RunDirectory;
use policy::config::{Config, Warning, WarningKind};
use policy::fronts;
use settings::Problem;

use crate::accounts::HostAccounts;
use crate::files::Files;

/// Why a configuration is not taken: all that is wrong with it.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// A file cannot be read or believed.
    File(String),
    /// The files have problems.
    Problems(Vec<Problem>),
}

impl Refusal {
    /// As they travel.
    pub(crate) fn problems(&self) -> Vec<control::Problem> {
        let number = |place: usize| u64::try_from(place).unwrap_or(u64::MAX);
        match self {
            Self::File(message) => vec![control::Problem {
                file: String::new(),
                line: 0,
                column: 0,
                message: message.clone(),
                help: None,
            }],
            Self::Problems(problems) => problems
                .iter()
                .map(|problem| control::Problem {
                    file: problem.file.clone(),
                    line: number(problem.line),
                    column: number(problem.column),
                    message: problem.message.clone(),
                    help: problem.help.clone(),
                })
                .collect(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(message) => f.write_str(message),
            Self::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// A configuration that is in force, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// The configuration.
    pub(crate) config: Config,
    /// Whether anything in it depends on the unit that a client runs in.
    pub(crate) asks_about_units: bool,
    /// Whether it depends on logins where programs may go.
    pub(crate) asks_about_logins: bool,
    /// The paths that stand for names.
    pub(crate) fronts: BTreeMap<PathBuf, ServiceName>,
    /// Its texts, the most important first.
    pub(crate) origins: Vec<String>,
    /// Some of its rules name accounts that do not exist.
    pub(crate) sleeps: bool,
}

impl Live {
    /// The transport daemons that its schemes take.
    pub(crate) fn daemons(&self) -> Vec<String> {
        let schemes = self.config.schemes();
        let stacks = schemes.names().filter_map(|name| schemes.stack(name));
        let names: BTreeSet<&str> = stacks.flatten().map(|name| &**name).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Rules that match nobody, because their user or group does not exist.
    pub(crate) fn dormant(&self) -> Vec<String> {
        self.config.rules.dormant().map(|rule| rule.text.as_str().to_owned()).collect()
    }
}

/// Reads and checks everything, for the broker of that directory, when it starts: what is odd is
/// logged, for a broker that does not start serves nobody.
pub(crate) fn load(files: &Files, directory: &RunDirectory) -> Result<Arc<Live>, Refusal> {
    let (live, warnings) = read(files, directory)?;
    warn(&warnings);
    Ok(Arc::new(live))
}

/// As [`load`], for a broker that goes on with what it has: lines of files that are probably not
/// meant are refused as mistakes are. What is odd about its own command line alone is told again,
/// and keeps no file out: it stays as it is until the broker starts anew.
pub(crate) fn load_again(files: &Files, directory: &RunDirectory) -> Result<Arc<Live>, Refusal> {
    let (live, warnings) = read(files, directory)?;
    let is_odd = |warning: &Warning| {
        warning.kind == WarningKind::Lint && live.origins.contains(&warning.problem.file)
    };
    if warnings.iter().any(is_odd) {
        let odd = warnings.into_iter().filter(is_odd).map(|warning| warning.problem);
        return Err(Refusal::Problems(odd.collect()));
    }
    warn(&warnings);
    Ok(Arc::new(live))
}

fn warn(warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!(event = "configuration", warning = ?warning.problem.to_string());
    }
}

fn read(files: &Files, directory: &RunDirectory) -> Result<(Live, Vec<Warning>), Refusal> {
    let sources = files.read().map_err(|error| Refusal::File(error.to_string()))?;
    let loaded = Config::load(&sources, &HostAccounts).map_err(Refusal::Problems)?;
    let fronts = fronts::places(&loaded.config, &directory.fronts()).map_err(Refusal::Problems)?;
    let origins = sources.order();
    let asks_about_units = loaded.config.asks_about_units();
    let asks_about_logins = loaded.config.asks_about_logins();
    let config = loaded.config;
    let sleeps = config.sleeps();
    let live = Live { config, asks_about_units, asks_about_logins, fronts, origins, sleeps };
    Ok((live, loaded.warnings))
}
