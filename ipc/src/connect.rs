//! `ipc connect`: a service on standard input and output, on a program's, or for the parent.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use libipc::broker::Connector;
use libipc::{ServiceName, Stream};
use sys::ancillary::{self, Wait};

use crate::args::{self, Connect};
use crate::report::Report;

pub(crate) fn run(connect: &Connect) -> Result<ExitCode, Report> {
    let stream = open(connect)?;
    if connect.fdpass {
        return hand_to_parent(&connect.name, stream);
    }
    match connect.program.split_first() {
        Some((program, arguments)) => Err(become_program(program, arguments, stream)),
        None => relay(&connect.name, &stream),
    }
}

fn open(connect: &Connect) -> Result<Stream, Report> {
    let name = ServiceName::new(&connect.name)
        .map_err(|error| Report::usage(&connect.name, &error.to_string()))?;
    let mut environment = connect.place.environment();
    if let Some(text) = &connect.network {
        environment.network = Some(args::network(text)?);
    }
    let report = |error| Report::of(&connect.name, &error);
    let connector = Connector::new(&environment, connect.place.timeout()?).map_err(report)?;
    connector.connect(&name).map_err(report)
}

/// As OpenSSH expects it: one byte with the descriptor riding on it, over standard output.
fn hand_to_parent(name: &str, stream: Stream) -> Result<ExitCode, Report> {
    let stream = OwnedFd::from(stream);
    ancillary::send(io::stdout().as_fd(), b"\0", &[stream.as_fd()], Wait::Block).map_err(
        |error| {
            Report::usage(name, &format!("standard output takes no connection: {error}"))
                .with("to do", "--fdpass is for ssh -o ProxyUseFdpass=yes")
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes the program, with the connection as its standard input and output.
fn become_program(
    program: &std::ffi::OsStr,
    arguments: &[std::ffi::OsString],
    stream: Stream,
) -> Report {
    let name = program.to_string_lossy();
    let input = OwnedFd::from(stream);
    let output = match input.try_clone() {
        Ok(output) => output,
        Err(error) => return Report::new(71, &name, error),
    };
    let error = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .exec();
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Report::new(code, &name, error)
}

/// Both directions at once; the end of standard input ends one direction, the end of the service's
/// words ends the command.
fn relay(name: &str, stream: &Stream) -> Result<ExitCode, Report> {
    let failed = |error: io::Error| Report::new(3, name, format!("the connection broke: {error}"));
    let outgoing = stream.try_clone().map_err(failed)?;
    // Not joined: when the service has ended, nobody waits for what is still typed.
    thread::spawn(move || {
        let _broken = pour(&mut io::stdin().lock(), &mut &outgoing).is_err();
        let _gone = outgoing.shutdown(Shutdown::Write).is_err();
    });
    pour(&mut &*stream, &mut io::stdout().lock()).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn pour(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..count).unwrap_or_default())?;
        to.flush()?;
    }
}
