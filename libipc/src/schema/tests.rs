use std::fs;

use super::*;

fn registry(schema: &str) -> Result<SchemaRegistry, SchemaError> {
    SchemaRegistry::from_embedded(&[(Channel::COMMAND, schema)], SchemaOptions::default())
}

fn strict(schema: &str) -> SchemaRegistry {
    let options = SchemaOptions { strict: true, ..SchemaOptions::default() };
    SchemaRegistry::from_embedded(&[(Channel::COMMAND, schema)], options).unwrap()
}

fn said(registry: &SchemaRegistry, content: &str) -> String {
    match registry.validate(Channel::COMMAND, content.as_bytes()) {
        Ok(()) => "valid".to_owned(),
        Err(error) => error.to_string(),
    }
}

const COMMAND: &str = r#"{
    "type": "object", "required": ["action"], "additionalProperties": false,
    "properties": {"action": {"type": "string"}}
}"#;

#[test]
fn content_is_what_its_schema_says() {
    let registry = registry(COMMAND).unwrap();
    assert_eq!(said(&registry, r#"{"action":"stop"}"#), "valid");
    let start = "validation failed on channel 1 (COMMAND): ";
    for wrong in ["{}", r#"{"action":1}"#, r#"{"action":"a","more":1}"#, "[]", "null"] {
        assert!(said(&registry, wrong).starts_with(start), "{wrong}");
    }
    assert!(said(&registry, "{").starts_with("channel 1 (COMMAND): no JSON: "));
    assert!(registry.validate(Channel::DATA, b"anything").is_ok());
    assert_eq!(registry.channels().collect::<Vec<_>>(), [Channel::COMMAND]);
}

#[test]
fn four_problems_are_told_and_none_is_long() {
    let registry = registry(r#"{"items": {"type": "string", "maxLength": 1}}"#).unwrap();
    let said = said(&registry, "[1,2,3,4,5,6]");
    assert_eq!(said.matches("; ").count(), 3, "{said}");
    let long = format!("[\"{}\"]", "\\u001b".repeat(10_000));
    let Err(SchemaError::Content { problems, .. }) =
        registry.validate(Channel::COMMAND, long.as_bytes())
    else {
        panic!("valid")
    };
    assert!(problems[0].len() < 3_000 && !problems[0].contains('\x1b'));
}

#[test]
fn as_many_problems_and_characters_of_them_are_shown_as_the_limits() {
    let registry = registry(r#"{"items": {"type": "string", "maxLength": 1}}"#).unwrap();
    let problems = |content: &str| match registry.validate(Channel::COMMAND, content.as_bytes()) {
        Err(SchemaError::Content { problems, .. }) => problems,
        other => panic!("{other:?}"),
    };
    assert_eq!(problems("[1,2,3]").len(), 3);
    assert_eq!(problems("[1,2,3,4]").len(), 4);
    assert_eq!(problems("[1,2,3,4,5]"), problems("[1,2,3,4]"));
    let of = |length: usize| problems(&format!("[\"{}\"]", "x".repeat(length))).remove(0);
    let around = of(100).len() - 100;
    assert_eq!(of(300 - around).chars().count(), 300);
    assert!(of(300 - around).ends_with(of(100).split('x').next_back().unwrap()));
    assert_eq!(of(301 - around).chars().count(), 300);
    assert_eq!(of(100_000).chars().count(), 300);
}

#[test]
fn a_pattern_that_takes_a_mebibyte_is_refused_and_a_smaller_one_is_used() {
    let with = |count: usize| registry(&format!(r#"{{"pattern": "^[a-z]{{{count}}}$"}}"#));
    // Some 24 bytes each, as the compiler of patterns has it.
    let used = with(10_000).unwrap();
    assert_eq!(said(&used, &format!("\"{}\"", "x".repeat(10_000))), "valid");
    let said = with(100_000).unwrap_err().to_string();
    assert!(said.starts_with("the schema of channel"), "{said}");
}

#[test]
fn a_channel_without_a_schema_can_be_an_error() {
    let options = SchemaOptions { fail_on_missing: true, ..SchemaOptions::default() };
    let registry = SchemaRegistry::new(options);
    assert_eq!(said(&registry, "1"), "channel 1 (COMMAND) has no schema");
}

#[test]
fn strict_objects_have_no_other_properties_at_any_depth() {
    let nested = r#"{
        "type": "object",
        "properties": {
            "one": {"type": ["object", "null"], "properties": {"a": {}}},
            "many": {"type": "array", "items": {"properties": {"b": {}}}},
            "open": {"type": "object", "additionalProperties": true}
        }
    }"#;
    let registry = strict(nested);
    let cases = [
        (r#"{"one":{"a":1},"many":[{"b":1}],"open":{"x":1}}"#, true),
        (r#"{"two":1}"#, false),
        (r#"{"one":{"b":1}}"#, false),
        (r#"{"many":[{"b":1},{"c":1}]}"#, false),
        (r#"{"one":null}"#, true),
    ];
    for (content, valid) in cases {
        assert_eq!(said(&registry, content) == "valid", valid, "{content}");
    }
    let tolerant =
        SchemaRegistry::from_embedded(&[(Channel::COMMAND, nested)], SchemaOptions::default());
    assert_eq!(said(&tolerant.unwrap(), r#"{"two":1}"#), "valid");
}

#[test]
fn nothing_is_fetched() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("other.json");
    fs::write(&file, "{}").unwrap();
    for reference in [format!("file://{}", file.display()), "http://127.0.0.1:1/x".to_owned()] {
        let schema = format!(r#"{{"$ref": "{reference}"}}"#);
        let said = registry(&schema).unwrap_err().to_string();
        let start = "the schema of channel 1 (COMMAND) cannot be used: ";
        assert!(said.starts_with(start), "{said}");
    }
}

#[test]
fn a_reference_may_lead_deeper_and_one_to_itself_harms_nobody() {
    let list = r##"{"properties": {"next": {"$ref": "#"}}, "required": ["value"]}"##;
    let lists = registry(list).unwrap();
    assert_eq!(said(&lists, r#"{"value":1,"next":{"value":2}}"#), "valid");
    assert_ne!(said(&lists, r#"{"value":1,"next":{}}"#), "valid");
    for endless in [
        r##"{"$ref": "#"}"##,
        r##"{"$anchor": "a", "$ref": "#a"}"##,
        r#"{"$id": "http://x/y", "$ref": "y"}"#,
        r##"{"$dynamicAnchor": "a", "$dynamicRef": "#a"}"##,
        r##"{"allOf": [{"$ref": "#/$defs/a"}],
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}"##,
    ] {
        assert_eq!(said(&registry(endless).unwrap(), "1"), "valid", "{endless}");
    }
}

#[test]
fn patterns_take_the_time_that_the_text_takes() {
    let start = std::time::Instant::now();
    let greedy = registry(r#"{"type": "string", "pattern": "^(a+)+$"}"#).unwrap();
    assert_ne!(said(&greedy, &format!("\"{}b\"", "a".repeat(64 << 10))), "valid");
    let unique = registry(r#"{"uniqueItems": true}"#).unwrap();
    let numbers: Vec<u32> = (0..20_000).collect();
    assert_eq!(said(&unique, &format!("{numbers:?}")), "valid");
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    assert!(registry(r#"{"pattern": "(?<=a)b"}"#).is_err(), "looks back");
}

#[test]
fn deep_content_is_refused_and_harms_nobody() {
    let registry = registry(r##"{"items": {"$ref": "#"}}"##).unwrap();
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(said(&registry, &deep(100)), "valid");
    assert!(said(&registry, &deep(100_000)).contains("no JSON: recursion limit"));
    let mut deep_schema = SchemaRegistry::new(SchemaOptions::default());
    assert!(deep_schema.register(Channel::DATA, &deep(100_000)).is_err());
}

#[test]
fn a_directory_has_a_schema_for_each_channel() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
    let read = || SchemaRegistry::from_directory(place.path(), SchemaOptions::default());
    write("Command.Schema.JSON", COMMAND);
    write("channel_300.schema.json", "true");
    write("README.md", "not a schema");
    fs::create_dir(place.path().join("more")).unwrap();
    let channels: Vec<Channel> = read().unwrap().channels().collect();
    assert_eq!(channels, [Channel::COMMAND, Channel(300)]);

    write("channel_1.schema.json", "true");
    assert_eq!(read().unwrap_err().to_string(), "channel 1 (COMMAND) has two schemas");
    fs::remove_file(place.path().join("channel_1.schema.json")).unwrap();
    for wrong in ["channel_70000.schema.json", "channel_.schema.json", "other.schema.json"] {
        write(wrong, "true");
        let said = read().unwrap_err().to_string();
        assert!(said.ends_with("write channel_N.schema.json, or a built-in name"), "{said}");
        fs::remove_file(place.path().join(wrong)).unwrap();
    }
    std::os::unix::fs::symlink("README.md", place.path().join("data.schema.json")).unwrap();
    let said = read().unwrap_err().to_string();
    assert!(said.ends_with("a schema is a file, and no link to one"), "{said}");
    let gone = SchemaRegistry::from_directory(&place.path().join("gone"), SchemaOptions::default());
    assert!(gone.unwrap_err().to_string().contains("No such file"));
}

#[test]
fn limits_of_a_directory_hold_at_the_limit() {
    let place = tempfile::tempdir().unwrap();
    let options =
        SchemaOptions { schemas_most: 3, schema_bytes_most: 6, ..SchemaOptions::default() };
    for number in 1..=3 {
        fs::write(place.path().join(format!("channel_{number}.schema.json")), "{    }").unwrap();
    }
    assert_eq!(
        SchemaRegistry::from_directory(place.path(), options).unwrap().channels().count(),
        3
    );
    fs::write(place.path().join("channel_2.schema.json"), "{     }").unwrap();
    let said = SchemaRegistry::from_directory(place.path(), options).unwrap_err().to_string();
    assert_eq!(said, "the schema of channel 2 (DATA) has more than 6 bytes");
    fs::write(place.path().join("channel_4.schema.json"), "true").unwrap();
    let said = SchemaRegistry::from_directory(place.path(), options).unwrap_err().to_string();
    assert_eq!(said, "more than 3 schemas in one directory");
    let mut registry = SchemaRegistry::new(options);
    registry.register(Channel::DATA, "{    }").unwrap();
    assert!(matches!(
        registry.register(Channel::DATA, "{     }"),
        Err(SchemaError::TooLong { most: 6, .. })
    ));
}
