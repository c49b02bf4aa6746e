//! Implementers' words in what users read: `docs/protocol.md` and the code have words that nobody
//! else has to know.
//!
//! Every text of the sources that is a sentence, which is to say has a blank, counts as read by
//! users: errors, output, help, the log. So do the comments that become the help of a command line.

use std::fs;
use std::process::Command;

use crate::Failed;

/// Words for implementers, in all their forms.
const WORDS: [&str; 25] = [
    "transport",
    "transports",
    "stack",
    "stacks",
    "dial",
    "dials",
    "dialled",
    "dialling",
    "wrap",
    "wraps",
    "wrapped",
    "wrapping",
    "arrival",
    "arrivals",
    "attach",
    "attaches",
    "attached",
    "attaching",
    "handoff",
    "handoffs",
    "hello",
    "upgrade",
    "upgrades",
    "door",
    "doors",
];

/// What has one of them and means something else.
const MEANT: [(&str, &str); 1] = [("ipc/src/args.rs", "--data hello")];

/// Crates that users meet.
const CRATES: [&str; 12] = [
    "authd",
    "daemon",
    "ipc",
    "ipcd",
    "libipc",
    "policy",
    "pongd",
    "relay",
    "settings",
    "tcpd",
    "tlsd",
    "websocketd",
];

/// Every place where a user would read such a word.
pub(crate) fn problems() -> Result<Vec<String>, Failed> {
    let paths = CRATES.map(|name| format!("{name}/src/*.rs"));
    let output = Command::new("git").arg("ls-files").args(paths).output()?;
    let mut problems = Vec::new();
    for file in String::from_utf8_lossy(&output.stdout).lines() {
        if file.ends_with("/tests.rs") || file.contains("/tests/") {
            continue;
        }
        let source = fs::read_to_string(file)?;
        for Text { line, text } in texts(shipped(&source), file.ends_with("/args.rs")) {
            let is_meant =
                MEANT.iter().any(|(place, words)| *place == file && text.contains(words));
            if let Some(word) = word_in(&text).filter(|_| !is_meant && text.contains(' ')) {
                problems
                    .push(format!("{file}:{line}: users do not know the word {word}: {text:?}"));
            }
        }
    }
    Ok(problems)
}

/// A source without its tests, which stand at its end.
fn shipped(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

fn word_in(text: &str) -> Option<String> {
    let text = without_placeholders(text).to_lowercase();
    let mut words = text.split(|character: char| !character.is_alphanumeric() && character != '-');
    words.find(|word| WORDS.contains(word)).map(str::to_owned)
}

/// A text without what stands between braces: that is code.
fn without_placeholders(text: &str) -> String {
    let mut depth = 0;
    let kept = text.chars().filter(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => return depth == 0,
        }
        false
    });
    kept.collect()
}

/// A text of a source, and the line on which it begins.
struct Text {
    line: usize,
    text: String,
}

/// All texts of a source; with `with_docs` its doc comments too.
fn texts(source: &str, with_docs: bool) -> Vec<Text> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, text) = match first {
            '/' if rest.starts_with("//") => {
                let length = rest.find('\n').unwrap_or(rest.len());
                let comment = rest.get(..length).unwrap_or_default();
                (length, comment.strip_prefix("///").filter(|_| with_docs).map(str::to_owned))
            }
            '\'' => (character_length(rest), None),
            '"' => quoted(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw(rest),
            // A word is passed as a whole, so that no `r` in it begins a text.
            first if first.is_alphanumeric() || first == '_' => (word_length(rest), None),
            first => (first.len_utf8(), None),
        };
        found.extend(text.map(|text| Text { line, text }));
        let length = length.max(1);
        line += rest.get(..length).unwrap_or_default().matches('\n').count();
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

fn word_length(rest: &str) -> usize {
    rest.find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(rest.len())
}

/// Of a character, or of the tick of a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest.get(3..).and_then(|rest| rest.find('\'')).map_or(1, |end| end + 4),
        Some((at, one))
            if rest.get(at + one.len_utf8()..).is_some_and(|rest| rest.starts_with('\'')) =>
        {
            at + one.len_utf8() + 1
        }
        _ => 1,
    }
}

/// A text in quotes, and how long it is in the source.
fn quoted(rest: &str) -> (usize, Option<String>) {
    let mut is_escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => {
                let text = rest.get(1..at).unwrap_or_default().to_owned();
                return (at + 1, Some(text));
            }
            _ => is_escaped = character == '\\' && !is_escaped,
        }
    }
    (rest.len(), None)
}

/// A text in `r"` or `r#"`; otherwise a raw name.
fn raw(rest: &str) -> (usize, Option<String>) {
    let hashes = rest.get(1..).unwrap_or_default().bytes().take_while(|byte| *byte == b'#').count();
    let begin = hashes + 2;
    if rest.as_bytes().get(begin - 1) != Some(&b'"') {
        return (1, None);
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let text = rest.get(begin..).unwrap_or_default();
    match text.find(&end) {
        Some(at) => (begin + at + end.len(), text.get(..at).map(str::to_owned)),
        None => (rest.len(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_nothing_else() {
        // An at sign stands for the one that would end this text.
        let source = r#"
/// A doc "comment".
fn f<'a>(x: &'a str) -> char { // no "text"
    let _ = ("one \"two\"", '"', '\'', r"three", r@"four "five""@, for_r"six");
}
"#
        .replace('@', "#");
        let found = |with_docs| {
            let texts = texts(&source, with_docs).into_iter();
            texts.map(|one| format!("{} {}", one.line, one.text)).collect::<Vec<_>>()
        };
        let expected =
            ["4 one \\\"two\\\"", "4 three", "4 four \"five\"", "4 six"].map(str::to_owned);
        assert_eq!(found(false), expected);
        assert_eq!(found(true)[0], "2  A doc \"comment\".");
    }

    #[test]
    fn a_word_counts_in_all_its_forms_and_not_in_code() {
        assert_eq!(word_in("the Transport is gone"), Some("transport".to_owned()));
        assert_eq!(word_in("cannot be attached."), Some("attached".to_owned()));
        assert_eq!(word_in("{transport} does not run"), None);
        assert_eq!(word_in("the limit dials-per-user"), None);
        assert_eq!(word_in("a doorbell"), None);
    }
}
