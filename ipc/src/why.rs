//! `ipc why`: where a name leads, and which rule decides.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

use libipc::ServiceName;
use libipc::interface::broker::{Candidate, RESOLVE, Resolve, Resolved, Subject};
use libipc::network;
use libipc::secret::Secret;
use policy::config::Config;
use policy::described;
use policy::resolved::{Question, QuestionError, Reach, Who, answer};
use policy::route::{ELSEWHERE_CURE, RouteError};

use crate::args;
use crate::format::{self, Format, Listing};
use crate::place::Place;
use crate::report::{self, Report};
use crate::sources::{self, HostAccounts};
use crate::{asker, control, failure};

mod as_test;

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// The service
    pub(crate) name: String,
    /// Entries instead of those of `IPC_NETWORK`; no secrets here
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    pub(crate) network: Option<String>,
    /// Ask about another program of this host: user:, group:, unit:, user-unit:, socket:, login:
    #[arg(long = "as", value_name = "WHO", conflicts_with = "from")]
    pub(crate) subject: Option<String>,
    /// Ask about a peer on another host: SCHEME:HOST, and what else it has proven
    #[arg(long, value_name = "PEER")]
    pub(crate) from: Option<String>,
    /// Print the answer as a test for a configuration file
    #[arg(long)]
    pub(crate) as_test: bool,
    /// Ask files, and no broker: the main one, a directory, or several as they would lie in ipcd.d
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) fn run(why: &Why, format: Format) -> Result<ExitCode, Report> {
    let name = args::service(&why.name)?;
    let network = wishes(why, &name)?;
    let subject = why.subject.as_deref().map(described).transpose()?;
    let mut answer = if why.config.is_empty() {
        let numbers = subject.as_ref().map(numbered).transpose()?;
        let service = why.name.clone();
        let question = Resolve { service, network, subject: numbers, from: why.from.clone() };
        control::ask(&why.place, &why.name, RESOLVE, &question)?
    } else {
        ask_files(why, &name, network.as_ref(), subject.as_ref())?
    };
    if let Some(subject) = &subject {
        answer.asker = described::program_text(subject);
    }
    if why.as_test {
        report::print(&as_test::text(why, subject.as_ref(), &answer))?;
    } else {
        format::print(format, &answer, &describe(&answer))?;
    }
    Ok(ExitCode::from(exit_code(&answer.candidates)))
}

/// That of `ipc connect`: 69 where rules allow what nobody serves.
fn exit_code(candidates: &[Candidate]) -> u8 {
    let mut allowed = candidates.iter().filter(|candidate| candidate.verdict.allowed).peekable();
    if allowed.peek().is_none() {
        return 50;
    }
    if allowed.any(|candidate| candidate.unserved.is_none()) { 0 } else { 69 }
}

fn nobody(error: impl std::fmt::Display) -> Report {
    Report::usage("--as", error)
        .cure("to do", "describe a program of this host: --as user:www-data,unit:shop.service")
}

fn described(text: &str) -> Result<Subject, Report> {
    described::parse_program(text).map_err(nobody)
}

/// The same with the numbers of accounts: the broker need not look them up, and the groups are all
/// that a user has.
fn numbered(subject: &Subject) -> Result<Subject, Report> {
    let identity = described::program(subject, &HostAccounts).map_err(nobody)?;
    let groups = identity.groups.into_iter().flatten().map(|gid| gid.to_string()).collect();
    Ok(Subject {
        user: subject.user.as_ref().and(identity.uid).map(|uid| uid.to_string()),
        groups: Some(groups),
        ..subject.clone()
    })
}

/// The entries for `name`, of the command line or else of the environment.
fn wishes(why: &Why, name: &ServiceName) -> Result<Option<Secret>, Report> {
    let invalid = |error: &dyn std::fmt::Display| {
        Report::new(64, &why.name, "invalid request", error)
            .cure("to do", "write IPC_NETWORK as: NAME TARGET; NAME TARGET")
    };
    let text = match &why.network {
        Some(text) => Some(args::network("--network", text)?),
        None => why.place.environment().network_text().map_err(|error| invalid(&error))?,
    };
    let text = text.as_ref().map_or("", Secret::expose);
    network::entries_for(name, text).map_err(|error| invalid(&error))
}

