//! Names with `*` wildcards.

use std::fmt;

/// A pattern for names: `*` stands for any characters, also none; but for `:` and `/` only where
/// they part nothing.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Pattern {
    text: Box<str>,
    parts: bool,
}

impl Pattern {
    /// Keeps `text`, of which every `*` is a wildcard that stands for neither `:` nor `/`; several
    /// in a row are one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: wildcards(text), parts: true }
    }

    /// A pattern for units. A `:` in their names is a letter like others, which whoever names them
    /// may use: a rule that denies something to `*` misses nobody.
    #[must_use]
    pub fn of_units(text: &str) -> Self {
        Self { text: wildcards(text), parts: false }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern is one name and nothing else.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }

    /// Whether every service name matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        &*self.text == "*"
    }

    /// Whether `name` matches, in time proportional to the product of the lengths at worst: after
    /// a mismatch only the last `*` takes one character more.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.text.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(read) {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at + 1, read));
                    at += 1;
                }
                Some(wanted) if wanted == byte => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((behind, from)) = star else { return false };
                    // What the last `*` cannot take, an earlier one could not have taken either.
                    if name.get(from).is_none_or(|taken| !self.stands_for(*taken)) {
                        return false;
                    }
                    star = Some((behind, from + 1));
                    at = behind;
                    read = from + 1;
                }
            }
        }
        pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }

    /// Whether a `*` stands for this character.
    #[must_use]
    pub(crate) fn stands_for(&self, byte: u8) -> bool {
        !self.parts || !matches!(byte, b':' | b'/')
    }

    /// Whether every name that `other` matches is certain to match here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // `*` of the other pattern is a character that no name has: only our own `*` takes it.
        self == other || self.matches(&other.text)
    }
}

/// The text, with one `*` for several in a row.
fn wildcards(text: &str) -> Box<str> {
    let mut kept = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '*' || !kept.ends_with('*') {
            kept.push(character);
        }
    }
    kept.into()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// The definition, in as many steps as it takes.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len())
                .take_while(|taken| !name[..*taken].iter().any(|byte| b":/".contains(byte)))
                .any(|taken| naive(rest, &name[taken..])),
            Some((byte, rest)) => name.first() == Some(byte) && naive(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab/*]{0,8}", name in "[ab/]{0,10}") {
            prop_assert_eq!(
                Pattern::new(&pattern).matches(&name),
                naive(pattern.as_bytes(), name.as_bytes())
            );
        }

        #[test]
        fn what_covers_a_pattern_matches_its_names(
            wide in "[ab:*]{0,6}", narrow in "[ab:*]{0,6}", name in "[ab:]{0,8}"
        ) {
            let (wide, narrow) = (Pattern::new(&wide), Pattern::new(&narrow));
            if wide.covers(&narrow) && narrow.matches(&name) {
                prop_assert!(wide.matches(&name));
            }
        }
    }

    #[test]
    fn of_a_unit_no_character_parts_anything() {
        for name in ["", "a.service", "a:b.service", "disk-by\\x2dpath-pci:00:1.device"] {
            assert!(Pattern::of_units("*").matches(name), "{name}");
        }
        assert!(Pattern::of_units("shop@*.service").matches("shop@1:2.service"));
        assert!(!Pattern::of_units("shop@*.service").matches("shop@1:2.scope"));
        assert!(!Pattern::new("*").matches("a:b"));
    }

    #[test]
    fn many_wildcards_take_no_longer_than_the_lengths_multiplied() {
        let pattern = Pattern::new(&format!("{}b", "a*".repeat(100)));
        let name = "a".repeat(4096);
        let begin = Instant::now();
        assert!(!pattern.matches(&name));
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    }
}
