//! README.md does what it says: its commands are run as they stand there.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::cell::RefCell;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ipcd_tests::{Daemon, binaries, outcome, until};
use nix::sys::signal::Signal;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// The commands of the section of that heading, without their comments.
fn commands(section: &str) -> Vec<String> {
    let text = std::fs::read_to_string(README).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = lines.map(|line| line.split(" # ").next().unwrap().trim().to_owned());
    commands.filter(|command| !command.is_empty()).collect()
}

/// A fresh clone of which everything is built, and a home.
struct Clone {
    place: tempfile::TempDir,
    /// Commands that change what the next ones see.
    exports: String,
}

impl Clone {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("target")).unwrap();
        symlink(binaries(), place.path().join("target/release")).unwrap();
        // The tests have built it: that command has nothing to do any more.
        let cargo = place.path().join("bin/cargo");
        std::fs::create_dir(cargo.parent().unwrap()).unwrap();
        std::fs::write(&cargo, "#!/bin/sh\n[ \"$*\" = 'build --release' ]\n").unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { place, exports: String::new() }
    }

    fn bash(&self, command: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(format!("set -e\n{}{command}", self.exports));
        let path = format!("{}:/usr/bin:/bin", self.place.path().join("bin").display());
        bash.env_clear().env("PATH", path).env("HOME", self.place.path());
        bash.current_dir(self.place.path());
        bash
    }
}

/// A daemon that is told to end, and so ends those that it has started.
struct Told(Daemon);

impl Told {
    fn end(&mut self) -> bool {
        self.0.is_running() && {
            self.0.signal(Signal::SIGTERM);
            self.0.0.wait().is_ok_and(|status| status.success())
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn the_commands_that_use_it_work_as_they_stand_there() {
    let mut clone = Clone::new();
    let mut running = Vec::new();
    let mut printed = String::new();
    for command in commands("Use it") {
        if let Some(background) = command.strip_suffix('&') {
            let bash = &mut clone.bash(&format!("exec {background}"));
            running.push(Told(Daemon::start(bash)));
        } else if command.contains("export ") {
            clone.exports.extend([command.as_str(), "\n"]);
        } else {
            let said = RefCell::new(String::new());
            // Who types is slower than what was started before.
            until(&command, || {
                let (code, output, errors) = outcome(&mut clone.bash(&command));
                *said.borrow_mut() = format!("$ {command}\n{output}{errors}");
                code == 0
            });
            printed.push_str(&said.into_inner());
        }
    }
    for expected in ["\nhello\n", "allow out web tcp:example.com:80", "tcp:example.com:80"] {
        assert!(printed.contains(expected), "{expected} is missing:\n{printed}");
    }
    while let Some(mut last) = running.pop() {
        assert!(last.end(), "it ends with success when it is told to");
    }
}

/// `cargo xtask ci` runs both as they stand there.
#[test]
fn the_commands_that_try_it_are_those_that_are_checked() {
    assert_eq!(commands("Try it"), ["cargo xtask demo", "cargo test --workspace"]);
}

#[test]
fn what_it_links_to_is_there() {
    let text = std::fs::read_to_string(README).unwrap();
    let root = Path::new(README).parent().unwrap();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local: Vec<PathBuf> =
        links.filter(|link| !link.contains("://")).map(|link| root.join(link)).collect();
    assert!(local.len() > 5, "{local:?}");
    for link in local {
        assert!(link.exists(), "{}", link.display());
    }
}
