//! The demo fails at the step of the part that is left out, and names it.
#![expect(clippy::unwrap_used, reason = "a broken premise ends the test")]

use std::process::Command;

fn demo(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.arg("demo").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_whole_demo_succeeds() {
    let (succeeded, said) = demo(&[]);
    assert!(succeeded, "{said}");
    assert!(said.contains("to allow  allow out payroll tcp:127.0.0.1:"), "{said}");
    assert!(said.contains("encrypted between the two tlsd"), "{said}");
    assert!(said.contains("Everything is stopped again."), "{said}");
}

#[test]
fn without_any_part_it_fails_at_that_part() {
    let parts = [
        "ipcd-a", "ipcd-b", "tcpd-a", "tcpd-b", "tlsd-a", "tlsd-b", "pongd", "rule-out", "rule-in",
    ];
    // Side by side: each waits for the missing part.
    let demos = parts.map(|part| std::thread::spawn(move || demo(&["--without", part])));
    for (part, result) in parts.iter().zip(demos) {
        let (succeeded, said) = result.join().unwrap();
        assert!(!succeeded, "{part}: {said}");
        let failure = said.lines().find(|line| line.starts_with("xtask: ")).unwrap();
        assert!(failure.contains(part), "{part}: {failure}");
    }
}
