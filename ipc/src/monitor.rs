//! `ipc monitor`: decisions as they are made.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use libipc::ConnectError;
use libipc::interface::control::{Decision, MONITOR, Monitor, Verdict};

use crate::format::{self, Format, Shown, plain};
use crate::place::Place;
use crate::report::Report;
use crate::{asker, control, failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only what refuses, or what a permissive rule lets pass
    #[arg(long)]
    pub(crate) denied: bool,
    /// Only of services with that name; `*` stands for any characters
    #[arg(long, value_name = "GLOB")]
    pub(crate) service: Vec<String>,
    /// Only of clients of that user
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<u32>,
    #[command(flatten)]
    pub(crate) place: Place,
}

const NAME: &str = "monitor";

pub(crate) fn run(wanted: &Options, format: Format) -> Result<ExitCode, Report> {
    let deadline = Instant::now() + wanted.place.timeout()?;
    let report = |error: ConnectError| failure::of(NAME, &asker::text(), &error);
    let mut broker = control::open(&wanted.place, NAME, deadline)?;
    let parameters = Monitor {
        services: (!wanted.service.is_empty()).then(|| wanted.service.clone()),
        denied: Some(wanted.denied),
        uid: wanted.uid,
    };
    let mut message = broker.subscribe(MONITOR, &parameters, deadline).map_err(report)?;
    loop {
        let decision: Decision = control::read(NAME, &message)?;
        // The first one says that the broker listens, and nothing else.
        if (decision.verdict.is_some() || decision.missed.is_some_and(|missed| missed > 0))
            && !show(format, &decision)?
        {
            return Ok(ExitCode::SUCCESS);
        }
        message = broker.next_reply(None).map_err(report)?;
    }
}

/// Prints one. False if nobody reads any more.
fn show(format: Format, decision: &Decision) -> Result<bool, Report> {
    let text = format::text(format, decision, &Line(decision))?;
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Report::system("standard output", error)),
    }
}

/// A decision on one line.
struct Line<'d>(&'d Decision);

impl Shown for Line<'_> {
    fn table(&self) -> String {
        let Decision { service, target, client, reason, missed, .. } = self.0;
        let Some(verdict) = self.0.verdict else {
            return format!("{}  {} missed: {reason}\n", now(), missed.unwrap_or_default());
        };
        let leads_to = if target.is_empty() { String::new() } else { format!(" -> {target}") };
        // What failed did so in spite of the rule.
        let rule =
            self.0.rule.as_deref().filter(|_| !matches!(verdict, Verdict::Failed | Verdict::Busy));
        let rule = rule.map(|rule| format!("  by {rule}")).unwrap_or_default();
        let said = plain(&format!("{service}{leads_to}  {client}  {reason}{rule}"));
        format!("{}  {:10}  {said}\n", now(), verdict.as_str())
    }

    fn raw(&self) -> String {
        let Decision { service, target, client, reason, missed, revision, .. } = self.0;
        let (verdict, missed) = match (self.0.verdict, missed) {
            (Some(verdict), _) => (verdict.as_str(), String::new()),
            (None, missed) => ("missed", missed.unwrap_or_default().to_string()),
        };
        let direction = self.0.direction.as_deref().unwrap_or_default();
        let rule = self.0.rule.as_deref().unwrap_or_default();
        let revision = revision.to_string();
        let facts = [verdict, direction, service, target, client, reason, rule, &revision, &missed];
        facts.map(plain).join("\t") + "\n"
    }
}

/// The time of day, in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
