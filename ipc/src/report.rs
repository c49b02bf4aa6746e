//! Errors as people and programs read them: whose fault, what, and the cure.
//!
//! One form: `ipc: NAME: what: why`, indented facts, and as the last line the cure.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use libipc::ConnectError;
use libipc::interface::broker::BrokerError;
use serde_json::json;

/// An error, ready to be shown.
#[derive(Debug)]
pub(crate) struct Report {
    code: u8,
    name: String,
    what: String,
    facts: Vec<(&'static str, String)>,
    retry: bool,
}

impl Report {
    /// A wrong command line.
    pub(crate) fn usage(name: &str, what: &str) -> Self {
        Self::new(64, name, what)
    }

    /// An error with its exit code.
    pub(crate) fn new(code: u8, name: &str, what: impl fmt::Display) -> Self {
        let (name, what) = (name.to_owned(), what.to_string());
        Self { code, name, what, facts: Vec::new(), retry: false }
    }

    /// With one more fact.
    pub(crate) fn with(mut self, name: &'static str, fact: impl fmt::Display) -> Self {
        self.facts.push((name, fact.to_string()));
        self
    }

    /// Why there is no connection to `name`.
    pub(crate) fn of(name: &str, error: &ConnectError) -> Self {
        let mut report = Self::new(exit_code(error), name, error);
        report.retry = error.retry();
        match error {
            ConnectError::Broker(error) => report.of_broker(error),
            ConnectError::NoBroker { .. } | ConnectError::BrokerDown { .. } => {
                report.with("to start one", "ipcd --user --with tcpd")
            }
            ConnectError::Service { .. } => report.with("to do", "start the service"),
            _ => report,
        }
    }

    fn of_broker(mut self, error: &BrokerError) -> Self {
        match error {
            BrokerError::Denied { target, rule, cure, .. } => {
                self = self.with("leads to", target);
                if let Some(rule) = rule {
                    self = self.with("by rule", rule);
                }
                if let Some(cure) = cure {
                    self = self.with("to allow", format!("{cure}     then: ipc reload"));
                }
                self
            }
            BrokerError::UnknownService { service, known } => {
                if !known.is_empty() {
                    self = self.with("known", known.join(", "));
                }
                self.with("to do", format!("start {service}, or write a redirect for it"))
            }
            BrokerError::TransportMissing { target, cure, .. } => {
                self.with("leads to", target).with("to start it", cure)
            }
            _ => self,
        }
    }

    /// Shows the error; the exit code says the same.
    pub(crate) fn finish(&self, as_json: bool) -> ExitCode {
        let text = if as_json { format!("{}\n", self.to_json()) } else { format!("{self}\n") };
        // Where even that cannot be written, the exit code is left.
        let _unwritten = std::io::stderr().write_all(text.as_bytes()).is_err();
        ExitCode::from(self.code)
    }

    fn to_json(&self) -> serde_json::Value {
        let facts: serde_json::Map<_, _> =
            self.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact))).collect();
        json!({
            "name": self.name, "error": self.what, "facts": facts,
            "retry": self.retry, "exitCode": self.code,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ipc: {}: {}", self.name, self.what)?;
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, fact) in &self.facts {
            write!(f, "\n  {name:width$}  {fact}")?;
        }
        Ok(())
    }
}

/// The exit code of an error, as design section 12 has them.
fn exit_code(error: &ConnectError) -> u8 {
    match error {
        ConnectError::Name(_) | ConnectError::Network(_) | ConnectError::NetworkFile(_) => 64,
        ConnectError::RunDirectory(_) => 78,
        ConnectError::NoBroker { .. }
        | ConnectError::BrokerDown { .. }
        | ConnectError::BrokerGone => 69,
        ConnectError::TimedOut => 124,
        ConnectError::Service { .. } => 1,
        ConnectError::Broker(error) => match **error {
            BrokerError::Denied { .. } | BrokerError::Unauthenticated { .. } => 50,
            BrokerError::UnknownService { .. } => 69,
            BrokerError::Refused { .. } => 1,
            BrokerError::TimedOut { .. } => 124,
            BrokerError::InvalidRequest { .. } => 64,
            BrokerError::Internal { .. } => 125,
            _ => 3,
        },
        _ => 3,
    }
}

/// Prints to standard output. A reader that has gone away is its own concern.
pub(crate) fn print(text: &str) -> Result<ExitCode, Report> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Report::new(71, "standard output", error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(error: BrokerError) -> Report {
        Report::of("db", &ConnectError::Broker(Box::new(error)))
    }

    #[test]
    fn a_denial_ends_with_its_cure() {
        let report = broker(BrokerError::Denied {
            target: "tls:h:1".into(),
            rule: None,
            reason: "no rule allows it".into(),
            cure: Some("allow out db tls:h:1".into()),
            retry: false,
        });
        assert_eq!(
            report.to_string(),
            "ipc: db: denied: no rule allows it\n  leads to  tls:h:1\n  \
             to allow  allow out db tls:h:1     then: ipc reload"
        );
        assert_eq!(report.code, 50);
        assert_eq!(report.to_json()["facts"]["leads to"], "tls:h:1");
    }

    #[test]
    fn every_error_has_the_exit_code_of_the_table() {
        let text = String::new;
        let cases = [
            (BrokerError::UnknownService { service: text(), known: vec![] }, 69),
            (BrokerError::Unreachable { target: text(), reason: text(), retry: true }, 3),
            (BrokerError::Refused { target: text(), reason: text(), retry: true }, 1),
            (BrokerError::TimedOut { target: text(), waited_ms: 1 }, 124),
            (BrokerError::TransportMissing { target: text(), transport: text(), cure: text() }, 3),
            (BrokerError::Untrusted { target: text(), reason: text() }, 3),
            (BrokerError::Unauthenticated { reason: text() }, 50),
            (BrokerError::Busy { limit: text(), most: 1, retry: true }, 3),
            (BrokerError::Protocol { target: text(), reason: text() }, 3),
            (BrokerError::NoHandoff { target: text(), possible: vec![] }, 3),
            (BrokerError::InvalidRequest { field: text(), reason: text() }, 64),
            (BrokerError::Internal { reason: text() }, 125),
        ];
        for (error, code) in cases {
            assert_eq!(broker(error.clone()).code, code, "{error:?}");
        }
        assert_eq!(Report::of("a", &ConnectError::TimedOut).code, 124);
        assert_eq!(Report::of("a", &ConnectError::BrokerGone).code, 69);
    }
}
