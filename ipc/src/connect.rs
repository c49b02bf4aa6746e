//! `ipc connect`: a service on standard input and output, on a program's, or for the parent.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::interface::broker::{BrokerError, RESOLVE, Resolve, Resolved};
use libipc::secret::Secret;
use libipc::{ConnectError, ServiceName, Stream, network};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::ancillary::{self, Wait};

use crate::args;
use crate::format::Format;
use crate::place::Place;
use crate::report::Report;
use crate::session::{Where, interactive};
use crate::{asker, control, failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// The service
    pub(crate) name: String,
    /// Wait for a service that is not there yet
    #[arg(long)]
    pub(crate) wait: bool,
    /// Hand the connection to the parent process, as `ProxyUseFdpass` of OpenSSH wants it
    #[arg(long, conflicts_with = "program")]
    pub(crate) fdpass: bool,
    /// Send each line as a message, and print the messages that come
    #[arg(long, conflicts_with_all = ["fdpass", "program", "network"])]
    pub(crate) interactive: bool,
    /// The channel of these messages
    #[arg(short, long, value_name = "N", default_value = "1", requires = "interactive",
          value_parser = crate::session::channel)]
    pub(crate) channel: libipc::Channel,
    /// Entries instead of those of `IPC_NETWORK`; no secrets here
    #[arg(long, value_name = "TEXT")]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// A program that gets the connection as standard input and output
    #[arg(last = true, value_name = "PROG")]
    pub(crate) program: Vec<OsString>,
}

impl Connect {
    /// For another command, which wants the stream alone.
    pub(crate) fn of_service(
        name: &ServiceName,
        rundir: Option<PathBuf>,
        timeout: Duration,
    ) -> Self {
        Self {
            name: name.to_string(),
            wait: false,
            fdpass: false,
            interactive: false,
            channel: libipc::Channel::COMMAND,
            network: None,
            place: Place::new(rundir, timeout),
            program: Vec::new(),
        }
    }
}

pub(crate) fn run(connect: Connect, format: Format) -> Result<ExitCode, Report> {
    if connect.interactive {
        let timeout = connect.place.timeout()?;
        let at = Where { address: connect.name, rundir: connect.place.rundir };
        return interactive::run(&at, connect.channel, timeout, format);
    }
    let stream = open(&connect)?;
    if connect.fdpass {
        return hand_to_parent(&connect.name, stream);
    }
    match connect.program.split_first() {
        Some((program, arguments)) => Err(become_program(program, arguments, stream)),
        None => relay(&connect.name, &stream),
    }
}

pub(crate) fn open(connect: &Connect) -> Result<Stream, Report> {
    let name = args::service(&connect.name)?;
    let mut environment = connect.place.environment();
    if let Some(text) = &connect.network {
        environment.network = Some(args::network("--network", text)?);
    }
    let report = |error| failure::of(&connect.name, &asker::text(), &error);
    let connector = Connector::new(&environment, connect.place.timeout()?).map_err(report)?;
    let connector = if connect.wait { connector.wait_for_service() } else { connector };
    connector.connect(&name).map_err(|error| {
        let way = way(connect, &name, &environment, &error).unwrap_or_default();
        failure::of_way(&connect.name, &asker::text(), &error, &way)
    })
}

/// Which line led to what was denied, for people; nothing, where the broker does not say.
fn way(
    connect: &Connect,
    name: &ServiceName,
    environment: &Environment,
    error: &ConnectError,
) -> Option<String> {
    let ConnectError::Broker(error) = error else { return None };
    let BrokerError::Denied { target, .. } = &**error else { return None };
    let text = environment.network_text().ok()?;
    let network = network::entries_for(name, text.as_ref().map_or("", Secret::expose)).ok()?;
    let question = Resolve { service: name.to_string(), network, subject: None, from: None };
    let answer: Resolved = control::ask(&connect.place, &connect.name, RESOLVE, &question).ok()?;
    let denied = answer.candidates.iter().find(|candidate| candidate.target == *target)?;
    let hop = denied.hops.last()?;
    let kind = if hop.source == IPC_NETWORK { "" } else { "redirect, " };
    Some(format!("   ({kind}{})", hop.source))
}

