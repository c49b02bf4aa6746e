//! Text of the other side, fit for a terminal and a log.

/// The first `most` characters, with those that a terminal would obey written out.
pub(crate) fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().take(most) {
        if character.is_control() || is_turning(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters that change the direction of the text around them.
fn is_turning(character: char) -> bool {
    matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out_and_the_rest_is_cut() {
        assert_eq!(shown("say \"hé\"\n", 100), "say \"hé\"\\u{a}");
        assert_eq!(shown("\x1b[31m\u{202e}x\u{9b}", 100), "\\u{1b}[31m\\u{202e}x\\u{9b}");
        assert_eq!(shown("éééé", 3), "ééé");
    }
}
