//! The configuration that several texts make together, each line with where it stands.

use std::collections::HashSet;
use std::fmt;

use settings::{Problem, Section};

use crate::accounts::Accounts;
use crate::config::{Config, Sources};
use crate::redirect::{Destination, Redirect};
use crate::rule::{Direction, Rule};

/// One line of what is in force. `Display` puts the origin behind it as a comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The line.
    pub text: String,
    /// Where it stands, as `FILE:LINE`; `None` for what only holds lines together.
    pub origin: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{:COLUMN$}  # {origin}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Where origins stand behind lines that are not longer.
const COLUMN: usize = 72;

/// What `sources` say together, in the order in which it counts. No line shows a secret.
///
/// # Errors
///
/// Every problem of every text, as [`Config::load`].
pub fn dump(sources: &Sources, accounts: &dyn Accounts) -> Result<Vec<Line>, Vec<Problem>> {
    let config = Config::load(sources, accounts)?.config;
    let mut dump = Dump::default();
    for (index, name) in sources.order().iter().enumerate() {
        dump.bare(format!("# {}. {name}", index + 1));
    }
    dump.rules(&config);
    for redirect in config.redirects.all() {
        dump.redirect(redirect);
    }
    dump.settings(sources);
    dump.defaults();
    Ok(dump.lines)
}

#[derive(Default)]
struct Dump {
    lines: Vec<Line>,
    /// Settings that a text of more weight has, as `TABLE.KEY`.
    seen: HashSet<String>,
}

impl Dump {
    fn bare(&mut self, text: impl Into<String>) {
        self.lines.push(Line { text: text.into(), origin: None });
    }

    fn line(&mut self, text: String, origin: impl fmt::Display) {
        self.lines.push(Line { text, origin: Some(origin.to_string()) });
    }

    fn rules(&mut self, config: &Config) {
        let directions = [Direction::Out, Direction::In, Direction::Local];
        let rules: Vec<&Rule> =
            directions.into_iter().flat_map(|direction| config.rules.all(direction)).collect();
        if rules.is_empty() {
            return;
        }
        self.bare("rules = '''");
        for rule in rules {
            self.line(rule.text.as_str().to_owned(), rule.text.source());
        }
        self.bare("'''");
    }

    fn redirect(&mut self, redirect: &Redirect) {
        let to: Vec<String> = redirect.to.iter().map(|to| format!("\"{}\"", shown(to))).collect();
        self.line("[[redirect]]".to_owned(), &redirect.source);
        self.bare(format!("from = \"{}\"", redirect.from));
        self.bare(format!("to = [{}]", to.join(", ")));
        if !redirect.subjects.is_everybody() {
            self.bare(format!("for = \"{}\"", redirect.subjects));
        }
        if redirect.insecure {
            self.bare("insecure = true".to_owned());
        }
    }

    /// All other settings; of one that stands in several texts, that of most weight.
    fn settings(&mut self, sources: &Sources) {
        let mut tables: Vec<(String, Vec<Line>)> = Vec::new();
        for file in sources.drop_ins.iter().chain(&sources.main) {
            let read = |root: Section<'_>| self.read_file(root, &mut tables);
            // What is wrong with the text was found when the configuration was read.
            let (_, _known) = settings::read_all(&file.name, &file.text, read);
        }
        tables.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (table, lines) in tables {
            if !table.is_empty() {
                self.bare(format!("[{table}]"));
            }
            self.lines.extend(lines);
        }
    }

    fn read_file(&mut self, mut root: Section<'_>, tables: &mut Vec<(String, Vec<Line>)>) {
        let mut own: Vec<(String, Vec<Line>)> = Vec::new();
        for (key, value) in root.entries() {
            match key.as_str() {
                "rules" | "redirect" | "redirects" | "test" => {}
                "services" => {
                    for (name, value) in value.section().iter_mut().flat_map(Section::entries) {
                        let table = format!("services.{}", name.as_str());
                        // One file writes all of a service.
                        if self.seen.insert(table.clone()) {
                            own.extend(value.section().map(|one| (table, lines_of(one))));
                        }
                    }
                }
                "authentication" | "limits" | "log" | "schemes" => {
                    let lines = value.section().map(lines_of).unwrap_or_default();
                    let table = key.as_str();
                    let new = |line: &Line| {
                        let key = line.text.split('=').next().unwrap_or_default().trim();
                        self.seen.insert(format!("{table}.{key}"))
                    };
                    own.push((table.to_owned(), lines.into_iter().filter(new).collect()));
                }
                // These add up, or are of one value.
                name => {
                    if name == "admin-groups" || self.seen.insert(name.to_owned()) {
                        let position = value.position();
                        let origin = Some(format!("{}:{}", position.file, position.line));
                        let text = format!("{name} = {}", value.written());
                        own.push((String::new(), vec![Line { text, origin }]));
                    }
                }
            }
        }
        for (table, lines) in own {
            match tables.iter_mut().find(|(name, _)| *name == table) {
                Some((_, kept)) => kept.extend(lines),
                None => tables.push((table, lines)),
            }
        }
    }

    /// Limits that no text has.
    fn defaults(&mut self) {
        self.bare("# limits that stand nowhere");
        for (key, default) in crate::config::limit_defaults() {
            if !self.seen.contains(&format!("limits.{key}")) {
                self.line(format!("# limits.{key} = {default}"), "default");
            }
        }
    }
}

fn lines_of(mut section: Section<'_>) -> Vec<Line> {
    let entries = section.entries().into_iter();
    entries
        .map(|(key, value)| {
            let position = value.position();
            Line {
                text: format!("{} = {}", key.as_str(), value.written()),
                origin: Some(format!("{}:{}", position.file, position.line)),
            }
        })
        .collect()
}

/// Where a redirect leads, without user, secret and the values of options.
fn shown(to: &Destination) -> String {
    match to {
        Destination::Name(name) => name.to_string(),
        Destination::NameAround { before, after } => format!("{before}{{name}}{after}"),
        Destination::PlaceWith(text) => masked(text.expose()),
        Destination::Place(place) => {
            let login = if place.user.is_some() { "***@" } else { "" };
            let service = place.service.as_ref().map(|name| format!("/{name}"));
            let options: Vec<String> =
                place.options.keys().map(|option| format!("{option}=***")).collect();
            let mark = if options.is_empty() { "" } else { "?" };
            let (scheme, host, port) = (&place.scheme, &place.host, place.port);
            let (service, options) = (service.unwrap_or_default(), options.join("&"));
            format!("{scheme}://{login}{host}:{port}{service}{mark}{options}")
        }
    }
}

/// A target as it is written, without login and the values of options.
fn masked(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let place = match place.rsplit_once('@') {
        Some((_, place)) => format!("***@{place}"),
        None => place.to_owned(),
    };
    let options: Vec<String> = options
        .split('&')
        .filter_map(|option| Some(format!("{}=***", option.split_once('=')?.0)))
        .collect();
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{scheme}://{place}{mark}{}", options.join("&"))
}

#[cfg(test)]
mod tests;
