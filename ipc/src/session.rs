//! Commands that speak in messages with a service: at a path, under an abstract name, or by name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libipc::environment::Environment;
use libipc::rundir::RunDirectory;
use libipc::session::{ClientOptions, Session, SessionError};
use libipc::{Address, Channel, ConnectionError, Listener, Patience, Stream};

use crate::connect;
use crate::connect::Connect;
use crate::report::Report;

pub(crate) mod bench;
pub(crate) mod echo;
pub(crate) mod info;
pub(crate) mod interactive;
pub(crate) mod listen;
mod peers;
pub(crate) mod ping;
pub(crate) mod send;
mod shown;
mod spans;

/// The service that a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Where {
    /// A service, a path (with a `/`), or an abstract name (with an `@`)
    #[arg(value_name = "SERVICE|PATH")]
    pub(crate) address: String,
    /// The run directory, instead of `IPC_RUNDIR` and the default ones
    #[arg(long, value_name = "DIR")]
    pub(crate) rundir: Option<PathBuf>,
}

impl Where {
    fn parse(&self) -> Result<Address, Report> {
        self.address.parse().map_err(|error| {
            Report::new(64, &self.address.escape_debug().to_string(), "no service name", error)
                .cure("to do", "write another name, or a path with a / in it")
        })
    }

    /// Connects to it, within `timeout`.
    fn connect(&self, timeout: Duration) -> Result<Stream, Report> {
        match self.parse()? {
            Address::Name(name) => {
                connect::open(&Connect::of_service(&name, self.rundir.clone(), timeout))
                    .map_err(|report| self.with_path(report))
            }
            address => address
                .connect(Instant::now() + timeout)
                .map_err(|error| not_connected(&self.address, &error)),
        }
    }

    /// Whoever has named a file in his directory may have meant that.
    fn with_path(&self, report: Report) -> Report {
        if Path::new(&self.address).exists() {
            report.fact("for the file here", format!("./{}", self.address))
        } else {
            report
        }
    }

    /// Connects, and agrees on channels.
    fn session(&self, options: &ClientOptions) -> Result<Session, Report> {
        let stream = self.connect(options.timeout)?;
        Session::connect(stream, options).map_err(|error| failed(&self.address, &error))
    }

    /// Offers it.
    fn listen(&self) -> Result<Listener, Report> {
        let listener = match (self.parse()?, &self.rundir) {
            (Address::Name(name), Some(rundir)) => {
                let directory = RunDirectory::named(rundir, &Environment::of_process());
                Listener::bind_in(&directory, &name)
            }
            (address, _) => address.listen(),
        };
        listener.map_err(|error| {
            crate::failure::not_offered(&self.address, &crate::asker::text(), &error)
        })
    }
}

/// Why a socket that was named itself did not take the connection.
fn not_connected(name: &str, error: &libipc::ConnectError) -> Report {
    let libipc::ConnectError::Socket { error: kernel, .. } = error else {
        return crate::failure::of(name, &crate::asker::text(), error);
    };
    match kernel.kind() {
        std::io::ErrorKind::ConnectionRefused => Report::new(1, name, "refused", kernel)
            .cure("to do", "start the service; its socket is there, and nobody answers on it")
            .retry(true),
        std::io::ErrorKind::PermissionDenied => Report::new(50, name, "not permitted", kernel)
            .cure("to do", "ask whoever owns the socket"),
        std::io::ErrorKind::TimedOut => timed_out(name),
        std::io::ErrorKind::NotFound => {
            Report::new(3, name, "cannot connect", "there is no such socket")
                .cure("to do", "start the service, or correct the path")
                .retry(true)
        }
        _ => Report::new(3, name, "cannot connect", kernel).cure("to do", "correct the path"),
    }
}

fn timed_out(name: &str) -> Report {
    Report::new(124, name, "timed out", "no answer")
        .cure("to do", "wait longer: --timeout or --wait-timeout")
        .retry(true)
}

/// Why a session did not begin, or broke.
fn failed(name: &str, error: &SessionError) -> Report {
    match error {
        error if error.is_timeout() => timed_out(name),
        SessionError::Silent { .. } => timed_out(name),
        SessionError::Refused { reason } => {
            Report::new(1, name, "refused", reason).cure("to do", "ask whoever runs the service")
        }
        SessionError::Connection(ConnectionError::Ended | ConnectionError::Truncated)
        | SessionError::ShutDown { .. }
        | SessionError::Forced { .. } => Report::new(1, name, "the connection ended", error)
            .cure("to do", "the service's log may say why")
            .retry(true),
        SessionError::Channel { .. } => Report::new(64, name, "invalid request", error)
            .cure("to do", "name a channel that the service has: ipc info"),
        error => Report::new(3, name, "protocol error", error)
            .cure("to do", "make sure that the service speaks in such messages"),
    }
}

/// `5s`, `500ms`, or a number of seconds.
pub(crate) fn span(text: &str) -> Result<Duration, NoSpan> {
    let number = |digits: &str| {
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_plain && *number > 0).ok_or(NoSpan)
    };
    match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => number(digits).map(Duration::from_millis),
        (None, Some(digits)) => number(digits).map(Duration::from_secs),
        (None, None) => number(text).map(Duration::from_secs),
    }
}

/// Not a span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NoSpan;

impl std::fmt::Display for NoSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("write a number of seconds, as 5s, 500ms or 5; more than none")
    }
}

impl std::error::Error for NoSpan {}

/// Why a text of the command line is no channel.
#[derive(Debug)]
pub(crate) enum ChannelError {
    Number(std::num::ParseIntError),
    Control,
    Reserved,
}

impl std::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(error) => write!(f, "{error}"),
            Self::Control => f.write_str("channel 0 is not for the content of messages"),
            Self::Reserved => f.write_str("5 to 255 are reserved; an application's begin at 256"),
        }
    }
}

impl std::error::Error for ChannelError {}

/// A channel of the command line.
pub(crate) fn channel(text: &str) -> Result<Channel, ChannelError> {
    match text.parse().map(Channel).map_err(ChannelError::Number)? {
        Channel::CONTROL => Err(ChannelError::Control),
        channel if channel.is_reserved() => Err(ChannelError::Reserved),
        channel => Ok(channel),
    }
}

/// The channels that every service of these commands has.
const BUILTIN: [Channel; 4] = [Channel::COMMAND, Channel::DATA, Channel::TELEMETRY, Channel::ERROR];

/// Those, and others that are named.
fn builtin_and(more: &[Channel]) -> Vec<Channel> {
    BUILTIN.iter().chain(more).copied().collect()
}

/// Ends a session as far as the peer goes along.
fn leave(mut session: Session) -> ExitCode {
    // It has done what it was for; a peer that does not agree to the end has it all the same.
    let _agreed = session.shut_down(None, Patience::within(FAREWELL)).is_ok();
    ExitCode::SUCCESS
}

/// How long the peer has to agree to the end.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, milliseconds) in [("5s", 5_000), ("500ms", 500), ("5", 5_000)] {
            assert_eq!(span(text), Ok(Duration::from_millis(milliseconds)));
        }
        for wrong in ["", "0", "0s", "0ms", "5m", "1.5s", "-1", "+1", "s", "ms", "5 s"] {
            assert_eq!(span(wrong), Err(NoSpan), "{wrong}");
        }
    }
}
