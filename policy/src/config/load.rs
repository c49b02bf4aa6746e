//! From the texts to a configuration, with every problem of all of them.

use std::collections::BTreeMap;
use std::fmt;

use libipc::name::ServiceName;
use settings::{Position, Problem, Text};

use super::raw::{self, Raw};
use super::service::OwnerFault;
use super::{CommandLine, Config, Limits, Loaded, Service, Sources, Warning, WarningKind, limits};
use crate::accounts::{Accounts, is_account_name, parse_id};
use crate::expectation::{self, Expectation, TESTS_MOST};
use crate::lint::{self, Thoroughness};
use crate::pattern::Pattern;
use crate::redirect::{Destination, Redirect, Redirects, check};
use crate::rule::{Reading, Rule, Source, parse_rules};
use crate::rules::Rules;
use crate::scheme::Schemes;
use crate::subject::{Subject, SubjectError, Subjects};

/// Rules of the longest configuration.
pub(super) const RULES_MOST: usize = 10_000;

pub(super) fn load(
    sources: &Sources,
    accounts: &dyn Accounts,
    thoroughness: Thoroughness,
) -> Result<Loaded, Vec<Problem>> {
    let mut loading = Loading {
        accounts,
        schemes: Schemes::default(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let mut files = loading.read_files(sources);
    loading.take_schemes(&files);
    let rules = loading.rules(sources, &files);
    let redirects = Redirects::new(loading.redirects(sources, &files));
    let admin_gids = loading.admin_gids(&files);
    let mut written = limits::Written::default();
    for file in &files {
        written.fill(&file.limits);
    }
    let on_reload = files.iter().find_map(|file| file.on_reload).unwrap_or_default();
    let log_decisions = files.iter().find_map(|file| file.log_decisions).unwrap_or_default();
    let authentication = loading.authentication(&files);
    if authentication.is_none() {
        loading.warn_unverified(&rules);
    }
    let tests = loading.tests(&mut files);
    let services = loading.services(files);
    if loading.problems.is_empty() {
        // With a line missing, redirects may look as if they went another way.
        loading.problems.extend(check::endless(&redirects));
        loading.problems.extend(check::downgrades(&redirects, &loading.schemes));
    }
    if !loading.problems.is_empty() {
        return Err(loading.problems);
    }
    let config = Config {
        rules: Rules::new(rules, loading.schemes),
        redirects,
        services,
        limits: Limits::from(&written),
        admin_gids,
        log_decisions,
        on_reload,
        authentication,
    };
    let failures = expectation::run(&config, &tests);
    if !failures.is_empty() {
        return Err(failures);
    }
    let mut warnings = loading.warnings;
    warnings.extend(lint::lint(&config, thoroughness));
    Ok(Loaded { config, warnings, tests: tests.len() })
}

struct Loading<'l> {
    accounts: &'l dyn Accounts,
    schemes: Schemes,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Loading<'_> {
    fn read_files(&mut self, sources: &Sources) -> Vec<Raw> {
        let mut files = Vec::new();
        for file in sources.drop_ins.iter().chain(&sources.main) {
            // A file with problems is read on: its rules may have more of them.
            let (raw, problems) = Raw::read(file);
            files.extend(raw);
            self.problems.extend(problems);
        }
        files
    }

    fn take_schemes(&mut self, files: &[Raw]) {
        let built_in = Schemes::default();
        for (name, daemons) in files.iter().flat_map(|file| &file.schemes) {
            if built_in.stack(name.as_str()).is_some() {
                self.problems.push(name.problem(format_args!("{} is built in", name.as_str())));
            } else {
                self.schemes.add(name.as_str(), daemons.clone());
            }
        }
    }

    fn rules(&mut self, sources: &Sources, files: &[Raw]) -> Vec<Rule> {
        let mut rules = Vec::new();
        let arguments = sources.command_line.iter().filter_map(|argument| match argument {
            CommandLine::Rule(text) => Some(text),
            CommandLine::Redirect { .. } => None,
        });
        for (index, argument) in arguments.enumerate() {
            let name = format!("command line, rule {}", index + 1);
            let text = Text::plain(&name, argument);
            if argument.contains('\n') {
                self.problems.push(text.problem("a rule is one line"));
            }
            rules.extend(self.parse_rules(&text, Some(&name)));
        }
        for text in files.iter().flat_map(|file| &file.rules) {
            rules.extend(self.parse_rules(text, None));
        }
        if let Some(rule) = rules.get(RULES_MOST) {
            let message = format!("there are more than {RULES_MOST} rules");
            self.problems.push(Problem::new(&rule.position, message));
        }
        for rule in &rules {
            self.warn_dormant(&rule.subjects, &rule.position);
        }
        rules
    }

    fn parse_rules(&mut self, text: &Text, command_line: Option<&str>) -> Vec<Rule> {
        let (schemes, accounts) = (&self.schemes, self.accounts);
        parse_rules(text, Reading { schemes, accounts, command_line }, &mut self.problems)
    }

    fn redirects(&mut self, sources: &Sources, files: &[Raw]) -> Vec<Redirect> {
        let arguments = sources.command_line.iter().filter_map(|argument| match argument {
            CommandLine::Redirect { from, to } => Some((from, to)),
            CommandLine::Rule(_) => None,
        });
        let mut redirects = Vec::new();
        for (index, (from, to)) in arguments.enumerate() {
            let name = format!("command line, redirect {}", index + 1);
            let written = raw::Redirect {
                from: Text::plain(&name, from),
                to: vec![Text::plain(&name, to)],
                subjects: Vec::new(),
                insecure: false,
                position: Position::start(&name),
            };
            redirects.extend(self.redirect(&written, Source::CommandLine(name.into())));
        }
        self.refuse_secrets(&redirects);
        exact_first(&mut redirects);
        for file in files {
            let read = file.redirects.iter().filter_map(|written| {
                let position = &written.position;
                let source = Source::File { name: position.file.clone(), line: position.line };
                self.redirect(written, source)
            });
            let mut of_file: Vec<_> = read.collect();
            exact_first(&mut of_file);
            redirects.extend(of_file);
        }
        redirects
    }

    /// Everybody on this host can read a command line.
    fn refuse_secrets(&mut self, redirects: &[Redirect]) {
        for redirect in redirects {
            let mut places = redirect.to.iter().filter_map(|to| to.place(&self.schemes));
            if places.any(|place| place.secret.is_some()) {
                let message =
                    "a secret on a command line is no secret; write the redirect in a file";
                self.problems.push(Problem::new(&redirect.position, message));
            }
        }
    }

    fn redirect(&mut self, written: &raw::Redirect, source: Source) -> Option<Redirect> {
        let before = self.problems.len();
        let from = self.redirected_names(&written.from);
        let mut to = Vec::new();
        for text in &written.to {
            match Destination::parse(text, &self.schemes) {
                Ok(destination) => to.push(destination),
                Err(error) => self.problems.push(text.problem(error)),
            }
        }
        let subjects = self.redirected_subjects(&written.subjects);
        self.warn_dormant(&subjects, &written.position);
        (self.problems.len() == before).then(|| Redirect {
            from,
            to,
            subjects,
            insecure: written.insecure,
            source,
            position: written.position.clone(),
        })
    }

    fn redirected_names(&mut self, from: &Text) -> Pattern {
        let text = from.as_str();
        // A `*` may stand for any character that a name may have.
        let checked = ServiceName::new(&text.replacen('*', "n", 1));
        if let Err(error) = checked {
            self.problems.push(from.problem(error));
        }
        Pattern::new(text)
    }

    fn redirected_subjects(&mut self, texts: &[Text]) -> Subjects {
        let mut subjects = Subjects::default();
        for text in texts {
            let mut at = 0;
            for item in text.as_str().split(',') {
                let position = text.position_at(at);
                match Subject::parse(item.trim(), self.accounts) {
                    Ok(subject) if subject.is_local() => subjects.add(subject),
                    Ok(_) => {
                        let message = "a redirect is for programs of this host, not for peers";
                        self.problems.push(Problem::new(&position, message));
                    }
                    Err(error) => self.problems.push(Problem::new(&position, error)),
                }
                at += item.len() + 1;
            }
        }
        if let (Some(text), Err(error)) = (texts.first(), subjects.check()) {
            self.problems.push(text.problem(error));
        }
        subjects
    }

    /// Of several files that write about one service, that of most weight counts.
    fn services(&mut self, files: Vec<Raw>) -> BTreeMap<ServiceName, Service> {
        let mut services = BTreeMap::new();
        for (name, written) in files.into_iter().flat_map(|file| file.services) {
            let accounts = self.accounts;
            let service = written.finish(accounts, &mut |fault, text| match fault {
                OwnerFault::Malformed => {
                    self.problems.push(text.problem("an owner is the name or number of a user"));
                }
                OwnerFault::Missing => {
                    self.warn_missing("user", text, "only root may offer the service");
                }
            });
            match ServiceName::new(name.as_str()) {
                Ok(name) => {
                    services.entry(name).or_insert(service);
                }
                Err(error) => self.problems.push(name.problem(error)),
            }
        }
        services
    }

    /// Of several files that name a service for logins, that of most weight counts.
    fn authentication(&mut self, files: &[Raw]) -> Option<ServiceName> {
        let text = files.iter().find_map(|file| file.authentication.as_ref())?;
        ServiceName::new(text.as_str())
            .map_err(|error| self.problems.push(text.problem(error)))
            .ok()
    }

    /// The tests of all files; they are about all of these together.
    fn tests(&mut self, files: &mut [Raw]) -> Vec<Expectation> {
        let tests: Vec<_> =
            files.iter_mut().flat_map(|file| std::mem::take(&mut file.tests)).collect();
        if let Some(test) = tests.get(TESTS_MOST) {
            self.problems
                .push(test.problem(format_args!("there are more than {TESTS_MOST} tests")));
        }
        tests
    }

    /// The groups of all files together.
    fn admin_gids(&mut self, files: &[Raw]) -> Vec<u32> {
        let mut gids = Vec::new();
        for text in files.iter().flat_map(|file| &file.admin_groups) {
            match parse_id(text.as_str()) {
                Some(Ok(gid)) => gids.push(gid),
                Some(Err(error)) => self.problems.push(text.problem(error)),
                None if !is_account_name(text.as_str()) => {
                    self.problems.push(text.problem(SubjectError::Account));
                }
                None => match self.accounts.gid(text.as_str()) {
                    Some(gid) => gids.push(gid),
                    None => self.warn_missing("group", text, "it makes nobody an administrator"),
                },
            }
        }
        gids
    }

    fn warn_missing(&mut self, kind: &str, text: &Text, consequence: &str) {
        let message =
            format_args!("there is no {kind} {}: until there is, {consequence}", text.as_str());
        self.warn(text.position(), message);
    }

    /// Rules that let pass whoever has logged in, where nobody can.
    fn warn_unverified(&mut self, rules: &[Rule]) {
        let asks = |rule: &&Rule| rule.action.lets_pass() && rule.subjects.asks_about_logins();
        for rule in rules.iter().filter(asks) {
            let message = "nobody verifies logins here, so that the rule matches nobody";
            let help = "name the service that does: [authentication] service = \"authd\"";
            let problem = Problem::new(&rule.position, message).with_help(help);
            self.warnings.push(Warning { kind: WarningKind::Dormant, problem });
        }
    }

    fn warn_dormant(&mut self, subjects: &Subjects, position: &Position) {
        for missing in subjects.dormant() {
            self.warn(
                position,
                format_args!("{missing} does not exist, and is nobody until it does"),
            );
        }
    }

    fn warn(&mut self, position: &Position, message: impl fmt::Display) {
        let problem = Problem::new(position, message);
        self.warnings.push(Warning { kind: WarningKind::Dormant, problem });
    }
}

/// Within one file, a redirect of one name outranks those of many.
fn exact_first(redirects: &mut [Redirect]) {
    redirects.sort_by_key(|redirect| !redirect.from.is_exact());
}
