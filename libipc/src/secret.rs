//! Text that is never printed.

use std::fmt;

use sys::wiped::Wiped;

/// A text that neither `Display` nor `Debug` shows, and that is wiped from memory when dropped.
///
/// The wiping covers this value; whoever calls [`Secret::expose`] answers for copies.
///
/// ```
/// use libipc::secret::Secret;
///
/// let secret = Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{secret:?}"), "***");
/// assert!(secret.is("hunter2"));
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Wiped<String>);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Wiped::new(text))
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this text. How long that takes tells only how long the text is, not how much
    /// of it is right.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let differences = self.0.bytes().zip(text.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differences) == 0 && self.0.len() == text.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_only_when_exposed() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
        assert!(secret.is("hunter2"));
        for wrong in ["", "hunter", "hunter3", "hunter22"] {
            assert!(!secret.is(wrong), "{wrong}");
        }
    }
}
