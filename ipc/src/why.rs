//! `ipc why`: where a name leads, and which rule decides.

use std::fmt::Write;
use std::process::ExitCode;

use libipc::ServiceName;
use libipc::interface::broker::{Candidate, RESOLVE, Resolve, Resolved};
use libipc::network;

use crate::args::{self, Why};
use crate::control;
use crate::report::{self, Report};

pub(crate) fn run(why: &Why, as_json: bool) -> Result<ExitCode, Report> {
    let name = ServiceName::new(&why.name)
        .map_err(|error| Report::usage(&why.name, &error.to_string()))?;
    let text = match &why.network {
        Some(text) => Some(args::network(text)?),
        None => why
            .place
            .environment()
            .network_text()
            .map_err(|error| Report::usage(&why.name, &error.to_string()))?,
    };
    let text = text.as_ref().map_or("", |text| text.expose());
    let network = network::entries_for(&name, text)
        .map_err(|error| Report::usage(&why.name, &error.to_string()))?;
    let question = Resolve { service: why.name.clone(), network, subject: None, from: None };
    let answer: Resolved = control::ask(&why.place, &why.name, RESOLVE, &question)?;
    let shown =
        if as_json { format!("{}\n", serde_json::json!(answer)) } else { describe(&answer) };
    report::print(&shown)?;
    let is_allowed = answer.candidates.iter().any(|candidate| candidate.verdict.allowed);
    Ok(ExitCode::from(if is_allowed { 0 } else { 50 }))
}

fn describe(answer: &Resolved) -> String {
    let mut text = format!("{} asked for by {}\n", answer.service, answer.asker);
    for candidate in &answer.candidates {
        describe_candidate(&mut text, candidate);
    }
    text
}

fn describe_candidate(text: &mut String, candidate: &Candidate) {
    let verdict = &candidate.verdict;
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "  {name:9} {value}").is_ok();
    };
    for hop in &candidate.hops {
        line("route", &format!("{} -> {}   ({})", hop.name, hop.target, hop.source));
    }
    line("leads to", &candidate.target);
    line("asks", &format!("{} {} {}", verdict.direction, verdict.service, candidate.target));
    for rule in &verdict.considered {
        let mark = if rule.matched { "decides" } else { "passed" };
        line(mark, &format!("{}   ({}): {}", rule.rule, rule.source, rule.note));
    }
    let word = match (verdict.allowed, verdict.permissive) {
        (true, false) => "allowed",
        (true, true) => "allowed, though it would be denied",
        (false, _) => "denied",
    };
    line("verdict", &format!("{word}: {}", verdict.reason));
    if verdict.allowed {
        line("bytes", &candidate.carrier);
    }
    if let Some(cure) = &verdict.cure {
        line("to allow", &format!("{cure}     then: ipc reload"));
    }
}
