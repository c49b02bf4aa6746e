//! Names under which processes meet, and the files that stand for them.

use std::fmt;

use sha2::{Digest, Sha256};

/// The name of a meeting: text of 1 to 200 bytes, without control characters and without
/// `< > : " / \ | ? *`, so that it can be a name of a file on every system.
///
/// Two names are the same if their bytes are: nothing is normalised, and case counts.
///
/// ```
/// use libipc::rendezvous::MeetingName;
///
/// assert_eq!(MeetingName::new("grüß Gott")?.as_str(), "grüß Gott");
/// # Ok::<(), libipc::rendezvous::MeetingNameError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct MeetingName(String);

/// Bytes of the longest name.
pub const NAME_BYTES_MOST: usize = 200;

impl MeetingName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`MeetingNameError`].
    pub fn new(name: &str) -> Result<Self, MeetingNameError> {
        if name.is_empty() {
            return Err(MeetingNameError::Empty);
        }
        if name.len() > NAME_BYTES_MOST {
            return Err(MeetingNameError::TooLong { bytes: name.len() });
        }
        match name.chars().find(|character| is_forbidden(*character)) {
            Some(character) => Err(MeetingNameError::Character { character }),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file in which process `pid` leaves what is needed to meet it: `PID,NAME`, where all but
    /// ASCII letters, digits, `.`, `_` and `-` are written as `%XX`. No listing of the directory
    /// can be made to show something else. What becomes too long for a file is `PID,=HASH`.
    pub(super) fn file(&self, pid: u32) -> String {
        let mut file = format!("{pid},");
        let start = file.len();
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
                file.push(char::from(byte));
            } else {
                file.extend(["%", hex(byte).as_str()]);
            }
        }
        if file.len() - start > NAME_BYTES_MOST {
            file.truncate(start);
            file.push('=');
            file.extend(Sha256::digest(self.0.as_bytes()).into_iter().map(hex));
        }
        file
    }
}

fn hex(byte: u8) -> String {
    format!("{byte:02X}")
}

fn is_forbidden(character: char) -> bool {
    character.is_control() || "<>:\"/\\|?*".contains(character)
}

impl fmt::Display for MeetingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the name of a meeting.
///
/// ```
/// use libipc::rendezvous::{MeetingName, MeetingNameError};
///
/// let error = MeetingName::new("a/b").unwrap_err();
/// assert_eq!(error, MeetingNameError::Character { character: '/' });
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MeetingNameError {
    /// There is none.
    Empty,
    /// It has more than [`NAME_BYTES_MOST`] bytes.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// A character that no name may have.
    Character {
        /// Which.
        character: char,
    },
}

impl fmt::Display for MeetingNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong { bytes } => {
                write!(f, "a name of {bytes} bytes, the most is {NAME_BYTES_MOST}")
            }
            Self::Character { character } => {
                write!(f, "a name cannot have the character {character:?}")
            }
        }
    }
}

impl std::error::Error for MeetingNameError {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_is_refused_with_its_reason() {
        let said = |name: &str| MeetingName::new(name).unwrap_err().to_string();
        assert_eq!(said(""), "the name is empty");
        assert_eq!(said(&"x".repeat(201)), "a name of 201 bytes, the most is 200");
        for (name, shown) in
            [("a/b", "'/'"), ("a\0", "'\\0'"), ("\u{7f}", "'\\u{7f}'"), ("?", "'?'")]
        {
            assert_eq!(said(name), format!("a name cannot have the character {shown}"));
        }
        assert!(MeetingName::new(&"x".repeat(200)).is_ok());
    }

    #[test]
    fn files_are_plain_ascii_within_the_limit_and_never_the_same_for_two_names() {
        let file = |name: &str| MeetingName::new(name).unwrap().file(4711);
        assert_eq!(file("foo.bar_1"), "4711,foo.bar_1");
        assert_eq!(file(".."), "4711,..");
        assert_eq!(file("grüße 5%"), "4711,gr%C3%BC%C3%9Fe%205%25");
        assert_eq!(file("a=b"), "4711,a%3Db");
        let long = ["é".repeat(100), "e\u{301}".repeat(66), "x".repeat(200), "名".repeat(66)];
        let names = long.iter().map(String::as_str).chain(["\u{202e}gnp.", "%41", "A", "a"]);
        let files: HashSet<String> = names.map(file).collect();
        assert_eq!(files.len(), 8);
        for file in files {
            assert!(file.is_ascii() && file.len() <= 255 && !file.contains('/'), "{file}");
        }
    }
}
