//! What a program prints with `--help`, in its parts.

/// All of it.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Help {
    /// What it is, up to the usage.
    pub(crate) about: Vec<String>,
    /// How it is called.
    pub(crate) usage: String,
    /// The rest.
    pub(crate) sections: Vec<Section>,
}

/// A part with a title.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Section {
    /// The title, without its colon.
    pub(crate) title: String,
    /// Options, arguments or commands.
    pub(crate) entries: Vec<Entry>,
    /// Lines as they stand there, where there are no entries.
    pub(crate) plain: Vec<String>,
}

/// An option, an argument or a command.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Entry {
    /// How it is written.
    pub(crate) term: String,
    /// What it does.
    pub(crate) about: Vec<String>,
}

/// Titles of parts that have entries.
const WITH_ENTRIES: [&str; 3] = ["Arguments", "Options", "Commands"];

/// Blanks before a line that goes on with an entry, at least.
const BELOW: usize = 8;

impl Help {
    /// Takes the text apart.
    pub(crate) fn parse(text: &str) -> Self {
        let mut help = Self::default();
        for line in text.lines() {
            if let Some(usage) = line.strip_prefix("Usage: ") {
                usage.clone_into(&mut help.usage);
                while help.about.last().is_some_and(String::is_empty) {
                    help.about.pop();
                }
            } else if help.usage.is_empty() {
                help.about.push(line.to_owned());
            } else {
                help.add(line);
            }
        }
        for section in &mut help.sections {
            section.trim();
        }
        help
    }

    /// What it is, in a line.
    pub(crate) fn title(&self) -> &str {
        self.about.first().map_or("", |line| line.trim_end_matches('.'))
    }

    /// The names of its commands.
    pub(crate) fn commands(&self) -> Vec<String> {
        let commands = self.sections.iter().filter(|section| section.title == "Commands");
        let entries = commands.flat_map(|section| &section.entries);
        let names = entries.map(|entry| entry.term.clone());
        names.filter(|name| name != "help").collect()
    }

    fn add(&mut self, line: &str) {
        if let Some((title, rest)) = title(line) {
            let plain = if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] };
            self.sections.push(Section { title: title.to_owned(), plain, ..Section::default() });
        } else if let Some(section) = self.sections.last_mut() {
            section.add(line);
        }
    }
}

/// The title that a line begins with, and what follows it.
fn title(line: &str) -> Option<(&str, &str)> {
    let (title, rest) = line.split_once(':')?;
    let is_title = title.starts_with(char::is_uppercase)
        && title.chars().all(|letter| letter.is_ascii_alphabetic() || letter == ' ')
        && title.len() <= 16;
    is_title.then_some((title, rest.trim_start()))
}

impl Section {
    fn add(&mut self, line: &str) {
        if !WITH_ENTRIES.contains(&self.title.as_str()) {
            self.plain.push(line.trim_end().to_owned());
            return;
        }
        let text = line.trim_start();
        let is_below = line.len() - text.len() >= BELOW || text.is_empty();
        match (is_below, self.entries.last_mut()) {
            (true, Some(entry)) => entry.about.push(text.trim_end().to_owned()),
            _ => self.entries.push(entry(text)),
        }
    }

    fn trim(&mut self) {
        while self.plain.last().is_some_and(String::is_empty) {
            self.plain.pop();
        }
        for entry in &mut self.entries {
            while entry.about.last().is_some_and(String::is_empty) {
                entry.about.pop();
            }
        }
    }
}

/// An entry whose text may begin in the line of its term.
fn entry(line: &str) -> Entry {
    match line.split_once("  ") {
        Some((term, about)) => {
            Entry { term: term.to_owned(), about: vec![about.trim().to_owned()] }
        }
        None => Entry { term: line.trim_end().to_owned(), about: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_help_have_the_same_parts() {
        let long = "What.\n\nUsage: p [OPTIONS]\n\nOptions:\n      --to <X>\n          Where to\n\n          \
             Values:\n          - a: one\n\n  -h, --help\n          Help\n\nExamples:\n  p -h\n\n\
             Exit codes: 0 done";
        let help = Help::parse(long);
        assert_eq!((help.title(), help.usage.as_str()), ("What", "p [OPTIONS]"));
        let titles: Vec<_> = help.sections.iter().map(|section| section.title.as_str()).collect();
        assert_eq!(titles, ["Options", "Examples", "Exit codes"]);
        let to = Entry {
            term: "--to <X>".to_owned(),
            about: ["Where to", "", "Values:", "- a: one"].map(str::to_owned).into(),
        };
        assert_eq!(help.sections[0].entries[0], to);
        assert_eq!(help.sections[1].plain, ["  p -h"]);
        assert_eq!(help.sections[2].plain, ["0 done"]);
        let short = "What\n\nUsage: p <COMMAND>\n\nCommands:\n  go    Goes\n  help  Print\n\n\
             Options:\n  -h, --help  Help\n";
        let help = Help::parse(short);
        assert_eq!(help.commands(), ["go"]);
        let entry = Entry { term: "-h, --help".to_owned(), about: vec!["Help".to_owned()] };
        assert_eq!(help.sections[1].entries, [entry]);
    }
}
