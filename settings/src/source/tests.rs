//! Files as people write them, and what they are told.

use proptest::prelude::*;

use crate::{Section, Text, read};

/// A file with a key of each type.
#[derive(Debug, Default, PartialEq)]
struct Sample {
    name: Option<String>,
    count: Option<u64>,
    open: Option<bool>,
    words: Vec<String>,
    level: Option<u8>,
    inner: Option<u64>,
    items: Vec<String>,
    free: Vec<(String, String)>,
}

fn sample(mut root: Section<'_>) -> Sample {
    root.refuse("later", "not in this version");
    let own = |text: Text| text.as_str().to_owned();
    Sample {
        name: root.text("name").map(own),
        count: root.integer("count", 1..=10),
        open: root.flag("open"),
        words: root.texts("words").into_iter().map(own).collect(),
        level: root.value("level").and_then(|value| value.word(&[("low", 1), ("high", 2)])),
        inner: root.section("inner").and_then(|mut inner| inner.integer("depth", 0..=9)),
        items: root
            .sections("item")
            .into_iter()
            .filter_map(|mut item| item.required("id")?.text().map(own))
            .collect(),
        free: root
            .section("free")
            .map(|mut free| free.entries())
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(key, value)| Some((own(key), own(value.text()?))))
            .collect(),
    }
}

