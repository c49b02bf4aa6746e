//! The text of rules.

use std::fmt;
use std::sync::Arc;

use libipc::name::ServiceName;
use settings::{Position, Problem, Text, nearest};

use super::{Action, Direction, Rule, RuleText, Source};
use crate::accounts::Accounts;
use crate::address::Place;
use crate::pattern::Pattern;
use crate::scheme::Schemes;
use crate::subject::{Subject, Subjects};

/// What reading rules needs to know of the rest of the configuration and of this host.
#[derive(Clone, Copy)]
pub struct Reading<'r> {
    /// The schemes that an address may have.
    pub schemes: &'r Schemes,
    /// Whose names stand behind `user:` and `group:`.
    pub accounts: &'r dyn Accounts,
    /// The rules stand on the command line, all of one argument; its name for people.
    pub command_line: Option<&'r str>,
}

/// Reads the rules of `text`, one per line. What is wrong is added to `problems`, at its place;
/// the rules around it are read nevertheless.
pub fn parse_rules(text: &Text, reading: Reading<'_>, problems: &mut Vec<Problem>) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut begin = 0;
    for line in text.as_str().split('\n') {
        let mut parser = Parser { text, reading, begin, problems };
        rules.extend(parser.rule(line));
        begin += line.len() + 1;
    }
    rules
}

/// A word of a line, and the byte of the text where it begins.
#[derive(Clone, Copy)]
struct Word<'t> {
    at: usize,
    text: &'t str,
}

struct Parser<'p> {
    text: &'p Text,
    reading: Reading<'p>,
    /// The byte of the text where the line begins.
    begin: usize,
    problems: &'p mut Vec<Problem>,
}

