//! Which broker is asked, and how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libipc::environment::Environment;

use crate::report::Report;

/// What nobody waits for longer than.
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
        if self.timeout >= TIMEOUT_MOST.as_secs_f64() {
            return Ok(TIMEOUT_MOST);
        }
        Duration::try_from_secs_f64(self.timeout)
            .map_err(|_| Report::usage("--timeout", "not a number of seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_day_at_most_and_what_is_no_time_is_an_error() {
        let given = |timeout| Place { rundir: None, timeout }.timeout();
        let of = |timeout| given(timeout).unwrap().as_millis();
        assert_eq!([of(0.0), of(0.25), of(86_399.999)], [0, 250, 86_399_999]);
        for more in [86_400.0, 86_400.001, 1e20, f64::INFINITY] {
            assert_eq!(of(more), 86_400_000, "{more}");
        }
        for wrong in [-0.001, f64::NAN, f64::NEG_INFINITY] {
            let said = given(wrong).unwrap_err().to_string();
            assert!(said.contains("not a number of seconds"), "{said}");
        }
    }
}
