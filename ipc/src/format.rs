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
    /// JSON with line breaks; messages and `info`: text, as ipcprims has it
    Pretty,
    /// A fact per line: its name, a tab, its value; a message: its bytes; `info` and `envinfo`:
    /// the name of the peer, and the version
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
        self.facts.push((name.to_owned(), plain(&value.into())));
    }

    pub(crate) fn raw(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            let _written = writeln!(text, "{name}\t{value}").is_ok();
        }
        text
    }
}

/// Many of one kind: a line for each, a column for each of its facts.
#[derive(Debug)]
pub(crate) struct Rows<const N: usize> {
    columns: [&'static str; N],
    lines: Vec<[String; N]>,
    /// What a table says if there are none.
    none: &'static str,
}

impl<const N: usize> Rows<N> {
    pub(crate) fn new(columns: [&'static str; N], none: &'static str) -> Self {
        Self { columns, lines: Vec::new(), none }
    }

    pub(crate) fn add(&mut self, row: [String; N]) {
        self.lines.push(row.map(|cell| plain(&cell)));
    }
}

/// What can be printed for people.
pub(crate) trait Shown {
    /// Aligned, with a heading.
    fn table(&self) -> String;
    /// Separated by tabs, without a heading.
    fn raw(&self) -> String;
}

impl Shown for Listing {
    fn table(&self) -> String {
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.heading);
        for (name, value) in &self.facts {
            // Writing to a String cannot fail.
            let _written = writeln!(text, "  {name:width$}  {value}").is_ok();
        }
        text
    }

    fn raw(&self) -> String {
        self.raw()
    }
}

impl<const N: usize> Shown for Rows<N> {
    fn table(&self) -> String {
        if self.lines.is_empty() {
            return format!("{}\n", self.none);
        }
        let heading = self.columns.map(str::to_owned);
        let lines: Vec<&[String; N]> = std::iter::once(&heading).chain(&self.lines).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let _written = writeln!(text, "{}", line.trim_end()).is_ok();
        }
        text
    }

    fn raw(&self) -> String {
        let lines = self.lines.iter().map(|line| line.join("\t") + "\n");
        lines.collect()
    }
}

/// Prints `value`, of which `shown` is the form for people.
pub(crate) fn print(
    format: Format,
    value: &impl Serialize,
    shown: &impl Shown,
) -> Result<ExitCode, Report> {
    report::print(&text(format, value, shown)?)
}

/// What is printed of `value`.
pub(crate) fn text(
    format: Format,
    value: &impl Serialize,
    shown: &impl Shown,
) -> Result<String, Report> {
    let failed = |error| Report::new(125, "output", "our mistake", error);
    Ok(match format {
        Format::Json => serde_json::to_string(value).map_err(failed)? + "\n",
        Format::Pretty => serde_json::to_string_pretty(value).map_err(failed)? + "\n",
        Format::Table => shown.table(),
        Format::Raw => shown.raw(),
    })
}

/// Text without control characters: they would be a terminal's, or end a line too early.
pub(crate) fn plain(text: &str) -> String {
    let escaped = |character: char| {
        if character.is_control() {
            character.escape_default().to_string()
        } else {
            character.into()
        }
    };
    text.chars().map(escaped).collect()
}

/// A span of time for people: its two largest units.
pub(crate) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
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

    #[test]
    fn rows_are_aligned_under_their_columns() {
        let mut rows = Rows::new(["NAME", "KIND"], "nothing");
        assert_eq!((rows.table(), rows.raw()), ("nothing\n".to_owned(), String::new()));
        rows.add(["pong".to_owned(), "socket".to_owned()]);
        rows.add(["größer".to_owned(), String::new()]);
        assert_eq!(rows.table(), "NAME    KIND\npong    socket\ngrößer\n");
        assert_eq!(rows.raw(), "pong\tsocket\ngrößer\t\n");
    }

    #[test]
    fn what_comes_from_outside_cannot_speak_to_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n\tc größer"), "a\\u{1b}[2Jb\\n\\tc größer");
    }

    #[test]
    fn spans_have_the_units_that_matter() {
        let cases = [
            (999, "0 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(span(milliseconds), expected);
        }
    }
}
