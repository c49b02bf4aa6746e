//! A service of `ipc` whose user may have few threads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use ipcd_tests::{Daemon, has, installed, is_root, outcome, program, until};

/// A user whom nothing else runs as, for the kernel counts all threads of one.
const USER: u32 = 54_317;

#[test]
fn an_echo_without_threads_says_so_and_serves_again_when_there_are_some() {
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let at = place.path().join("s");
    let mut echo = Command::new("prlimit");
    echo.args(["--nproc=4", "setpriv", &format!("--reuid={USER}"), &format!("--regid={USER}")]);
    echo.arg("--clear-groups").arg(program("ipc").get_program());
    echo.arg("echo").arg(&at).args(["--log-level", "error"]).stderr(Stdio::piped());
    let mut echo = Daemon::start(&mut echo);
    until("it serves", || at.exists());
    let many: Vec<_> = (0..8).map(|_| UnixStream::connect(&at).unwrap()).collect();
    let mut errors = BufReader::new(echo.0.stderr.take().unwrap());
    for _ in 0..5 {
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        assert!(line.contains("Resource temporarily unavailable"), "{line}");
    }
    drop(many);
    let mut send = program("ipc");
    send.arg("send").arg(&at).args(["--data", "still here", "--wait", "--format", "raw"]);
    let mut answer = (0, String::new(), String::new());
    for _ in 0..3 {
        answer = outcome(&mut send);
    }
    assert_eq!((answer.0, answer.1.as_str()), (0, "still here"), "{}", answer.2);
}
