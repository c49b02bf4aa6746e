//! Lines of a configuration that are valid and probably not meant.

use settings::Problem;

use crate::config::Config;

/// What is odd about `config`. Only what is certain is reported.
#[must_use]
pub fn lint(_config: &Config) -> Vec<Problem> {
    Vec::new()
}