fn problems(text: &str) -> Vec<String> {
    let problems = read("x.toml", text, sample).expect_err(text);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_type_is_read() {
    let text = "
        name = 'a'
        count = 0x0A
        open = true
        words = ['b', \"c\"]
        level = 'high'
        inner.depth = 3
        [[item]]
        id = 'first'
        [[item]]
        id = 'second'
        [free]
        'any key' = 'x'
        another = 'y'
    ";
    let expected = Sample {
        name: Some("a".into()),
        count: Some(10),
        open: Some(true),
        words: vec!["b".into(), "c".into()],
        level: Some(2),
        inner: Some(3),
        items: vec!["first".into(), "second".into()],
        free: vec![("any key".into(), "x".into()), ("another".into(), "y".into())],
    };
    assert_eq!(read("x.toml", text, sample).unwrap(), expected);
    assert_eq!(read("x.toml", "", sample).unwrap(), Sample::default());
    assert_eq!(read("x.toml", "words = 'alone'", sample).unwrap().words, ["alone"]);
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_their_order() {
    let text = "\
name = 1
count = 11
open = 'yes'
words = ['a', 2, 3.0]
level = 'middle'
later = true
nmae = 'x'
colour = 'red'
item = 5

[inner]
depth = 10
dephts = 1

[[free]]
";
    let expected = [
        "x.toml:1:8: wants a string, not a whole number",
        "x.toml:2:9: wants a whole number from 1 to 10, not 11",
        "x.toml:3:8: wants true or false, not a string",
        "x.toml:4:15: wants a string, not a whole number",
        "x.toml:4:18: wants a string, not a fraction",
        "x.toml:5:9: wants one of \"low\", \"high\"",
        "x.toml:6:1: `later`: not in this version",
        "x.toml:7:1: unknown key `nmae`\n  help: did you mean `name`?",
        "x.toml:8:1: unknown key `colour`\n  help: the keys here are count, free, inner, item, \
         level, name, open, words",
        "x.toml:9:8: wants a list of tables, each written with two pairs of brackets, not a whole \
         number",
        "x.toml:12:9: wants a whole number from 0 to 9, not 10",
        "x.toml:13:1: unknown key `dephts`\n  help: did you mean `depth`?",
        "x.toml:15:1: wants a table, not a list",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn a_missing_key_is_reported_where_its_table_begins() {
    assert_eq!(problems("\n[[item]]\nid = 'a'\n[[item]]\n"), ["x.toml:4:1: needs the key `id`"]);
    assert_eq!(problems("item = [{}]"), ["x.toml:1:9: needs the key `id`"]);
}

#[test]
fn other_types_are_named() {
    assert_eq!(problems("name = 2020-01-01"), ["x.toml:1:8: wants a string, not a date"]);
    assert_eq!(problems("name = [1]"), ["x.toml:1:8: wants a string, not a list"]);
    assert_eq!(problems("name = {}"), ["x.toml:1:8: wants a string, not a table"]);
    assert_eq!(problems("name = true"), ["x.toml:1:8: wants a string, not true or false"]);
    assert_eq!(problems("count = 'x'"), ["x.toml:1:9: wants a whole number, not a string"]);
    assert_eq!(problems("count = -1"), ["x.toml:1:9: wants a whole number from 1 to 10, not -1"]);
    assert_eq!(
        problems("count = 99999999999999999999"),
        ["x.toml:1:9: wants a whole number from 1 to 10, not 99999999999999999999"]
    );
    assert_eq!(
        problems("words = 1"),
        ["x.toml:1:9: wants a string or a list of strings, not a whole number"]
    );
}

#[test]
fn what_is_no_toml_is_reported_at_its_place() {
    let problems = problems("name = 'a'\ncount = = 3\n");
    assert!(problems[0].starts_with("x.toml:2:9: "), "{problems:?}");
    let twice = read("x.toml", "name = 'a'\nname = 'b'\n", sample).unwrap_err();
    assert_eq!((twice[0].line, twice[0].column), (2, 1), "{twice:?}");
}

#[test]
fn deep_nesting_is_a_problem_and_no_crash() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("name = {}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(read("x.toml", &text, sample).is_err());
    }
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    assert!(read("x.toml", &dotted, sample).is_err());
}

/// Where each `!` of the value of `name` stands.
fn marks(text: &str) -> Vec<(usize, usize)> {
    let find = |mut root: Section<'_>| {
        let text = root.text("name").unwrap();
        let marks = text.as_str().match_indices('!').map(|(offset, _)| {
            let position = text.position_at(offset);
            (position.line, position.column)
        });
        marks.collect()
    };
    read("x.toml", text, find).unwrap()
}

#[test]
fn every_character_of_a_string_knows_its_place_in_the_file() {
    for (text, expected) in [
        ("name = 'ab!c!'", vec![(1, 11), (1, 13)]),
        (
            "name = \"ab!\\n!\\u00e9!\\U0001F600!\\x41!\"",
            vec![(1, 11), (1, 14), (1, 21), (1, 32), (1, 37)],
        ),
        ("\nname = '''\n!\n  !é!\n'''", vec![(3, 1), (4, 3), (4, 5)]),
        ("\r\nname = '''\r\n!\r\n  !\r\n'''", vec![(3, 1), (4, 3)]),
        ("name = '''!\n!'''", vec![(1, 11), (2, 1)]),
        ("name = \"\"\"\na\\\n   \n  !\\t!\n!\"\"\"", vec![(4, 3), (4, 6), (5, 1)]),
        ("name = \"\"\"a\\  \n  !\"\"\"", vec![(2, 3)]),
        ("name = ''''!'!'''", vec![(1, 12), (1, 14)]),
    ] {
        assert_eq!(marks(text), expected, "{text}");
    }
}

#[test]
fn a_text_outside_of_files_begins_at_its_first_character() {
    let text = Text::plain("command line, rule 1", "ab\ncd");
    assert_eq!(text.position_at(0).to_string(), "command line, rule 1:1:1");
    assert_eq!(text.position_at(4).to_string(), "command line, rule 1:2:2");
    assert_eq!(text.problem("x").to_string(), "command line, rule 1, character 1: x");
}

#[test]
fn a_text_shows_its_place_and_not_its_value() {
    assert_eq!(format!("{:?}", Text::plain("x", "tls://user:hunter2@h")), "Text(x:1:1)");
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC*") {
        drop(read("x.toml", &text, sample));
    }

    #[test]
    fn no_mixture_of_pieces_makes_a_reader_panic(
        pieces in proptest::collection::vec(
            prop::sample::select(vec![
                "name", "count", " = ", "'", "\"", "'''", "\"\"\"", "[", "]", "[[", "]]", "\n",
                "\r\n", "\\", "\\u00", "é", "1", "{", "}", ",", ".", "#", "item", "free",
            ]),
            0..40,
        )
    ) {
        drop(read("x.toml", &pieces.concat(), sample));
    }

    #[test]
    fn a_literal_string_is_mapped_character_by_character(body in "[ -&(-~é\n]{0,60}") {
        let text = format!("name = '''\n{body}'''");
        let found = read("x.toml", &text, |mut root| root.text("name").unwrap()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        for (offset, character) in found.as_str().char_indices() {
            let place = found.position_at(offset);
            let there = lines[place.line - 1].chars().nth(place.column - 1);
            prop_assert_eq!(there.unwrap_or('\n'), character);
        }
    }
}
