//! One value of a file, not yet of a type.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use crate::position::Position;
use crate::problem::Problem;
use crate::section::Section;
use crate::source::Source;
use crate::text::Text;

/// A value and its place. Asked for a type that it does not have, it notes the problem and answers
/// `None`.
#[derive(Clone, Copy)]
pub struct Value<'s> {
    source: &'s Source<'s>,
    value: &'s Spanned<DeValue<'s>>,
}

impl<'s> Value<'s> {
    pub(crate) fn new(source: &'s Source<'s>, value: &'s Spanned<DeValue<'s>>) -> Self {
        Self { source, value }
    }

    /// Where the value begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.source.position(self.value.span().start)
    }

    /// The value as it is written.
    #[must_use]
    pub fn written(&self) -> &'s str {
        self.source.raw(self.value.span())
    }

    /// Notes what is wrong with this value.
    pub fn problem(&self, message: impl fmt::Display) {
        self.source.report(Problem::new(&self.position(), message));
    }

    /// Notes a problem that was found near this value.
    pub fn report(&self, problem: Problem) {
        self.source.report(problem);
    }

    /// The value as a string.
    #[must_use]
    pub fn text(&self) -> Option<Text> {
        let text = self.string();
        if text.is_none() {
            self.wants("a string");
        }
        text
    }

    /// The value as one of `words`.
    #[must_use]
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text.as_str());
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.problem(format_args!("wants one of {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// The value as a whole number within `range`.
    #[must_use]
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            self.wants("a whole number");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(format_args!(
                "wants a whole number from {} to {}, not {integer}",
                range.start(),
                range.end()
            ));
        }
        number
    }

    /// The value as `true` or `false`.
    #[must_use]
    pub fn flag(&self) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            self.wants("true or false");
        }
        flag
    }

    /// Whether the value is `true` or `false`, where something else may stand too.
    #[must_use]
    pub fn is_flag(&self) -> bool {
        self.value.get_ref().as_bool().is_some()
    }

    /// The value as a list.
    #[must_use]
    pub fn list(&self) -> Option<Vec<Value<'s>>> {
        let DeValue::Array(values) = self.value.get_ref() else {
            self.wants("a list");
            return None;
        };
        Some(values.iter().map(|value| Self::new(self.source, value)).collect())
    }

    /// The value as a string or a list of strings. What in the list is no string is a problem and
    /// left out.
    #[must_use]
    pub fn texts(&self) -> Option<Vec<Text>> {
        if let Some(text) = self.string() {
            return Some(vec![text]);
        }
        let DeValue::Array(values) = self.value.get_ref() else {
            self.wants("a string or a list of strings");
            return None;
        };
        Some(values.iter().filter_map(|value| Self::new(self.source, value).text()).collect())
    }

    /// The value as a table.
    #[must_use]
    pub fn section(&self) -> Option<Section<'s>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            self.wants("a table");
            return None;
        };
        Some(Section::new(self.source, table, self.value.span()))
    }

    /// The value as a list of tables: `[[name]]`, as often as it stands there.
    #[must_use]
    pub fn sections(&self) -> Option<Vec<Section<'s>>> {
        let DeValue::Array(values) = self.value.get_ref() else {
            self.wants("a list of tables, each written with two pairs of brackets");
            return None;
        };
        Some(values.iter().filter_map(|value| Self::new(self.source, value).section()).collect())
    }

    fn string(&self) -> Option<Text> {
        let DeValue::String(value) = self.value.get_ref() else { return None };
        let raw = self.source.raw(self.value.span());
        Some(Text::new(value, raw, self.position()))
    }

    fn wants(&self, wanted: &str) {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(format_args!("wants {wanted}, not {found}"));
    }
}
