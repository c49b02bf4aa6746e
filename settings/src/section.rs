//! A table whose keys are asked for.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::de::DeTable;

use crate::key::nearest;
use crate::position::Position;
use crate::problem::Problem;
use crate::source::Source;
use crate::text::Text;
use crate::value::Value;

/// A table of a file.
///
/// When it is dropped, every key that nobody asked for becomes a problem. So asking for a key is
/// the only way to allow it.
pub struct Section<'s> {
    source: &'s Source<'s>,
    table: &'s DeTable<'s>,
    span: Range<usize>,
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
    open: bool,
}

impl<'s> Section<'s> {
    pub(crate) fn new(source: &'s Source<'s>, table: &'s DeTable<'s>, span: Range<usize>) -> Self {
        Self { source, table, span, known: Vec::new(), refused: Vec::new(), open: false }
    }

    /// Where the table begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.source.position(self.span.start)
    }

    /// Notes what is wrong with this table as a whole.
    pub fn problem(&self, message: impl fmt::Display) {
        self.source.report(Problem::new(&self.position(), message));
    }

    /// Notes a problem that was found in a value of this file.
    pub fn report(&self, problem: Problem) {
        self.source.report(problem);
    }

    /// The value of `key`, whatever its type; `None` if it is not there.
    #[must_use]
    pub fn value(&mut self, key: &'static str) -> Option<Value<'s>> {
        self.known.push(key);
        self.table.get(key).map(|value| Value::new(self.source, value))
    }

    /// The value of `key`; that it is not there is a problem.
    #[must_use]
    pub fn required(&mut self, key: &'static str) -> Option<Value<'s>> {
        let value = self.value(key);
        if value.is_none() {
            self.problem(format_args!("needs the key `{key}`"));
        }
        value
    }

    /// The string at `key`.
    #[must_use]
    pub fn text(&mut self, key: &'static str) -> Option<Text> {
        self.value(key)?.text()
    }

    /// The string, or the list of strings, at `key`; empty if it is not there.
    #[must_use]
    pub fn texts(&mut self, key: &'static str) -> Vec<Text> {
        self.value(key).and_then(|value| value.texts()).unwrap_or_default()
    }

    /// The whole number at `key`, which must be within `range`.
    #[must_use]
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.value(key)?.integer(range)
    }

    /// The `true` or `false` at `key`.
    #[must_use]
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.value(key)?.flag()
    }

    /// The table at `key`.
    #[must_use]
    pub fn section(&mut self, key: &'static str) -> Option<Section<'s>> {
        self.value(key)?.section()
    }

    /// The tables `[[key]]`, in their order; empty if there are none.
    #[must_use]
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'s>> {
        self.value(key).and_then(|value| value.sections()).unwrap_or_default()
    }

    /// All keys and values, in the order of the file: for a table whose keys are names that the
    /// file's author chooses.
    pub fn entries(&mut self) -> Vec<(Text, Value<'s>)> {
        self.open = true;
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let place = self.source.position(key.span().start);
                let raw = self.source.raw(key.span());
                (Text::new(key.get_ref(), raw, place), Value::new(self.source, value))
            })
            .collect()
    }

    /// Says of `key` that it may not be here, and why. It is not offered as a known one.
    pub fn refuse(&mut self, key: &'static str, why: &str) {
        self.refused.push(key);
        let Some((written, _)) = self.table.get_key_value(key) else { return };
        let position = self.source.position(written.span().start);
        self.source.report(Problem::new(&position, format_args!("`{key}`: {why}")));
    }

    fn report_unknown(&self) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) || self.refused.contains(&name) {
                continue;
            }
            let position = self.source.position(key.span().start);
            let message = format_args!("unknown key `{}`", name.escape_debug());
            self.source.report(Problem::new(&position, message).with_help(self.help_for(name)));
        }
    }

    fn help_for(&self, name: &str) -> String {
        if let Some(meant) = nearest(name, self.known.iter().copied()) {
            return format!("did you mean `{meant}`?");
        }
        let mut known = self.known.clone();
        known.sort_unstable();
        known.dedup();
        format!("the keys here are {}", known.join(", "))
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if !self.open {
            self.report_unknown();
        }
    }
}
