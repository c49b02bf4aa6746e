//! Hosts with an authd, and its users.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Daemon, Host, PATIENCE, outcome, program};

impl Host {
    /// With an authd that knows these users, each with a secret and groups.
    #[must_use]
    pub fn with_authd(mut self, users: &[(&str, &str, &[&str])]) -> Self {
        for (user, secret, groups) in users {
            let groups = groups.iter().flat_map(|group| ["--group", *group]);
            let words: Vec<_> = ["add", *user].into_iter().chain(groups).collect();
            assert_eq!(self.authd_told(&words, secret), (0, String::new(), String::new()));
        }
        let authd = self.start_authd();
        self.others.push(authd);
        self
    }

    /// Starts an authd with the host's users, and waits until it serves.
    #[must_use]
    pub fn start_authd(&self) -> Daemon {
        let mut command = self.authd();
        command.arg("--rundir").arg(self.rundir()).args(["--log-level", "debug"]);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.place("authd.log"));
        command.stderr(log.expect("a log"));
        let authd = Daemon::start(&mut command);
        let asked = libipc::connector::Connector::new(&self.environment(""), PATIENCE);
        let asked = asked.expect("an environment").wait_for_service();
        let name = libipc::ServiceName::new("authd").expect("a name");
        let _first = asked.connect(&name).expect("authd registers");
        authd
    }

    /// What authd has written down so far.
    #[must_use]
    pub fn authd_log(&self) -> String {
        fs::read_to_string(self.place("authd.log")).expect("authd has been started")
    }

    /// The file of its users.
    #[must_use]
    pub fn users(&self) -> PathBuf {
        self.place("users").join("passwords")
    }

    /// Runs a command of authd on the host's users, with this line on standard input.
    #[must_use]
    pub fn authd_told(&self, words: &[&str], line: &str) -> (i32, String, String) {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(line.as_bytes()).expect("room for a line");
        drop(writer);
        outcome(self.authd().args(words).stdin(Stdio::from(reader)))
    }

    /// authd with the host's users and no configuration.
    #[must_use]
    pub fn authd(&self) -> Command {
        let place = self.place("users");
        if !place.exists() {
            fs::DirBuilder::new().mode(0o700).create(&place).expect("a directory");
        }
        let empty = self.place("authd.toml");
        fs::write(&empty, "").expect("a configuration");
        fs::set_permissions(&empty, fs::Permissions::from_mode(0o600)).expect("its mode");
        let mut command = program("authd");
        command.arg("--passwords").arg(self.users()).arg("--config").arg(empty);
        command
    }
}
