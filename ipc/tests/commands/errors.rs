//! Exit codes and words, of the binary itself.

use crate::place::{Place, run};

#[test]
fn what_cannot_be_asked_is_a_usage_error() {
    let place = Place::new();
    let cases: [(&[&str], &str); 7] = [
        (&["connect", "../x"], "ipc: ../x: no service name: a service name has only"),
        (&["connect", "a\nb"], "ipc: a\\nb: no service name: "),
        (&["connect", "x", "--network", "x"], "no target after x"),
        (&["connect", "x", "--network", "x tls://u:sesame@h/x"], "IPC_NETWORK_FILE"),
        (&["why", "x", "--timeout=-1"], "not a number of seconds"),
        (&["serve", "x", "--fd", "100", "--", "cat"], "100 is not in"),
        (&["frobnicate"], "unrecognized subcommand"),
    ];
    for (arguments, expected) in cases {
        let (code, _, said) = run(&mut place.ipc(arguments), b"");
        assert_eq!(code, 64, "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[test]
fn a_missing_broker_is_told_with_how_to_start_one() {
    let place = Place::new();
    std::fs::create_dir(place.rundir()).unwrap();
    let rundir = place.rundir();
    for command in ["connect", "why"] {
        let mut command = place.ipc(&[command, "db"]);
        command.env("IPC_NETWORK", "db tls://u:sesame@db.example.com:9001/db");
        let (code, _, said) = run(&mut command, b"");
        let at = rundir.display();
        assert_eq!(code, 69, "{said}");
        assert!(said.starts_with("ipc: db: no broker: "), "{said}");
        assert!(
            said.ends_with(&format!("\n  to start  ipcd --rundir {at} --with tcpd\n")),
            "{said}"
        );
        assert!(!said.contains("sesame"), "{said}");
    }
    let (code, ..) = run(&mut place.ipc(&["status"]), b"");
    assert_eq!(code, 69);
}

#[test]
fn json_errors_have_the_same_fields() {
    let place = Place::new();
    std::fs::create_dir(place.rundir()).unwrap();
    let (code, _, said) = run(&mut place.ipc(&["--json", "connect", "db"]), b"");
    assert_eq!(code, 69);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["name"], "db");
    assert_eq!(json["what"], "no broker");
    assert_eq!((json["exitCode"].as_u64(), json["retry"].as_bool()), (Some(69), Some(true)));
    assert!(json["cure"].as_str().unwrap().starts_with("ipcd --rundir "));
}

#[test]
fn a_service_that_died_is_refused() {
    let place = Place::new();
    let service = place.serve("echo", &["--", "cat"]);
    drop(service);
    assert!(place.socket("echo").exists());
    let (code, _, said) = run(&mut place.ipc(&["connect", "echo"]), b"");
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("ipc: echo: refused: "), "{said}");
}

#[test]
fn a_run_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::create_dir(place.rundir()).unwrap();
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.rundir(), mode).unwrap();
    for command in ["connect", "why"] {
        let (code, _, said) = run(&mut place.ipc(&[command, "db"]), b"");
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("may be written by others"), "{said}");
    }
}

#[test]
fn version_help_and_completions_are_printed() {
    let place = Place::new();
    let (code, said, _) = run(&mut place.ipc(&["version"]), b"");
    assert_eq!((code, said), (0, format!("ipc {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, said, _) = run(&mut place.ipc(&["connect", "--help"]), b"");
    assert_eq!(code, 0);
    assert!(said.contains("Examples:"), "{said}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, said, _) = run(&mut place.ipc(&["completions", shell]), b"");
        assert!(code == 0 && said.contains("ipc"), "{shell}");
    }
}
