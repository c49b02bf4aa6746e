//! `IPC_NETWORK`: which names a program wants to reach elsewhere.
//!
//! `NAME TARGET [; NAME TARGET]…`, separated by `;` or newline, with any white space around, empty
//! entries ignored. What a target means is the broker's business; here it is text that may hold a
//! secret.

use std::fmt;

use crate::name::{NameError, ServiceName};
use crate::secret::Secret;

/// Bytes of the longest text that is read.
pub const NETWORK_BYTES_MOST: usize = 48 * 1024;

/// One wish: `name` is to lead to `target`.
///
/// ```
/// use libipc::network::parse;
///
/// let entries = parse("pong tcp://host:9000/pong; db unix:///mydb")?;
/// assert_eq!(entries[1].name.as_str(), "db");
/// assert_eq!(entries[1].target.expose(), "unix:///mydb");
/// # Ok::<(), libipc::network::NetworkError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name that the program asks for.
    pub name: ServiceName,
    /// Where it is to lead. May hold `user:secret`.
    pub target: Secret,
}

/// Reads the text of `IPC_NETWORK`, in its order; several entries of one name are candidates.
///
/// # Errors
///
/// [`NetworkError`] at the first entry that is not `NAME TARGET`. Nothing of the text is used
/// then: a wish that cannot be read must not turn into another one.
pub fn parse(text: &str) -> Result<Vec<Entry>, NetworkError> {
    if text.len() > NETWORK_BYTES_MOST {
        return Err(NetworkError::TooLong { length: text.len() });
    }
    let wishes = text.split([';', '\n']).map(str::trim).filter(|wish| !wish.is_empty());
    wishes.enumerate().map(|(index, wish)| parse_entry(wish, index + 1)).collect()
}

/// The entries of `text` for `name` alone, as text again: what is sent to the broker, so that it
/// never sees the secrets of other names. `None` if there are none.
///
/// # Errors
///
/// As [`parse`].
pub fn entries_for(name: &ServiceName, text: &str) -> Result<Option<Secret>, NetworkError> {
    let wishes: Vec<_> = parse(text)?.into_iter().filter(|entry| entry.name == *name).collect();
    if wishes.is_empty() {
        return Ok(None);
    }
    let size = wishes.iter().map(|entry| name.as_str().len() + entry.target.expose().len() + 2);
    let mut joined = String::with_capacity(size.sum());
    for entry in &wishes {
        if !joined.is_empty() {
            joined.push(';');
        }
        joined.push_str(name.as_str());
        joined.push(' ');
        joined.push_str(entry.target.expose());
    }
    Ok(Some(Secret::new(joined)))
}

fn parse_entry(wish: &str, entry: usize) -> Result<Entry, NetworkError> {
    let mut words = wish.split_whitespace();
    let name = words.next().unwrap_or_default();
    let name = ServiceName::new(name).map_err(|error| NetworkError::Name { entry, error })?;
    let Some(target) = words.next() else {
        return Err(NetworkError::NoTarget { entry, name });
    };
    if words.next().is_some() {
        return Err(NetworkError::TooManyWords { entry, name });
    }
    Ok(Entry { name, target: Secret::new(target.to_owned()) })
}

/// Why a text is not an `IPC_NETWORK`. Never shows a target, which may hold a secret.
///
/// ```
/// use libipc::network::{NetworkError, parse};
///
/// assert!(matches!(parse("pong"), Err(NetworkError::NoTarget { entry: 1, .. })));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NetworkError {
    /// More than [`NETWORK_BYTES_MOST`] bytes.
    TooLong {
        /// Length of the text in bytes.
        length: usize,
    },
    /// An entry begins with something that is not a service name.
    Name {
        /// Which entry; the first is 1.
        entry: usize,
        /// What is wrong with the name.
        error: NameError,
    },
    /// An entry is a name alone.
    NoTarget {
        /// Which entry; the first is 1.
        entry: usize,
        /// Its name.
        name: ServiceName,
    },
    /// Something follows the target.
    TooManyWords {
        /// Which entry; the first is 1.
        entry: usize,
        /// Its name.
        name: ServiceName,
    },
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length } => {
                write!(f, "IPC_NETWORK has {length} bytes, the most is {NETWORK_BYTES_MOST}")
            }
            Self::Name { entry, error } => write!(f, "IPC_NETWORK, entry {entry}: {error}"),
            Self::NoTarget { entry, name } => {
                write!(f, "IPC_NETWORK, entry {entry}: no target after {name}")
            }
            Self::TooManyWords { entry, name } => write!(
                f,
                "IPC_NETWORK, entry {entry}: more than one target after {name}; \
                 entries are separated by ; and a blank in a secret is written %20"
            ),
        }
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn read(text: &str) -> Vec<(String, String)> {
        let entries = parse(text).unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.name.to_string(), entry.target.expose().to_owned()))
            .collect()
    }

    #[test]
    fn separators_and_white_space_may_stand_anywhere() {
        let expected =
            vec![("a".to_owned(), "tcp://h:1/x".to_owned()), ("b".to_owned(), "y".to_owned())];
        for text in [
            "a tcp://h:1/x;b y",
            "a tcp://h:1/x ; b y",
            ";; a\ttcp://h:1/x;\n\n b   y ;",
            "a tcp://h:1/x\r\nb y\r\n",
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert!(read("").is_empty());
        assert!(read(" ;\n; ").is_empty());
    }

    #[test]
    fn only_the_entries_of_the_asked_name_leave_the_program() {
        let text = "a tcp://one; b tls://u:secret@two; a tcp://three";
        let sent = entries_for(&name("a"), text).unwrap().unwrap();
        assert_eq!(sent.expose(), "a tcp://one;a tcp://three");
        assert_eq!(entries_for(&name("c"), text).unwrap(), None);
    }

    #[test]
    fn an_entry_that_cannot_be_read_refuses_the_whole_text_and_keeps_its_secret() {
        let too_long = "x".repeat(NETWORK_BYTES_MOST + 1);
        let cases = [
            ("a tcp://x; b", "IPC_NETWORK, entry 2: no target after b"),
            (
                "a tls://u:secret@h more",
                "IPC_NETWORK, entry 1: more than one target after a; entries are separated by ; \
                 and a blank in a secret is written %20",
            ),
            (
                "../a tcp://x",
                "IPC_NETWORK, entry 1: a service name has only A-Z a-z 0-9 . _ -, not '/' (U+002F) \
                 at character 3",
            ),
            (too_long.as_str(), "IPC_NETWORK has 49153 bytes, the most is 49152"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        assert!(parse(&" ".repeat(NETWORK_BYTES_MOST)).is_ok());
    }
}
