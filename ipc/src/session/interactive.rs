//! `ipc connect --interactive`: each line is a message, and what comes is printed.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use libipc::session::{ClientOptions, Session, SessionError};
use libipc::{Channel, ConnectionError, Patience};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::shown::{self, Shown};
use super::{FAREWELL, Where, builtin_and, failed};
use crate::format::Format;
use crate::report::{self, Report};

/// Bytes of one line at most.
const LINE_MOST: usize = 1 << 20;

/// Sends each line of standard input on `channel`, and prints what comes. At the end of the input
/// what was sent is still answered, then the session ends.
pub(crate) fn run(
    at: &Where,
    channel: Channel,
    timeout: Duration,
    format: Format,
) -> Result<ExitCode, Report> {
    let options = ClientOptions { timeout, ..ClientOptions::new(&builtin_and(&[channel])) };
    let mut session = at.session(&options)?;
    report::print(shown::heading(format))?;
    let name = &at.address;
    let (mut lines, mut is_open) = (Lines::default(), true);
    while is_open {
        if !print_all(&mut session, format).map_err(|error| failed(name, &error))? {
            return Ok(ExitCode::SUCCESS);
        }
        if !wait(&session).map_err(|error| Report::system(name, error))? {
            continue;
        }
        is_open = lines.read().map_err(|error| Report::system("standard input", error))?;
        while let Some(line) = lines.take(is_open) {
            session.send(channel, &line).map_err(|error| failed(name, &error))?;
        }
    }
    // What comes before the peer agrees to the end are the answers that are left.
    let _agreed = session.shut_down(None, Patience::within(FAREWELL)).is_ok();
    print_all(&mut session, format).map_err(|error| failed(name, &error))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what has come; false once nothing more will, or nobody reads it.
fn print_all(session: &mut Session, format: Format) -> Result<bool, SessionError> {
    let peer = session.negotiated().map(|agreed| agreed.peer_id.clone()).unwrap_or_default();
    loop {
        match session.receive_within(Patience::Never) {
            Ok(message) => {
                let (channel, payload) = (message.channel, &message.payload);
                if (Shown { channel, payload, peer: &peer }).print(format).is_err() {
                    return Ok(false);
                }
            }
            Err(error) if error.is_timeout() => return Ok(true),
            Err(
                SessionError::ShutDown { .. } | SessionError::Connection(ConnectionError::Ended),
            ) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Waits for either end; whether there is something to read on standard input.
fn wait(session: &Session) -> io::Result<bool> {
    let input = io::stdin();
    let mut sources = [
        PollFd::new(session.as_fd(), PollFlags::POLLIN),
        PollFd::new(input.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut sources, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [_, input] = sources;
    Ok(input.any().unwrap_or(false))
}

/// Lines of standard input, of which no part is kept by anybody else while we wait.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// Reads what is there; false at the end.
    fn read(&mut self) -> io::Result<bool> {
        let mut part = vec![0; 64 << 10];
        let count = match nix::unistd::read(io::stdin(), &mut part) {
            Ok(count) => count,
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        self.bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// The next line without its end; the last one may have none.
    fn take(&mut self, more_may_come: bool) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        match end {
            Some(end) => {
                let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
                line.pop();
                Some(line)
            }
            None if self.bytes.is_empty() => None,
            None if more_may_come && self.bytes.len() < LINE_MOST => None,
            None => Some(std::mem::take(&mut self.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_when_it_is_whole_or_the_last() {
        let mut lines = Lines { bytes: b"one\n\ntwo".to_vec() };
        assert_eq!(lines.take(true).unwrap(), b"one");
        assert_eq!(lines.take(true).unwrap(), b"");
        assert_eq!(lines.take(true), None);
        assert_eq!(lines.take(false).unwrap(), b"two");
        assert_eq!(lines.take(false), None);
        lines.bytes = vec![b'x'; LINE_MOST];
        assert_eq!(lines.take(true).unwrap().len(), LINE_MOST);
    }
}
