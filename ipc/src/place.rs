//! Which broker is asked, and how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libipc::environment::Environment;

use crate::report::Report;

const TIMEOUT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Which broker to ask.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The run directory, instead of `IPC_RUNDIR` and the default ones
    #[arg(long, value_name = "DIR")]
    pub(crate) rundir: Option<PathBuf>,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f64,
}

impl Place {
    /// The environment, with what the options say instead.
    pub(crate) fn environment(&self) -> Environment {
        let mut environment = Environment::of_process();
        if let Some(rundir) = &self.rundir {
            environment.rundir = Some(rundir.clone());
            environment.broker_fd = None;
        }
        environment
    }

    /// The broker of a run directory, or the usual one.
    pub(crate) fn new(rundir: Option<PathBuf>, timeout: Duration) -> Self {
        Self { rundir, timeout: timeout.as_secs_f64() }
    }

    /// The same patience with that run directory.
    pub(crate) fn at(&self, rundir: &Path) -> Self {
        Self { rundir: Some(rundir.to_owned()), timeout: self.timeout }
    }

    /// How long to wait, at most a day.
    pub(crate) fn timeout(&self) -> Result<Duration, Report> {
        Duration::try_from_secs_f64(self.timeout)
            .map(|timeout| timeout.min(TIMEOUT_MOST))
            .map_err(|_| Report::usage("--timeout", "not a number of seconds"))
    }
}
