//! What is said on channel 4 before a connection is closed: `{"error": "why"}`. Programs of
//! ipcprims see only that it is no hello.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::shown::shown;

#[derive(Debug, Deserialize, Serialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
}

/// The bytes of a refusal.
pub(crate) fn bytes(reason: &str) -> Vec<u8> {
    let refusal = Refusal { error: reason.into() };
    // Text can always be written as JSON.
    serde_json::to_vec(&refusal).unwrap_or_default()
}

/// The reason of a refusal, cut and cleaned: it comes from the other side.
pub(crate) fn read(bytes: &[u8]) -> String {
    match serde_json::from_slice::<Refusal<'_>>(bytes) {
        Ok(refusal) => clean(&refusal.error),
        Err(_) => clean(&String::from_utf8_lossy(bytes)),
    }
}

/// Text of the other side, fit to be shown.
pub(super) fn clean(text: &str) -> String {
    shown(text, SHOWN_MOST)
}

/// Characters of the other side's words that are shown.
const SHOWN_MOST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_whatever_it_is() {
        assert_eq!(read(&bytes("no \"entry\"")), "no \"entry\"");
        assert_eq!(read(b"plain\x1b[31m"), "plain\\u{1b}[31m");
    }

    #[test]
    fn five_hundred_characters_of_a_reason_are_shown_and_the_rest_is_not() {
        let longest = "ü".repeat(500);
        assert_eq!(read(&bytes(&longest)), longest);
        assert_eq!(read(&bytes(&(longest.clone() + "x"))), longest);
        assert_eq!(read(&[b'x'; 10_000]), "x".repeat(500));
    }
}
