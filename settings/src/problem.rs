//! What is wrong with a text, and where.

use std::fmt;

use crate::position::Position;

/// Something that a person has to change in a file.
///
/// `Display` is `FILE:LINE:COLUMN: message`, or `command line, rule 1, character COLUMN: message` of
/// what stands in no file, and a second line `  help: …` if there is help.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Problem {
    /// The file, as its reader is to see it.
    pub file: String,
    /// The line; the first is 1.
    pub line: usize,
    /// The column in characters; the first is 1.
    pub column: usize,
    /// What is wrong: a lower-case fragment without a full stop.
    pub message: String,
    /// What to do about it, if that can be said.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at `position`.
    #[must_use]
    pub fn new(position: &Position, message: impl fmt::Display) -> Self {
        Self {
            file: position.file.to_string(),
            line: position.line,
            column: position.column,
            message: message.to_string(),
            help: None,
        }
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }
}

impl Problem {
    /// The same problem without its help, for where that stands apart.
    #[must_use]
    pub fn without_help(self) -> Self {
        Self { help: None, ..self }
    }
}

/// What begins the names of texts that stand in no file and so have no lines.
const COMMAND_LINE: &str = "command line, ";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, .. } = self;
        if file.starts_with(COMMAND_LINE) {
            write!(f, "{file}, character {column}: {message}")?;
        } else {
            write!(f, "{file}:{line}:{column}: {message}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_as_compilers_do() {
        let position = Position { file: "ipcd.toml".into(), line: 6, column: 3 };
        let problem = Problem::new(&position, "unknown key `colour`");
        assert_eq!(problem.to_string(), "ipcd.toml:6:3: unknown key `colour`");
        assert_eq!(
            problem.with_help("did you mean `color`?").to_string(),
            "ipcd.toml:6:3: unknown key `colour`\n  help: did you mean `color`?"
        );
    }
}
