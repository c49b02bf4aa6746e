//! An answer as a `[[test]]` that says the same.

use std::fmt::Write;

use libipc::interface::broker::{Resolved, Subject};

use super::Why;
use crate::asker;

/// The test: whoever asked for this gets what `answer` says, by the rule that decided.
pub(super) fn text(why: &Why, subject: Option<&Subject>, answer: &Resolved) -> String {
    let mut test = String::from("[[test]]\n");
    let mut line = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _written = writeln!(test, "{key} = {value}").is_ok();
    };
    match (&why.from, subject) {
        (Some(peer), _) => line("from", &quoted(peer)),
        (None, Some(subject)) => line("as", &table(subject)),
        (None, None) => line("as", &table(&asker::subject())),
    }
    line("ask", &quoted(&answer.service));
    if let Some(network) = &why.network {
        line("network", &quoted(network));
    }
    let open = answer.candidates.iter().find(|candidate| candidate.verdict.allowed);
    let Some(decided) = open.or(answer.candidates.first()) else { return test };
    let verdict = &decided.verdict;
    let expected = match (verdict.allowed, verdict.permissive) {
        (true, false) => format!("allow {}", decided.target),
        (true, true) => format!("permissive {}", decided.target),
        (false, _) => "deny".to_owned(),
    };
    line("expect", &quoted(&expected));
    let source = verdict.source.as_deref().unwrap_or("none");
    line("rule", &quoted(source.rsplit('/').next().unwrap_or(source)));
    test
}

fn table(subject: &Subject) -> String {
    let Subject { user, groups, unit, user_unit, socket, login } = subject;
    let named = [
        ("user", user),
        ("unit", unit),
        ("user-unit", user_unit),
        ("socket", socket),
        ("login", login),
    ];
    let named = named.into_iter().filter_map(|(key, value)| Some((key, quoted(value.as_ref()?))));
    let mut all: Vec<String> = named.map(|(key, value)| format!("{key} = {value}")).collect();
    if let Some(groups) = groups {
        let groups: Vec<String> = groups.iter().map(|group| quoted(group)).collect();
        all.push(format!("groups = [{}]", groups.join(", ")));
    }
    if all.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", all.join(", ")) }
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    let quote = |character: char| match character {
        '"' | '\\' => format!("\\{character}"),
        character if character.is_control() => format!("\\u{:04X}", u32::from(character)),
        character => character.to_string(),
    };
    format!("\"{}\"", text.chars().map(quote).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_toml_has_it() {
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
        assert_eq!(table(&Subject::default()), "{}");
        let subject = Subject {
            user: Some("www".to_owned()),
            groups: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..Subject::default()
        };
        assert_eq!(table(&subject), "{ user = \"www\", groups = [\"a\", \"b\"] }");
    }
}
