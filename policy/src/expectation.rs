//! `[[test]]`: what the administrator expects of the rules, tried before they are used.
//!
//! A test needs no accounts, no DNS and no keys: names stand for themselves, and addresses are
//! those that it gives. Route and verdict come from the code that decides about real requests.

use std::fmt;
use std::net::IpAddr;

use libipc::interface::broker::Subject;
use libipc::name::ServiceName;
use settings::{Problem, Text};

use crate::config::Config;
use crate::decide::{Candidate, Request, decide, recheck};
use crate::described::{self, Invented};
use crate::query::Verdict;
use crate::route::{Asker, ELSEWHERE_CURE, RouteError};
use crate::target::{Author, Target};

mod read;

/// Tests of the longest configuration.
pub(crate) const TESTS_MOST: usize = 10_000;

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    who: Who,
    asked: ServiceName,
    /// The client's `IPC_NETWORK`.
    network: Option<String>,
    /// The addresses that the target's name turns out to have.
    resolves: Vec<IpAddr>,
    expected: Expected,
    /// What is expected, as written.
    text: Text,
    /// Where the rule stands that is to decide.
    rule: Option<Text>,
}

/// Who asks in a test.
#[derive(Clone, Debug)]
enum Who {
    Program(Subject),
    Peer(Text),
}

/// What a test expects.
#[derive(Clone, Debug)]
enum Expected {
    /// To pass, whatever the action; if a target is named, to pass there.
    Pass(Option<String>),
    /// To pass, and to be recorded.
    Permissive(Option<String>),
    /// Not to pass.
    Deny,
}

/// Runs `tests`, and returns what is wrong: a test that expects something else, or cannot be run.
pub(crate) fn run(config: &Config, tests: &[Expectation]) -> Vec<Problem> {
    if tests.is_empty() {
        return Vec::new();
    }
    let accounts = Invented::default();
    let config = config.renamed(&accounts);
    tests.iter().filter_map(|test| test.run(&config, &accounts).err()).collect()
}

impl Expectation {
    /// A problem with this test.
    pub(crate) fn problem(&self, message: impl fmt::Display) -> Problem {
        self.text.problem(message)
    }

    fn run(&self, config: &Config, accounts: &Invented) -> Result<(), Problem> {
        match &self.who {
            Who::Program(subject) => {
                let asker = described::program(subject, accounts);
                let asker = asker.map_err(|error| self.text.problem(error))?;
                self.ask(config, Asker::Local(&asker), &described::program_text(subject))
            }
            Who::Peer(text) => {
                let peer = described::peer(text.as_str(), config.schemes());
                let peer = peer.map_err(|error| text.problem(error))?;
                self.ask(config, Asker::Remote(&peer, 0), text.as_str())
            }
        }
    }

    fn ask(&self, config: &Config, asker: Asker<'_>, who: &str) -> Result<(), Problem> {
        let owner = |service: &ServiceName| config.services.get(service)?.owner;
        let request = Request {
            asked: &self.asked,
            network: self.network.as_deref(),
            asker,
            service_owner: &owner,
        };
        let answer = match decide(config, &request) {
            Ok(decision) => {
                let candidates = decision.candidates.into_iter();
                Answer::first(candidates.map(|one| self.at_its_addresses(config, asker, one)))
            }
            Err(error @ RouteError::Elsewhere { .. }) => Answer::elsewhere(&error),
            Err(error) => return Err(self.text.problem(error)),
        };
        self.compare(config, &self.with_names(answer, asker), who)
    }

    /// The candidate with what the rules say of the addresses that its name has in this test.
    fn at_its_addresses(
        &self,
        config: &Config,
        asker: Asker<'_>,
        mut candidate: Candidate,
    ) -> Candidate {
        let Target::Remote(target) = &candidate.target else { return candidate };
        let is_name =
            target.host.name().is_some() && config.schemes().dials_addresses(&target.scheme);
        if !is_name || !candidate.verdict.is_allow() {
            return candidate;
        }
        let mut last = None;
        for address in &self.resolves {
            let verdict = recheck(config, &candidate.service, target, asker, *address);
            let passes = verdict.is_allow();
            last = Some(verdict);
            if passes {
                break;
            }
        }
        candidate.verdict = last.unwrap_or(candidate.verdict);
        candidate
    }

    /// Accounts are invented for a test: who reads its cure knows them by their names.
    fn with_names(&self, mut answer: Answer, asker: Asker<'_>) -> Answer {
        if let (Who::Program(Subject { user: Some(name), .. }), Asker::Local(asker)) =
            (&self.who, asker)
        {
            let invented = asker.uid.map_or_else(String::new, |uid| format!("user:{uid}"));
            answer.cure = answer.cure.replace(&invented, &format!("user:{name}"));
        }
        answer
    }