/// Decides as a broker with those files would.
fn ask_files(
    why: &Why,
    name: &ServiceName,
    network: Option<&Secret>,
    subject: Option<&Subject>,
) -> Result<Resolved, Report> {
    let loaded =
        Config::load(&sources::named(&why.config)?, &HostAccounts).map_err(|problems| {
            let report = Report::new(78, &why.name, "configuration", "it cannot be used");
            let report = problems.iter().fold(report, |report, problem| {
                let report = report.fact("problem", format!("{}", problem.clone().without_help()));
                match &problem.help {
                    Some(help) => report.fact("help", help),
                    None => report,
                }
            });
            report.cure("to do", "mend it, and look again: ipc check")
        })?;
    let directories = why.place.environment().run_directories();
    let owner = |service: &ServiceName| {
        let written = loaded.config.services.get(service).and_then(|service| service.owner);
        let places = directories.iter().map(|directory| directory.service(service));
        let facts = places.filter_map(|path| fs::symlink_metadata(path).ok());
        written.or_else(|| facts.map(|facts| facts.uid()).next())
    };
    let (itself, text) = (asker::identity(), asker::text());
    let who = match (subject, &why.from) {
        (Some(subject), _) => Who::Described(subject),
        (None, Some(peer)) => Who::Peer(peer),
        (None, None) => Who::Known(&itself, &text),
    };
    let network = network.map(Secret::expose);
    let question = Question {
        asked: name,
        network,
        who,
        service_owner: &owner,
        service_reach: &|_| Reach::Unknown,
    };
    answer(&loaded.config, &question, &HostAccounts, 0).map_err(|error| match error {
        QuestionError::Route(RouteError::Elsewhere { .. }) => {
            Report::new(50, &why.name, "denied", error).cure("to allow", ELSEWHERE_CURE)
        }
        error => Report::new(64, &why.name, "invalid request", error)
            .cure("to do", "correct the target, or who is described"),
    })
}

fn describe(answer: &Resolved) -> Listing {
    let mut listing = Listing::new(format!("{} asked for by {}", answer.service, answer.asker));
    for candidate in &answer.candidates {
        describe_candidate(&mut listing, candidate);
    }
    listing
}

fn describe_candidate(listing: &mut Listing, candidate: &Candidate) {
    let verdict = &candidate.verdict;
    for hop in &candidate.hops {
        listing.add("route", format!("{} -> {}   ({})", hop.name, hop.target, hop.source));
    }
    listing.add("leads to", &candidate.target);
    listing.add("asks", format!("{} {} {}", verdict.direction, verdict.service, candidate.target));
    for rule in &verdict.considered {
        let mark = if rule.matched { "decides" } else { "passed" };
        listing.add(mark, rule.rule.clone());
        listing.add("", format!("  {}: {}", rule.source, rule.note));
    }
    if let Some(omitted) = verdict.omitted {
        let more = format!("{omitted} more that do not decide: ipc check --dump shows all rules");
        listing.add("passed", more);
    }
    let word = match (verdict.allowed, verdict.permissive) {
        (true, false) => "allowed",
        (true, true) => "allowed, though it would be denied",
        (false, _) => "denied",
    };
    match &candidate.unserved {
        Some(why) if verdict.allowed => {
            listing.add("verdict", format!("{word}, but {why}"));
            listing.add("", format!("  {}", verdict.reason));
        }
        unserved => {
            listing.add("verdict", format!("{word}: {}", verdict.reason));
            if let Some(why) = unserved {
                listing.add("", format!("  besides, {why}"));
            }
        }
    }
    if verdict.allowed && candidate.unserved.is_none() {
        listing.add("bytes", &candidate.carrier);
    }
    if let Some(cure) = verdict.cure.as_ref().filter(|cure| !cure.is_empty()) {
        listing.add("to allow", failure::with_next_step(cure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libipc::interface::broker::{Considered, Hop, Verdict};

    #[test]
    fn every_hop_and_every_rule_up_to_the_deciding_one_is_told() {
        let rule = |rule: &str, line: u32, matched, note: &str| Considered {
            rule: rule.into(),
            source: format!("ipcd.toml:{line}"),
            matched,
            note: note.into(),
        };
        let considered = vec![
            rule("allow out db tls:h:1 for user:1", 2, false, "it is about user:1, not user 7"),
            rule("deny out *", 3, true, "it denies this"),
        ];
        let verdict = Verdict {
            allowed: false,
            permissive: false,
            direction: "out".into(),
            service: "db".into(),
            rule: Some("deny out *".into()),
            source: Some("ipcd.toml:3".into()),
            reason: "a rule denies it".into(),
            cure: Some("allow out db tls:h:1 for user:7".into()),
            considered,
            omitted: Some(9_000),
        };
        let hops =
            vec![Hop { name: "db".into(), target: "tls:h:1".into(), source: "ipcd.toml:6".into() }];
        let carrier = "through ipcd-tlsd".into();
        let candidate =
            Candidate { hops, target: "tls:h:1".into(), verdict, carrier, unserved: None };
        let mut listing = Listing::new(String::new());
        describe_candidate(&mut listing, &candidate);
        assert_eq!(
            listing.raw(),
            "route\tdb -> tls:h:1   (ipcd.toml:6)\nleads to\ttls:h:1\nasks\tout db tls:h:1\n\
             passed\tallow out db tls:h:1 for user:1\n\t  ipcd.toml:2: it is about user:1, not \
             user 7\ndecides\tdeny out *\n\t  ipcd.toml:3: it denies this\n\
             passed\t9000 more that do not decide: ipc check --dump shows all rules\n\
             verdict\tdenied: a rule denies it\n\
             to allow\tallow out db tls:h:1 for user:7     then: ipc reload\n"
        );
    }
}
