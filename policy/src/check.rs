//! What `ipc check` and `ipcd --check` say of a configuration.

use std::fmt;
use std::path::PathBuf;

use settings::Problem;

use crate::accounts::Accounts;
use crate::config::{Config, Sources, Warning, WarningKind};
use crate::fronts;

/// Everything that can be said of a configuration without running it.
///
/// `Display` lists the texts in their order, then problems and warnings, each as a compiler
/// prints it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The texts, the most important first.
    pub order: Vec<String>,
    /// What keeps the configuration from being used.
    pub problems: Vec<Problem>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// How many of the configuration's own tests were run, all with the result that they expect.
    pub tests: usize,
}

/// Reads and checks `sources`. `fronts` are the places of fronts of the brokers that they may be
/// meant for: one of them has to fit, and what is wrong is told of the first.
#[must_use]
pub fn check(sources: &Sources, accounts: &dyn Accounts, fronts: &[PathBuf]) -> Report {
    let order = sources.order();
    let (problems, warnings, tests) = match Config::examine(sources, accounts) {
        Ok(loaded) => (misplaced(&loaded.config, fronts), loaded.warnings, loaded.tests),
        Err(problems) => (problems, Vec::new(), 0),
    };
    Report { order, problems, warnings, tests }
}

/// The fronts that could not be opened in any of `directories`.
fn misplaced(config: &Config, directories: &[PathBuf]) -> Vec<Problem> {
    let mut first = Vec::new();
    for directory in directories {
        match fronts::places(config, directory) {
            Ok(_) => return Vec::new(),
            Err(problems) if first.is_empty() => first = problems,
            Err(_) => {}
        }
    }
    first
}

impl Report {
    /// Whether the configuration is as it should be. `strict` wants every account to exist.
    #[must_use]
    pub fn passes(&self, strict: bool) -> bool {
        let counts = |warning: &Warning| strict || warning.kind == WarningKind::Lint;
        self.problems.is_empty() && !self.warnings.iter().any(counts)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.order.is_empty() {
            writeln!(f, "there is no file: nothing is allowed but what is built in")?;
        }
        for (index, name) in self.order.iter().enumerate() {
            writeln!(f, "{}. {name}", index + 1)?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for Warning { kind, problem } in &self.warnings {
            match kind {
                WarningKind::Lint => writeln!(f, "{problem}")?,
                WarningKind::Open | WarningKind::Dormant => {
                    let message = format!("warning: {}", problem.message);
                    writeln!(f, "{}", Problem { message, ..problem.clone() })?;
                }
            }
        }
        match self.tests {
            0 => Ok(()),
            1 => writeln!(f, "1 test passes"),
            tests => writeln!(f, "{tests} tests pass"),
        }
    }
}