impl Parser<'_> {
    /// Reads one line; `None` if it is empty or not a rule.
    fn rule(&mut self, line: &str) -> Option<Rule> {
        let before = self.problems.len();
        let words = self.words(line)?;
        let mut rest = words.as_slice();
        let first = *rest.first()?;
        let action = self.action(take(&mut rest));
        let direction = self.direction(take(&mut rest), first);
        let (Some(action), Some(direction)) = (action, direction) else { return None };
        let Some(services) = take(&mut rest) else {
            self.report(first.at, "the rule names no service", None);
            return None;
        };
        let services = self.services(services);
        let places = self.places(take_unless_keyword(&mut rest), direction, first);
        let subjects = self.subjects(&mut rest, direction);
        let reason = self.reason(&mut rest);
        if let Some(extra) = rest.first() {
            let help = "a rule is: allow|deny|permissive out|in|local SERVICE ADDRESS \
                        [for SUBJECT] [reason \"TEXT\"], one per line";
            self.report(extra.at, "the rule should end here", Some(help.to_owned()));
        }
        if self.problems.len() > before {
            return None;
        }
        let position = self.position(first.at);
        let source = self.source(&position);
        let text = Arc::new(RuleText::new("", source.clone()));
        let mut rule =
            Rule { action, direction, services, places, subjects, reason, text, position };
        rule.text = Arc::new(RuleText::new(&rule.canonical(), source));
        Some(rule)
    }

    /// Cuts a line into words. `#` at the beginning of a word begins a comment; `"` keeps what is
    /// between it and the next one together, quotes included.
    fn words<'t>(&mut self, line: &'t str) -> Option<Vec<Word<'t>>> {
        let mut words = Vec::new();
        let mut at = 0;
        loop {
            let rest = line.get(at..).unwrap_or_default();
            at += rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
            let rest = line.get(at..).unwrap_or_default();
            if rest.is_empty() || rest.starts_with('#') {
                return Some(words);
            }
            let length = match rest.strip_prefix('"').map(|quoted| quoted.find('"')) {
                None => rest.find([' ', '\t', '\r']).unwrap_or(rest.len()),
                Some(Some(end)) => end + 2,
                Some(None) => {
                    self.report(self.begin + at, "the quote is never closed", None);
                    return None;
                }
            };
            let text = rest.get(..length).unwrap_or_default();
            words.push(Word { at: self.begin + at, text });
            at += length;
        }
    }

    fn action(&mut self, word: Option<Word<'_>>) -> Option<Action> {
        let word = word?;
        match word.text {
            "allow" => Some(Action::Allow),
            "deny" => Some(Action::Deny),
            "permissive" => Some(Action::Permissive),
            other => {
                let known = ["allow", "deny", "permissive"];
                self.unknown(word.at, "a rule begins with allow, deny or permissive", other, known);
                None
            }
        }
    }

    fn direction(&mut self, word: Option<Word<'_>>, first: Word<'_>) -> Option<Direction> {
        let message = "behind the action stands out, in or local";
        let Some(word) = word else {
            self.report(first.at, message, None);
            return None;
        };
        match word.text {
            "out" => Some(Direction::Out),
            "in" => Some(Direction::In),
            "local" => Some(Direction::Local),
            other => {
                self.unknown(word.at, message, other, ["out", "in", "local"]);
                None
            }
        }
    }

    fn services(&mut self, word: Word<'_>) -> Vec<Pattern> {
        let mut services = Vec::new();
        for item in items(word) {
            match parse_service(item.text) {
                Ok(pattern) => services.push(pattern),
                Err(error) => {
                    let help = "lists have no blanks, and nothing behind their last comma: a,b";
                    let help = item.text.is_empty().then(|| help.to_owned());
                    self.report(item.at, error, help);
                }
            }
        }
        services
    }

    fn places(
        &mut self,
        word: Option<Word<'_>>,
        direction: Direction,
        first: Word<'_>,
    ) -> Vec<Place> {
        let Some(word) = word else {
            if direction != Direction::Local {
                let message = format!("a rule of direction {direction} needs an address");
                let help = "* is any address: it is written out, so that nobody opens all by \
                            forgetting one";
                self.report(first.at, message, Some(help.to_owned()));
            }
            return Vec::new();
        };
        let mut places = Vec::new();
        let mut any = false;
        for item in items(word) {
            match Place::parse(item.text, direction, self.reading.schemes) {
                Ok(Some(place)) => places.push(place),
                Ok(None) => any = true,
                Err(error) => self.report(item.at, error, None),
            }
        }
        if any { Vec::new() } else { places }
    }

    fn subjects(&mut self, rest: &mut &[Word<'_>], direction: Direction) -> Subjects {
        let mut subjects = Subjects::default();
        let Some(keyword) = take_keyword(rest, "for") else { return subjects };
        let Some(word) = take_unless_keyword(rest) else {
            self.report(keyword.at, "nobody stands behind for", None);
            return subjects;
        };
        for item in items(word) {
            match Subject::parse(item.text, self.reading.accounts) {
                Ok(subject) if subject.fits(direction) => {
                    subjects.add(subject);
                }
                Ok(_) if direction == Direction::In => {
                    let message = "in direction in a peer asks: a program of this host cannot be \
                                   meant";
                    self.report(item.at, message, None);
                }
                Ok(_) => {
                    let message = format!(
                        "in direction {direction} a program of this host asks: a peer cannot be meant"
                    );
                    self.report(item.at, message, None);
                }
                Err(error) => self.report(item.at, error, None),
            }
        }
        if let Err(error) = subjects.check() {
            self.report(word.at, error, None);
        }
        subjects
    }

    fn reason(&mut self, rest: &mut &[Word<'_>]) -> Option<Box<str>> {
        let keyword = take_keyword(rest, "reason")?;
        let quoted = take(rest)
            .and_then(|word| word.text.strip_prefix('"').and_then(|text| text.strip_suffix('"')));
        let length = quoted.map_or(0, |text| text.chars().count());
        match quoted {
            Some(_) if !(1..=REASON_CHARACTERS_MOST).contains(&length) => {
                let message = format!("a reason has 1 to {REASON_CHARACTERS_MOST} characters");
                let help = "whoever is refused is told it; without one, leave `reason` out";
                self.report(keyword.at, message, Some(help.to_owned()));
                None
            }
            Some(text) if !text.chars().any(char::is_control) => Some(text.into()),
            _ => {
                let message = "behind reason stands a text in double quotes, without control \
                               characters";
                self.report(keyword.at, message, None);
                None
            }
        }
    }

    fn unknown<const N: usize>(
        &mut self,
        at: usize,
        message: &str,
        word: &str,
        known: [&'static str; N],
    ) {
        let help = nearest(word, known).map(|meant| format!("did you mean {meant}?"));
        self.report(at, message, help);
    }

    fn report(&mut self, at: usize, message: impl fmt::Display, help: Option<String>) {
        let problem = Problem::new(&self.position(at), message);
        self.problems.push(Problem { help, ..problem });
    }

    fn position(&self, at: usize) -> Position {
        self.text.position_at(at)
    }

    fn source(&self, position: &Position) -> Source {
        match self.reading.command_line {
            Some(which) => Source::CommandLine(which.into()),
            None => Source::File { name: Arc::clone(&position.file), line: position.line },
        }
    }
}

fn take<'t>(rest: &mut &[Word<'t>]) -> Option<Word<'t>> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn take_keyword<'t>(rest: &mut &[Word<'t>], keyword: &str) -> Option<Word<'t>> {
    rest.first().is_some_and(|word| word.text == keyword).then(|| take(rest)).flatten()
}

fn take_unless_keyword<'t>(rest: &mut &[Word<'t>]) -> Option<Word<'t>> {
    let keyword = rest.first().is_some_and(|word| matches!(word.text, "for" | "reason"));
    if keyword { None } else { take(rest) }
}

/// The parts of `word` between its commas, with their places.
fn items(word: Word<'_>) -> impl Iterator<Item = Word<'_>> {
    let mut at = word.at;
    word.text.split(',').map(move |text| {
        let item = Word { at, text };
        at += text.len() + 1;
        item
    })
}

fn parse_service(text: &str) -> Result<Pattern, ServiceError> {
    if text == "any" {
        return Ok(Pattern::new("*"));
    }
    if !text.contains('*') {
        ServiceName::new(text).map_err(ServiceError::Name)?;
        return Ok(Pattern::new(text));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-*".contains(c);
    if let Some(character) = text.chars().find(|character| !fits(*character)) {
        return Err(ServiceError::Character(character));
    }
    if text.len() > PATTERN_LENGTH_MOST {
        return Err(ServiceError::TooLong);
    }
    Ok(Pattern::new(text))
}

/// Characters of the longest reason: it is part of answers and of lines of the log.
const REASON_CHARACTERS_MOST: usize = 500;

/// Characters of the longest service pattern.
const PATTERN_LENGTH_MOST: usize = 255;

/// Why a text is not the SERVICE of a rule.
enum ServiceError {
    Name(libipc::name::NameError),
    Character(char),
    TooLong,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Character(character) => write!(
                f,
                "a service has only A-Z a-z 0-9 . _ - and *, not '{}'",
                character.escape_debug()
            ),
            Self::TooLong => {
                write!(f, "a service with * has at most {PATTERN_LENGTH_MOST} characters")
            }
        }
    }
}