/// How the broker calls the client's own wishes.
const IPC_NETWORK: &str = "IPC_NETWORK";

/// As OpenSSH expects it: one byte with the descriptor riding on it, over standard output.
fn hand_to_parent(name: &str, stream: Stream) -> Result<ExitCode, Report> {
    let stream = OwnedFd::from(stream);
    ancillary::send(io::stdout().as_fd(), b"\0", &[stream.as_fd()], Wait::Block).map_err(
        |error| {
            Report::usage(name, format!("standard output takes no connection: {error}"))
                .cure("to do", "use --fdpass where a program expects it: ssh -o ProxyUseFdpass=yes")
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes the program, with the connection as its standard input and output.
fn become_program(program: &OsStr, arguments: &[OsString], stream: Stream) -> Report {
    let name = program.to_string_lossy();
    let input = OwnedFd::from(stream);
    let output = match input.try_clone() {
        Ok(output) => output,
        Err(error) => return Report::system(&name, error),
    };
    let error = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .exec();
    not_started(&name, &error)
}

/// A program that cannot be started, with the exit codes of shells.
pub(crate) fn not_started(program: &str, error: &io::Error) -> Report {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Report::new(code, program, "cannot be started", error)
        .cure("to do", "name a program that is there and may be executed")
}

/// Both directions at once. The end of standard input ends one of them, the end of what the
/// service says ends the command.
pub(crate) fn relay(name: &str, stream: &Stream) -> Result<ExitCode, Report> {
    // When the service has ended, nobody waits for what is still typed.
    let _sending = send_input(name, stream)?;
    receive_output(name, stream)
}

/// As [`relay`], between equals: what this side has still to say when the other has ended is said,
/// unless nobody is there any more.
pub(crate) fn relay_both(name: &str, stream: &Stream) -> Result<ExitCode, Report> {
    let sending = send_input(name, stream)?;
    let code = receive_output(name, stream)?;
    let mut both = [
        PollFd::new(sending.as_fd(), PollFlags::POLLIN),
        PollFd::new(stream.as_fd(), PollFlags::empty()),
    ];
    while let Err(nix::Error::EINTR) = poll(&mut both, PollTimeout::NONE) {}
    Ok(code)
}

/// Sends standard input from a thread. What is returned ends when that is done.
fn send_input(name: &str, stream: &Stream) -> Result<Stream, Report> {
    let system = |error| Report::system(name, error);
    let outgoing = stream.try_clone().map_err(system)?;
    let (done, alive) = Stream::pair().map_err(system)?;
    let send = move || {
        let _broken = pour(&mut io::stdin().lock(), &mut &outgoing).is_err();
        let _gone = outgoing.shutdown(Shutdown::Write).is_err();
        drop(alive);
    };
    thread::Builder::new().spawn(send).map_err(system)?;
    Ok(done)
}

/// Writes what comes to standard output.
fn receive_output(name: &str, stream: &Stream) -> Result<ExitCode, Report> {
    match pour(&mut &*stream, &mut io::stdout().lock()) {
        // A reader that wants no more, as `head` does, is its own concern.
        Ok(()) | Err(Poured::Unwritten(io::ErrorKind::BrokenPipe, _)) => Ok(ExitCode::SUCCESS),
        Err(Poured::Unwritten(_, error)) => Err(Report::system("standard output", error)),
        Err(Poured::Unread(error)) => Err(Report::new(3, name, "the connection broke", error)
            .cure("to do", "try again; what has come so far may be cut short")
            .retry(true)),
    }
}

/// Which end broke.
pub(crate) enum Poured {
    Unread(io::Error),
    Unwritten(io::ErrorKind, io::Error),
}

/// Writes what comes from `from` to `to`, until it ends or one of them breaks.
pub(crate) fn pour(from: &mut dyn Read, to: &mut dyn Write) -> Result<(), Poured> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Poured::Unread(error)),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        to.write_all(piece)
            .and_then(|()| to.flush())
            .map_err(|error| Poured::Unwritten(error.kind(), error))?;
    }
}
