//! How a daemon ends.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a daemon ends before it was told to. The codes are those of `sysexits.h`, so that a unit
/// can tell "fix the file" from "try again".
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: 64.
    Usage(String),
    /// The configuration is wrong: 78.
    Config(String),
    /// The system did not give what is needed: 71.
    System(String),
}

impl Failure {
    /// A failure of the system, with what was being done.
    #[must_use]
    pub fn system(what: &str, error: &dyn fmt::Display) -> Self {
        Self::System(format!("{what}: {error}"))
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Config(_) => 78,
            Self::System(_) => 71,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Config(text) | Self::System(text)) = self;
        f.write_str(&settings::said::without_numbers(text))
    }
}

impl std::error::Error for Failure {}

/// Ends `name` as `result` says: the message goes to standard error, the code to whoever waits.
#[must_use]
pub fn finish(name: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not by eprintln, which panics where standard error is closed.
            let _unwritten = writeln!(io::stderr(), "{name}: {failure}").is_err();
            ExitCode::from(failure.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_code_and_its_words() {
        let text = || "why".to_owned();
        let codes = [Failure::Usage(text()), Failure::Config(text()), Failure::System(text())]
            .map(|failure| (failure.code(), failure.to_string()));
        assert_eq!(codes, [(64, text()), (78, text()), (71, text())]);
        let failure = Failure::system("cannot listen", &"busy");
        assert_eq!(failure.to_string(), "cannot listen: busy");
        let missing = io::Error::from_raw_os_error(2);
        let failure = Failure::system("ipcd.toml", &missing);
        assert_eq!(failure.to_string(), "ipcd.toml: No such file or directory");
    }
}
