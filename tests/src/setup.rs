//! How a host is to be, and how its daemons are started then.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use crate::namespace::Namespace;
use crate::{installed, program};

/// How a host is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// The broker's configuration file.
    pub config: &'a str,
    /// The broker's arguments.
    pub arguments: &'a [&'a str],
    /// Where its daemons run; without it, where the test does.
    pub namespace: Option<&'a Namespace>,
    /// Its broker writes decisions down, for [`crate::Host::log`].
    pub logs: bool,
    /// Descriptors that its broker may have; without it, as many as the test.
    pub descriptors: Option<u32>,
}

/// What of a [`Setup`] lasts as long as the host.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// A program and its arguments that start another one in the namespace.
    enter: Vec<OsString>,
    logs: bool,
    descriptors: Option<u32>,
}

impl Surroundings {
    pub(crate) fn of(setup: &Setup<'_>) -> Self {
        let enter = setup.namespace.map(|namespace| words(&namespace.command("")));
        let mut enter = enter.unwrap_or_default();
        enter.pop();
        Self { enter, logs: setup.logs, descriptors: setup.descriptors }
    }

    /// One of the binaries, in the host's namespace.
    pub(crate) fn program(&self, name: &str) -> Command {
        self.command(words(&program(name)))
    }

    /// The broker, which logs into `place`.
    pub(crate) fn broker(&self, place: &Path) -> Command {
        let mut all = words(&program("ipcd"));
        if let Some(most) = self.descriptors {
            let prlimit = installed("prlimit").expect("util-linux").into_os_string();
            all = [vec![prlimit, format!("--nofile={most}:{most}").into()], all].concat();
        }
        let mut command = self.command(all);
        command.args(["--log-level", if self.logs { "info" } else { "warn" }]);
        if self.logs {
            let log = OpenOptions::new().create(true).append(true).open(place.join("log"));
            command.stderr(log.expect("a log"));
        }
        command
    }

    fn command(&self, words: Vec<OsString>) -> Command {
        let all = self.enter.iter().cloned().chain(words);
        let mut all = all.collect::<Vec<_>>().into_iter();
        let mut command = Command::new(all.next().expect("a program"));
        command.args(all);
        command
    }
}

fn words(command: &Command) -> Vec<OsString> {
    let program = command.get_program().to_owned();
    std::iter::once(program).chain(command.get_args().map(ToOwned::to_owned)).collect()
}
