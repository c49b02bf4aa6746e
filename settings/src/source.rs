//! One file while it is read.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use toml::de::DeTable;

use crate::position::Position;
use crate::problem::Problem;
use crate::section::Section;

/// A file's name, as people are to see it, and its text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct File {
    /// The name: `ipcd.d/50-shop.toml`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Reads the TOML `text` of the file that people know as `file`.
///
/// `reader` asks the top-level [`Section`] for its keys. Where a value cannot be used, the section
/// answers `None` and has noted the problem: the reader goes on with whatever it likes, since what
/// it returns is thrown away then.
///
/// # Errors
///
/// All problems of the file, in the order of their places. A text that is not TOML is not shown to
/// `reader`.
pub fn read<T>(
    file: &str,
    text: &str,
    reader: impl FnOnce(Section<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    match read_all(file, text, reader) {
        (Some(value), problems) if problems.is_empty() => Ok(value),
        (_, problems) => Err(problems),
    }
}

/// As [`read`], but what was read comes even if there are problems, so that a reader can look for
/// further ones in it. `None` if the text is not TOML.
pub fn read_all<T>(
    file: &str,
    text: &str,
    reader: impl FnOnce(Section<'_>) -> T,
) -> (Option<T>, Vec<Problem>) {
    let source = Source::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        source.report(Problem::new(&source.position(span.start), error.message().trim()));
    }
    let value =
        errors.is_empty().then(|| reader(Section::new(&source, table.get_ref(), table.span())));
    let mut problems = source.problems.into_inner();
    problems.sort();
    problems.dedup();
    (value, problems)
}

/// A file's name, text and problems so far.
pub(crate) struct Source<'s> {
    file: Arc<str>,
    text: &'s str,
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'s> Source<'s> {
    fn new(file: &str, text: &'s str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self {
            file: file.into(),
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            problems: RefCell::new(Vec::new()),
        }
    }

    /// The place of the byte `offset`.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        Position { file: Arc::clone(&self.file), line, column: before.chars().count() + 1 }
    }

    /// The bytes of `span`, as they were written.
    pub(crate) fn raw(&self, span: Range<usize>) -> &'s str {
        self.text.get(span).unwrap_or_default()
    }

    pub(crate) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }
}

#[cfg(test)]
mod tests;
