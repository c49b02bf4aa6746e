//! Errors as people and programs read them: `ipc: NAME: what: why`, indented facts, and as the
//! last line the cure.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use serde_json::json;
use settings::said::without_numbers;

/// An error, ready to be shown.
#[derive(Debug)]
pub(crate) struct Report {
    code: u8,
    name: String,
    what: &'static str,
    why: String,
    facts: Vec<(&'static str, String)>,
    cure: Option<Box<(&'static str, String)>>,
    retry: bool,
}

impl Report {
    /// A wrong command line.
    pub(crate) fn usage(name: &str, why: impl fmt::Display) -> Self {
        Self::new(64, name, "usage", why)
    }

    /// An error with its exit code.
    pub(crate) fn new(code: u8, name: &str, what: &'static str, why: impl fmt::Display) -> Self {
        let (name, why) = (name.to_owned(), without_numbers(&why.to_string()).into_owned());
        Self { code, name, what, why, facts: Vec::new(), cure: None, retry: false }
    }

    /// What the kernel did not do.
    pub(crate) fn system(name: &str, error: impl fmt::Display) -> Self {
        Self::new(71, name, "the system", error)
    }

    /// With one more fact.
    pub(crate) fn fact(mut self, name: &'static str, fact: impl fmt::Display) -> Self {
        self.facts.push((name, without_numbers(&fact.to_string()).into_owned()));
        self
    }

    /// With what to do about it.
    pub(crate) fn cure(mut self, name: &'static str, cure: impl fmt::Display) -> Self {
        self.cure = Some(Box::new((name, cure.to_string())));
        self
    }

    /// Whether trying again can help.
    pub(crate) fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Whether trying again can help, as [`Report::retry`] said.
    pub(crate) fn can_retry(&self) -> bool {
        self.retry
    }

    /// Shows the error; the exit code says the same.
    pub(crate) fn finish(&self, as_json: bool) -> ExitCode {
        let text = if as_json { format!("{}\n", self.to_json()) } else { format!("{self}\n") };
        // Where even that cannot be written, the exit code is left.
        let _unwritten = std::io::stderr().write_all(text.as_bytes()).is_err();
        ExitCode::from(self.code)
    }

    /// The same fields for programs.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let facts: serde_json::Map<_, _> =
            self.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact))).collect();
        json!({
            "name": self.name, "what": self.what, "why": self.why, "facts": facts,
            "cure": self.cure.as_ref().map(|cure| &cure.1), "retry": self.retry,
            "exitCode": self.code,
        })
    }

    /// Why it is so, without what it is about.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// What to do about it, if something can be done.
    pub(crate) fn what_to_do(&self) -> Option<&str> {
        self.cure.as_deref().map(|(_, cure)| cure.as_str())
    }

    /// What it is about.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The exit code that says the same.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ipc: {}: {}: {}", self.name, self.what, self.why)?;
        let lines = self.facts.iter().chain(self.cure.as_deref());
        let width = lines.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, fact) in lines {
            write!(f, "\n  {name:width$}  {fact}")?;
        }
        Ok(())
    }
}

/// Prints to standard output. A reader that has gone away is its own concern.
pub(crate) fn print(text: &str) -> Result<ExitCode, Report> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Report::system("standard output", error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cure_is_the_last_line_and_json_has_the_same_fields() {
        let report = Report::new(50, "db", "denied", "no rule allows it")
            .cure("to allow", "allow out db tls:h:1     then: ipc reload")
            .fact("leads to", "tls:h:1");
        assert_eq!(
            report.to_string(),
            "ipc: db: denied: no rule allows it\n  leads to  tls:h:1\n  \
             to allow  allow out db tls:h:1     then: ipc reload"
        );
        assert_eq!(
            report.to_json(),
            json!({
                "name": "db", "what": "denied", "why": "no rule allows it", "exitCode": 50,
                "facts": {"leads to": "tls:h:1"}, "retry": false,
                "cure": "allow out db tls:h:1     then: ipc reload",
            })
        );
    }
}
