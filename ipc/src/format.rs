//! How data is printed.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;

use crate::report::{self, Report};

/// How data is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One line of JSON
    Json,
    /// For people
    Table,
    /// JSON with line breaks
    Pretty,
    /// A fact per line: its name, a tab, its value
    Raw,
}

impl Format {
    /// What is printed if nobody says: a table for people, JSON for programs.
    pub(crate) fn default_here() -> Self {
        if std::io::stdout().is_terminal() { Self::Table } else { Self::Json }
    }
}

/// Facts for people: what they are about, and each with its name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The line above them.
    pub(crate) heading: String,
    facts: Vec<(String, String)>,
}

impl Listing {
    pub(crate) fn new(heading: String) -> Self {
        Self { heading, facts: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    fn table(&self) -> String {
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.heading);
        for (name, value) in &self.facts {
            // Writing to a String cannot fail.
            let _written = writeln!(text, "  {name:width$}  {value}").is_ok();
        }
        text
    }

    pub(crate) fn raw(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            let _written = writeln!(text, "{name}\t{value}").is_ok();
        }
        text
    }
}

/// Prints `value`, of which `listing` is the form for people.
pub(crate) fn print(
    format: Format,
    value: &impl Serialize,
    listing: &Listing,
) -> Result<ExitCode, Report> {
    let failed = |error| Report::new(125, "output", "our mistake", error);
    let text = match format {
        Format::Json => serde_json::to_string(value).map_err(failed)? + "\n",
        Format::Pretty => serde_json::to_string_pretty(value).map_err(failed)? + "\n",
        Format::Table => listing.table(),
        Format::Raw => listing.raw(),
    };
    report::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_raw_facts_are_separated_by_tabs() {
        let mut listing = Listing::new("pong".to_owned());
        listing.add("leads to", "unix:pong");
        listing.add("bytes", "direct");
        assert_eq!(listing.table(), "pong\n  leads to  unix:pong\n  bytes     direct\n");
        assert_eq!(listing.raw(), "leads to\tunix:pong\nbytes\tdirect\n");
    }
}