    fn compare(&self, config: &Config, answer: &Answer, who: &str) -> Result<(), Problem> {
        let is_there = |wanted: &Option<String>| match wanted {
            None => Ok(true),
            Some(wanted) => self.is_target(config, wanted, answer),
        };
        let as_expected = match (&self.expected, answer.outcome) {
            (Expected::Pass(target), Outcome::Allow | Outcome::Permissive)
            | (Expected::Permissive(target), Outcome::Permissive) => is_there(target)?,
            (Expected::Deny, Outcome::Deny) => true,
            _ => false,
        };
        let (asked, expected) = (&self.asked, self.text.as_str());
        if !as_expected {
            let message = format!(
                "the test fails: {asked}, asked for by {who}: expected {expected}, got {answer}"
            );
            return Err(self.text.problem(message).with_help(answer.reasons()));
        }
        let Some(rule) = &self.rule else { return Ok(()) };
        if answer.is_decided_at(rule.as_str()) {
            return Ok(());
        }
        let message = format!(
            "the test fails: {asked}, asked for by {who}: expected the rule at {}, got another one",
            rule.as_str()
        );
        Err(rule.problem(message).with_help(answer.reasons()))
    }

    fn is_target(&self, config: &Config, wanted: &str, answer: &Answer) -> Result<bool, Problem> {
        let uri = match wanted.split_once(':') {
            Some(("unix", name)) => format!("unix:///{name}"),
            Some((scheme, rest)) => format!("{scheme}://{rest}"),
            None => wanted.to_owned(),
        };
        let wanted = Target::parse(&uri, Author::Administrator, config.schemes());
        let wanted = wanted.map_err(|error| self.text.problem(error))?;
        Ok(match (&wanted, &answer.target) {
            (Target::Remote(wanted), Some(Target::Remote(found))) => {
                let same_service = wanted.service.is_none() || wanted.service == found.service;
                wanted.address() == found.address() && same_service
            }
            (Target::Local(wanted), Some(Target::Local(found))) => wanted == found,
            _ => false,
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Allow,
    Permissive,
    Deny,
}

/// What the rules say, as a test compares it. `Display` is the form in which a test says it.
struct Answer {
    outcome: Outcome,
    target: Option<Target>,
    /// The deciding rule and where it stands.
    rule: Option<(String, String)>,
    reason: String,
    cure: String,
}

impl Answer {
    /// The first way that is open; if none is, what is said of the first.
    fn first(candidates: impl Iterator<Item = Candidate>) -> Self {
        let mut first = None;
        for candidate in candidates {
            if candidate.verdict.is_allow() {
                return Self::of(candidate);
            }
            first.get_or_insert(candidate);
        }
        first.map_or_else(Self::closed, Self::of)
    }

    fn of(candidate: Candidate) -> Self {
        let rule = candidate.verdict.rule();
        let rule = rule.map(|rule| (rule.as_str().to_owned(), rule.source().to_string()));
        let (outcome, reason, cure) = match candidate.verdict {
            Verdict::Allow { permissive: false, .. } => {
                (Outcome::Allow, String::new(), String::new())
            }
            Verdict::Allow { .. } => (Outcome::Permissive, String::new(), String::new()),
            Verdict::Deny { reason, cure, .. } => (Outcome::Deny, reason, cure),
        };
        Self { outcome, target: Some(candidate.target), rule, reason, cure }
    }

    fn elsewhere(error: &RouteError) -> Self {
        Self { reason: error.to_string(), cure: ELSEWHERE_CURE.to_owned(), ..Self::closed() }
    }

    fn closed() -> Self {
        let (reason, cure) = (String::new(), String::new());
        Self { outcome: Outcome::Deny, target: None, rule: None, reason, cure }
    }

    /// Whether the rule stands at `place`: `FILE:LINE`, of which FILE may lack its directories.
    fn is_decided_at(&self, place: &str) -> bool {
        match &self.rule {
            None => place == NO_RULE,
            Some((_, source)) => source
                .strip_suffix(place)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/')),
        }
    }

    fn reasons(&self) -> String {
        match &self.rule {
            Some((text, source)) => format!("decided by `{text}` ({source})"),
            None if self.cure.is_empty() => self.reason.clone(),
            None => format!("no rule decided; to allow it: {}", self.cure),
        }
    }
}

/// What stands in a test for "no rule matched".
const NO_RULE: &str = "none";

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Allow => "allow",
            Outcome::Permissive => "permissive",
            Outcome::Deny => return write!(f, "deny ({})", self.reason),
        };
        match &self.target {
            Some(target) => write!(f, "{word} {target}"),
            None => f.write_str(word),
        }
    }
}

#[cfg(test)]
mod tests;
