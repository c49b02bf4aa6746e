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
    /// Listening sockets that its broker inherits: the name of each, and its file in
    /// [`crate::Host::place`].
    pub sockets: &'a [(&'a str, &'a str)],
    /// Descriptors that its broker may have; without it, as many as the test.
    pub descriptors: Option<u32>,
}

/// What of a [`Setup`] lasts as long as the host.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// A program and its arguments that start another one in the namespace.
    enter: Vec<OsString>,
    logs: bool,
    sockets: Vec<(String, String)>,
    descriptors: Option<u32>,
}

/// Makes listening sockets as a service manager does, and goes on as a program that inherits them.
/// Arguments: `NAME=PATH`…, `--`, the program.
const INHERITING: &str = "
import fcntl, os, socket, sys
cut = sys.argv.index('--')
listening = []
for name, path in (one.split('=', 1) for one in sys.argv[1:cut]):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    one = socket.socket(socket.AF_UNIX)
    if not name.startswith('front.'):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    one.bind(path)
    os.chmod(path, 0o666)
    one.listen(128)
    listening.append((name, fcntl.fcntl(one, fcntl.F_DUPFD, 100)))
for number, (name, one) in enumerate(listening):
    os.dup2(one, 3 + number)
    os.close(one)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(listening)),
                  LISTEN_FDNAMES=':'.join(name for name, _ in listening))
os.execvp(sys.argv[cut + 1], sys.argv[cut + 1:])
";

impl Surroundings {
    pub(crate) fn of(setup: &Setup<'_>) -> Self {
        let enter = setup.namespace.map(|namespace| words(&namespace.command("")));
        let mut enter = enter.unwrap_or_default();
        enter.pop();
        let owned = |(name, file): &(&str, &str)| ((*name).to_owned(), (*file).to_owned());
        let sockets = setup.sockets.iter().map(owned).collect();
        Self { enter, logs: setup.logs, sockets, descriptors: setup.descriptors }
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
        if !self.sockets.is_empty() {
            let python = installed("python3").expect("python3").into_os_string();
            let mut before = vec![python, "-c".into(), INHERITING.into()];
            let file = |(name, file): &(String, String)| {
                format!("{name}={}", place.join(file).display()).into()
            };
            before.extend(self.sockets.iter().map(file));
            before.push("--".into());
            all = [before, all].concat();
        }
        let mut command = self.command(all);
        command.args(["--log-level", if self.logs { "info" } else { "warn" }]);
        if self.logs {
            let log = OpenOptions::new().create(true).append(true).open(place.join("log"));
            command.stderr(log.expect("a log"));
        }
        command
    }

    /// One of the other daemons; where the host logs, it writes down all that it has to say.
    pub(crate) fn daemon(&self, name: &str, place: &Path) -> Command {
        let mut command = self.program(name);
        if self.logs {
            let log = OpenOptions::new().create(true).append(true).open(place.join("daemons.log"));
            command.args(["--log-level", "debug"]).stderr(log.expect("a log"));
        } else {
            command.args(["--log-level", "warn"]);
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
