//! A string that knows where it was written.

use std::fmt;

use crate::position::Position;
use crate::problem::Problem;

/// The value of a TOML string, and the place in the file of each of its characters.
///
/// `Debug` shows the place alone: the value may hold a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Text {
    value: String,
    start: Position,
    /// Byte of `value`, and line and column where it stands. Between two of these, one character
    /// of the value is one column.
    places: Vec<(usize, usize, usize)>,
}

impl Text {
    /// A text that stands in no TOML file, for example an argument of a command line; its first
    /// character is the first of `file`.
    #[must_use]
    pub fn plain(file: &str, value: &str) -> Self {
        let mut walk = Walk { line: 1, column: 1, at: 0, places: vec![(0, 1, 1)] };
        walk.take_plain(value);
        Self { value: value.to_owned(), start: Position::start(file), places: walk.places }
    }

    /// The string `value` that was written as `raw`, quotes included, at `start`.
    pub(crate) fn new(value: &str, raw: &str, start: Position) -> Self {
        let places = Walk::through(value, raw, &start);
        Self { value: value.to_owned(), start, places }
    }

    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Where the string begins in the file; for a quoted one, its first quote.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.start
    }

    /// Where the character at byte `offset` of the value stands in the file.
    #[must_use]
    pub fn position_at(&self, offset: usize) -> Position {
        let after = self.places.partition_point(|(byte, _, _)| *byte <= offset);
        let place = after.checked_sub(1).and_then(|index| self.places.get(index));
        let Some((byte, line, column)) = place else {
            return self.start.clone();
        };
        let between = self.value.get(*byte..offset).unwrap_or_default().chars().count();
        Position { file: self.start.file.clone(), line: *line, column: column + between }
    }

    /// A problem with this text as a whole.
    #[must_use]
    pub fn problem(&self, message: impl fmt::Display) -> Problem {
        Problem::new(&self.start, message)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({})", self.start)
    }
}

/// A walk through a string as it was written, beside its value.
struct Walk {
    line: usize,
    column: usize,
    /// Bytes of the value so far.
    at: usize,
    places: Vec<(usize, usize, usize)>,
}

impl Walk {
    fn through(value: &str, raw: &str, start: &Position) -> Vec<(usize, usize, usize)> {
        let mut walk = Self { line: start.line, column: start.column, at: 0, places: Vec::new() };
        let (quotes, escapes) = quotes(raw);
        let mut rest = raw.get(quotes..).unwrap_or_default();
        walk.column += quotes;
        if quotes == MULTILINE_QUOTES {
            let body = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'));
            if let Some(body) = body {
                walk.new_line();
                rest = body;
            }
        }
        walk.mark();
        while let Some(expected) = value.get(walk.at..).and_then(|left| left.chars().next()) {
            let taken = walk.step(rest, expected, escapes);
            match rest.get(taken..) {
                Some(after) if taken > 0 => rest = after,
                _ => break,
            }
        }
        walk.places
    }

    /// Takes what stands first in `rest`, where the value goes on with `expected`. Returns the
    /// bytes that it takes.
    fn step(&mut self, rest: &str, expected: char, escapes: bool) -> usize {
        let Some(written) = rest.chars().next() else { return 0 };
        if escapes && written == '\\' {
            let taken = self.take_escape(rest, expected);
            self.mark();
            return taken;
        }
        self.at += expected.len_utf8();
        self.take_character(written);
        written.len_utf8()
    }

    fn take_escape(&mut self, rest: &str, expected: char) -> usize {
        let letter = rest.chars().nth(1).unwrap_or_default();
        if letter.is_ascii_whitespace() {
            let body = rest.get(1..).unwrap_or_default();
            let blank = body.len() - body.trim_start_matches([' ', '\t', '\r', '\n']).len();
            for character in rest.chars().take(1 + blank) {
                self.move_past(character);
            }
            return 1 + blank;
        }
        let length = match letter {
            'x' => 4,
            'u' => 6,
            'U' => 10,
            _ => 2,
        };
        self.at += expected.len_utf8();
        self.column += length;
        length
    }

    fn take_plain(&mut self, value: &str) {
        for character in value.chars() {
            self.at += character.len_utf8();
            self.take_character(character);
        }
    }

    fn take_character(&mut self, character: char) {
        self.move_past(character);
        if character == '\n' {
            self.mark();
        }
    }

    fn move_past(&mut self, character: char) {
        if character == '\n' {
            self.new_line();
        } else {
            self.column += 1;
        }
    }

    fn new_line(&mut self) {
        self.line += 1;
        self.column = 1;
    }

    fn mark(&mut self) {
        self.places.push((self.at, self.line, self.column));
    }
}

/// How many quotes begin `raw`, and whether `\` escapes behind them.
fn quotes(raw: &str) -> (usize, bool) {
    let quote = raw.chars().next().unwrap_or_default();
    let multiline = raw.starts_with("'''") || raw.starts_with("\"\"\"");
    match quote {
        '\'' | '"' => (if multiline { MULTILINE_QUOTES } else { 1 }, quote == '"'),
        _ => (0, false),
    }
}

const MULTILINE_QUOTES: usize = 3;
