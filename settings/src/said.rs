//! The kernel's words as people read them.

use std::borrow::Cow;

/// What std puts before the number of an error.
const NUMBER: &str = " (os error ";

/// `text` without the numbers that std puts behind the kernel's words: `No such file or directory`
/// says all that `No such file or directory (os error 2)` does.
#[must_use]
pub fn without_numbers(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(NUMBER) {
        let digits = behind.trim_start_matches(|character: char| character.is_ascii_digit());
        kept.push_str(before);
        let after = digits.strip_prefix(')').filter(|_| digits.len() < behind.len());
        if after.is_none() {
            kept.push_str(NUMBER);
        }
        rest = after.unwrap_or(behind);
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_the_numbers_of_errors_are_left_out() {
        let missing = io::Error::from_raw_os_error(2).to_string();
        for (text, said) in [
            ("nothing", "nothing"),
            ("", ""),
            (missing.as_str(), "No such file or directory"),
            ("(os error 2)", "(os error 2)"),
            (" (os error 2)", ""),
            ("a (os error 2), b (os error 111): c", "a, b: c"),
            ("a (os error )", "a (os error )"),
            ("a (os error 2", "a (os error 2"),
            ("a (os error x) (os error 3)", "a (os error x)"),
        ] {
            assert_eq!(without_numbers(text), said, "{text:?}");
        }
    }
}
