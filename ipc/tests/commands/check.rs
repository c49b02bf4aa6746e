//! `ipc check` and `ipc why --config`.

use crate::place::{Place, run};

#[test]
fn a_good_file_passes_and_a_bad_one_says_where() {
    let place = Place::new();
    let good = place.file("good.toml", "rules = 'allow out db tcp:192.0.2.1:5432'\n");
    let (code, said, _) =
        run(&mut place.ipc(&["check", "--format", "table", "--config", &good]), b"");
    assert_eq!((code, said), (0, format!("1. {good}\n")));
    let bad = place.file("bad.toml", "colour = 1\n");
    let (code, said, _) = run(&mut place.ipc(&["check", "--config", &bad]), b"");
    assert_eq!(code, 78);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["problems"][0]["line"], 1);
    assert_eq!(json["problems"][0]["message"], "unknown key `colour`");
    let (code, _, said) = run(&mut place.ipc(&["check", "--config", "/nonexistent"]), b"");
    assert_eq!(code, 78);
    assert!(said.starts_with("ipc: /nonexistent: configuration: "), "{said}");
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let place = Place::new();
    let late = place.file("90-late.toml", "rules = 'deny out x *'\n");
    let early = place.file("10-early.toml", "rules = 'allow out x tcp:192.0.2.1:5432'\n");
    let (_, said, _) = run(&mut place.ipc(&["check", "--format", "table", &late, &early]), b"");
    assert!(said.starts_with(&format!("1. {early}\n2. {late}\n")), "{said}");
}

#[test]
fn an_account_that_does_not_exist_is_an_error_only_if_that_is_asked_for() {
    let place = Place::new();
    let file = place.file("ipcd.toml", "rules = 'allow local x for user:no-such-user-here'\n");
    let (code, ..) = run(&mut place.ipc(&["check", "--config", &file]), b"");
    assert_eq!(code, 0);
    let (code, ..) = run(&mut place.ipc(&["check", "--strict", "--config", &file]), b"");
    assert_eq!(code, 78);
}

#[test]
fn why_answers_from_a_file_as_the_broker_would() {
    let place = Place::new();
    let rules = "rules = '''\nallow out db tcp:192.0.2.9:5432\nallow out db tcp:192.0.2.1:5432\n'''\n\
                 redirects = { db = \"tcp://192.0.2.1:5432\" }\n";
    let file = place.file("ipcd.toml", rules);
    let (code, said, errors) =
        run(&mut place.ipc(&["why", "db", "--format", "table", "--config", &file]), b"");
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    assert!(said.contains(&format!("{file}:3")), "{said}");
    assert!(said.contains("passed    allow out db tcp:192.0.2.9:5432"), "{said}");
    assert!(said.contains("decides   allow out db tcp:192.0.2.1:5432"), "{said}");
    assert!(said.contains("bytes     direct: the client gets the TCP socket"), "{said}");
    let elsewhere = "db tcp://192.0.2.7:5432";
    let (code, said, _) = run(
        &mut place.ipc(&["why", "db", "--json", "--config", &file, "--network", elsewhere]),
        b"",
    );
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(code, 50);
    let cure = json["candidates"][0]["verdict"]["cure"].as_str().unwrap();
    assert!(cure.starts_with("allow out db tcp:192.0.2.7:5432"), "{cure}");
}

#[test]
fn why_tells_what_is_wrong_with_a_file() {
    let place = Place::new();
    let file = place.file("ipcd.toml", "rules = 'allow sideways db'\n");
    let (code, _, said) = run(&mut place.ipc(&["why", "db", "--config", &file]), b"");
    assert_eq!(code, 78);
    assert!(said.contains(&format!("{file}:1:")), "{said}");
}
