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
    assert!(said.contains("passed    allow out db tcp:192.0.2.9:5432\n"), "{said}");
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
    assert!(said.ends_with("  to do    mend it, and look again: ipc check\n"), "{said}");
}

/// What `ipc why` says with these arguments, from `file`.
fn why(place: &Place, file: &str, arguments: &[&str]) -> (i32, String, String) {
    run(&mut place.ipc(&[&["why", "--config", file, "--format", "table"], arguments].concat()), b"")
}

#[test]
fn why_answers_about_programs_and_peers_that_are_described() {
    let place = Place::new();
    let rules = "rules = '''\nallow out db tcp:h:1 for unit:shop.service\n\
                 allow out db tcp:h:2 for user:root\nallow in db tls:web1.example.com\n'''\n\
                 redirects.db = 'tcp://h:1'\n";
    let file = place.file("ipcd.toml", rules);
    let (code, said, _) = why(&place, &file, &["db", "--as", "unit:shop.service"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("db asked for by unit shop.service\n"), "{said}");
    let (code, said, _) = why(&place, &file, &["db", "--as", "unit:blog.service"]);
    assert_eq!(code, 50);
    assert!(said.contains("it is about unit:shop.service, not unit blog.service"), "{said}");
    assert!(said.contains("to allow  allow out db tcp:h:1 for unit:blog.service"), "{said}");
    let wish = ["db", "--as", "user:root", "--network", "db tcp://h:2"];
    assert_eq!(why(&place, &file, &wish).0, 0);
    let (code, _, said) = why(&place, &file, &["db", "--from", "tls:web1.example.com"]);
    assert_eq!(code, 50, "a peer is not led to another host: {said}");
    let led = format!("ipc: db: denied: db is led to tcp:h:1 ({file}:6), and peers of other hosts");
    assert!(said.starts_with(&led), "{said}");
    let cure = "to allow  lead to it on the host where the peer is, by a redirect and a rule there";
    assert!(said.trim_end().ends_with(cure), "{said}");
    let wish = ["db", "--from", "tcp:192.0.2.7", "--network", "db tcp://h:2"];
    assert_eq!(why(&place, &file, &wish).0, 64, "a peer has no IPC_NETWORK here");
    for (arguments, expected) in [
        (["db", "--as", "shop"], "ipc: --as: usage: a program is described by user:"),
        (["db", "--as", "user:no-such-user"], "there is no user no-such-user on this host"),
        (["db", "--from", "gopher:h"], "there is no such scheme"),
    ] {
        let (code, _, said) = why(&place, &file, &arguments);
        assert_eq!(code, 64, "{said}");
        assert!(said.contains(expected), "{said}");
    }
    let (_, _, said) = why(&place, &file, &["db", "--from", "gopher:h"]);
    assert!(said.ends_with("  to do  correct the target, or who is described\n"), "{said}");
}

#[test]
fn an_answer_as_a_test_is_a_test_that_passes() {
    let place = Place::new();
    let rules = "rules = '''\nallow out db tcp:h:1 for unit:shop.service\n\
                 permissive in db tls:web1.example.com\n'''\n";
    let file = place.file("ipcd.toml", rules);
    let mut tests = String::new();
    for arguments in [
        &["db", "--as-test", "--network", "db tcp://h:1"][..],
        &["db", "--as-test", "--as", "unit:shop.service,group:7", "--network", "db tcp://h:1"],
        &["db", "--as-test", "--as", "user:root,socket:s"],
        &["db", "--as-test", "--from", "tls:web1.example.com"],
        &["db", "--as-test", "--from", "tcp:192.0.2.1"],
    ] {
        let (_, said, errors) = why(&place, &file, arguments);
        assert_eq!(errors, "");
        tests.push_str(&said);
    }
    assert!(tests.contains("expect = \"permissive unix:db\"\nrule = \"ipcd.toml:3\""), "{tests}");
    let file = place.file("ipcd.toml", &format!("{rules}{tests}"));
    let (code, said, _) =
        run(&mut place.ipc(&["check", "--format", "table", "--config", &file]), b"");
    assert!(code == 0 && said.ends_with("5 tests pass\n"), "{said}{tests}");
}

#[test]
fn a_test_that_fails_is_shown_as_compilers_do() {
    let place = Place::new();
    let text = "[[test]]\nas = {}\nask = 'db'\nnetwork = 'db tcp://h:1'\nexpect = 'allow'\n";
    let file = place.file("ipcd.toml", text);
    let (code, said, _) =
        run(&mut place.ipc(&["check", "--format", "table", "--config", &file]), b"");
    assert_eq!(code, 78);
    let message = "the test fails: db, asked for by somebody: expected allow, got deny (no rule \
                   allows it)\n  help: no rule decided; to allow it: allow out db tcp:h:1";
    assert_eq!(said, format!("1. {file}\n{file}:5:10: {message}\n"));
}

#[test]
fn what_all_files_say_is_shown_line_by_line() {
    let place = Place::new();
    let one = place.file("10-one.toml", "rules = 'allow out db tcp:h:1'\nlimits.clients = 7\n");
    let two = place.file("20-two.toml", "limits.clients = 8\nlimits.dials = 9\n");
    let (code, said, _) = run(&mut place.ipc(&["check", "--dump", "--json", &one, &two]), b"");
    assert_eq!(code, 0);
    let lines: serde_json::Value = serde_json::from_str(&said).unwrap();
    let origin = |text: &str| {
        let mut lines = lines.as_array().unwrap().iter();
        lines.find(|line| line["text"] == text).unwrap()["origin"].as_str().unwrap().to_owned()
    };
    assert_eq!(origin("allow out db tcp:h:1"), format!("{one}:1"));
    assert_eq!(origin("clients = 7"), format!("{one}:2"));
    assert_eq!(origin("dials = 9"), format!("{two}:2"));
    assert!(!said.contains("clients = 8"), "{said}");
}

/// What fails the check is a problem for programs too; what does not is a warning.
#[test]
fn what_is_odd_is_a_problem_and_who_does_not_exist_a_warning() {
    let place = Place::new();
    let rules = "rules = '''\nallow local db for user:no-such-user-here\ndeny out db *\n'''\n";
    let file = place.file("ipcd.toml", rules);
    let (code, said, _) = run(&mut place.ipc(&["check", "--json", "--config", &file]), b"");
    assert_eq!(code, 78);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!([&json["problems"][0]["line"], &json["warnings"][0]["line"]], [3, 2]);
    assert!(json["problems"][1].is_null() && json["warnings"][1].is_null(), "{said}");
    let (_, said, _) = run(&mut place.ipc(&["check", "--format", "table", "--config", &file]), b"");
    let odd =
        "3:1: the rule changes nothing: no rule behind it lets this pass\n  help: leave it out";
    assert!(said.contains(odd), "{said}");
    assert!(said.contains("2:1: warning: user:no-such-user-here does not exist"), "{said}");
}
