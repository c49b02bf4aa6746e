//! The name under which a service answers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of the longest [`ServiceName`].
pub const NAME_LENGTH_MOST: usize = 64;

/// Names that stand for places of the run directory, and so for no service.
pub const RESERVED_NAMES: [&str; 5] = ["ipc", "network", "services", "transport", "front"];

/// A service name: 1 to 64 of `A-Z a-z 0-9 . _ -`, the first a letter or digit, not reserved.
///
/// Holding one is the proof that it is a single, harmless component of a path.
///
/// ```
/// use libipc::ServiceName;
///
/// assert!(ServiceName::new("mail.example").is_ok());
/// assert!(ServiceName::new("../mail").is_err());
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceName(Box<str>);

impl ServiceName {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    ///
    /// [`NameError`] says what is wrong with the first character that is, and where it stands.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if let Some((position, character)) =
            text.chars().enumerate().find(|(_, character)| !is_name_character(*character))
        {
            return Err(NameError::Character { character, position: position + 1 });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::FirstCharacter(first));
        }
        if text.len() > NAME_LENGTH_MOST {
            return Err(NameError::TooLong { length: text.len() });
        }
        if RESERVED_NAMES.contains(&text) || text.strip_suffix(".lock").is_some() {
            return Err(NameError::Reserved(text.into()));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a [`ServiceName`]. The text's author has to change it.
///
/// ```
/// use libipc::ServiceName;
///
/// let error = ServiceName::new("../run/x").unwrap_err();
/// let expected = "a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) at character 3";
/// assert_eq!(error.to_string(), expected);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// There is no text.
    Empty,
    /// More than [`NAME_LENGTH_MOST`] characters.
    TooLong {
        /// Length of the text.
        length: usize,
    },
    /// The first character is neither letter nor digit.
    FirstCharacter(char),
    /// A character that no name has.
    Character {
        /// The character.
        character: char,
        /// Where it stands; the first character is 1.
        position: usize,
    },
    /// The name stands for a place of the run directory.
    Reserved(Box<str>),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a service name has at least one character"),
            Self::TooLong { length } => {
                write!(f, "a service name has at most {NAME_LENGTH_MOST} characters, not {length}")
            }
            Self::FirstCharacter(character) => write!(
                f,
                "a service name begins with a letter or digit, not {}",
                character.escape_debug()
            ),
            Self::Character { character, position } => write!(
                f,
                "a service name has only A-Z a-z 0-9 . _ -, not '{}' (U+{:04X}) at character {position}",
                character.escape_debug(),
                u32::from(*character)
            ),
            Self::Reserved(name) => write!(f, "the name {name} is reserved"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_allowed_characters_are_kept_as_they_are() {
        let longest = "a".repeat(NAME_LENGTH_MOST);
        for text in ["a", "authd", "A.b_c-9", "0", "nextversion-authd", longest.as_str()] {
            assert_eq!(ServiceName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        let too_long = "a".repeat(NAME_LENGTH_MOST + 1);
        let cases = [
            ("", "a service name has at least one character"),
            (too_long.as_str(), "a service name has at most 64 characters, not 65"),
            (".hidden", "a service name begins with a letter or digit, not ."),
            ("-x", "a service name begins with a letter or digit, not -"),
            (
                "../run/x",
                "a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) at character 3",
            ),
            (
                "p\u{0430}y",
                "a service name has only A-Z a-z 0-9 . _ -, not '\u{0430}' (U+0430) at character 2",
            ),
            (
                "a\0b",
                "a service name has only A-Z a-z 0-9 . _ -, not '\\0' (U+0000) at character 2",
            ),
            (
                "pong\n",
                "a service name has only A-Z a-z 0-9 . _ -, not '\\n' (U+000A) at character 5",
            ),
            ("ipc", "the name ipc is reserved"),
            ("front", "the name front is reserved"),
            ("pong.lock", "the name pong.lock is reserved"),
        ];
        for (text, expected) in cases {
            assert_eq!(ServiceName::new(text).unwrap_err().to_string(), expected, "{text:?}");
        }
    }
}
