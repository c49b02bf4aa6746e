//! A secret from standard input: the first line of a pipe, or typed twice without being shown.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use daemon::signals::Signals;
use libipc::secret::Secret;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Bytes of the longest secret.
pub(crate) const SECRET_BYTES_MOST: usize = 1024;

/// Why there is no secret.
#[derive(Debug)]
pub(crate) enum PromptError {
    /// The kernel's answer.
    System(io::Error),
    /// A signal came instead.
    Interrupted,
    /// There was nothing.
    Empty,
    /// More than [`SECRET_BYTES_MOST`] bytes.
    TooLong,
    /// It is no UTF-8, or has control characters.
    Characters,
    /// What was typed the second time is not what was typed the first.
    Different,
}

/// Reads a secret for `user`.
///
/// # Errors
///
/// [`PromptError`].
pub(crate) fn read_secret(user: &str) -> Result<Secret, PromptError> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_line(input.as_fd(), None);
    }
    let signals = Signals::new().map_err(PromptError::System)?;
    let _hidden = Hidden::begin(input.as_fd()).map_err(PromptError::System)?;
    let first = ask(&format!("Secret for {user}: "), input.as_fd(), &signals)?;
    let second = ask("Once more: ", input.as_fd(), &signals)?;
    if second.is(first.expose()) { Ok(first) } else { Err(PromptError::Different) }
}

fn ask(question: &str, input: BorrowedFd<'_>, signals: &Signals) -> Result<Secret, PromptError> {
    let mut screen = io::stderr();
    // Whoever does not see the question may still know it.
    let _unseen = screen.write_all(question.as_bytes()).is_err();
    let secret = read_line(input, Some(signals));
    let _unseen = screen.write_all(b"\n").is_err();
    secret
}

fn read_line(input: BorrowedFd<'_>, signals: Option<&Signals>) -> Result<Secret, PromptError> {
    // Room for all of it at once: what grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MOST + 2));
    loop {
        let mut byte = Zeroizing::new([0]);
        if let Some(signals) = signals {
            wait(input, signals)?;
        }
        match nix::unistd::read(input, &mut *byte) {
            Ok(0) => break,
            Ok(_) if *byte == *b"\n" => break,
            Ok(_) if line.len() > SECRET_BYTES_MOST => return Err(PromptError::TooLong),
            Ok(_) => line.extend_from_slice(&*byte),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(PromptError::System(error.into())),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    judge(line)
}

fn judge(mut line: Zeroizing<Vec<u8>>) -> Result<Secret, PromptError> {
    match String::from_utf8(std::mem::take(&mut *line)) {
        Ok(text) => {
            let secret = Secret::new(text);
            match secret.expose() {
                "" => Err(PromptError::Empty),
                text if text.len() > SECRET_BYTES_MOST => Err(PromptError::TooLong),
                text if text.chars().any(char::is_control) => Err(PromptError::Characters),
                _ => Ok(secret),
            }
        }
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(PromptError::Characters)
        }
    }
}

fn wait(input: BorrowedFd<'_>, signals: &Signals) -> Result<(), PromptError> {
    let mut waited =
        [PollFd::new(input, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut waited, PollTimeout::NONE) {
            Ok(_) => break,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(PromptError::System(error.into())),
        }
    }
    let [_, signal] = &waited;
    if signal.any() == Some(true) { Err(PromptError::Interrupted) } else { Ok(()) }
}

/// A terminal that does not show what is typed, until this is dropped. What was typed and not read
/// by then is forgotten: nobody else is to get it.
struct Hidden<'t> {
    terminal: BorrowedFd<'t>,
    before: Termios,
}

impl<'t> Hidden<'t> {
    fn begin(terminal: BorrowedFd<'t>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _gone = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before).is_err();
    }
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "the secret cannot be read: {error}"),
            Self::Interrupted => f.write_str("interrupted; nothing was changed"),
            Self::Empty => {
                f.write_str("there is no secret: write it to standard input, as one line")
            }
            Self::TooLong => write!(f, "a secret has {SECRET_BYTES_MOST} bytes at most"),
            Self::Characters => f.write_str("a secret is UTF-8 without control characters"),
            Self::Different => f.write_str("the two are not the same; nothing was changed"),
        }
    }
}

impl std::error::Error for PromptError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(bytes).unwrap();
        drop(writer);
        let secret = read_line(reader.as_fd(), None);
        secret.map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_is_the_first_line_of_a_pipe() {
        for (bytes, secret) in [
            (&b"s3cret\n"[..], "s3cret"),
            (b"s3cret", "s3cret"),
            (b"s3cret\r\nmore", "s3cret"),
            (b" with blanks \n", " with blanks "),
            ("\u{e9}\n".as_bytes(), "\u{e9}"),
        ] {
            assert_eq!(read(bytes).as_deref(), Ok(secret));
        }
        assert!(read(b"").unwrap_err().contains("there is no secret"));
        assert!(read(b"\nx").unwrap_err().contains("there is no secret"));
        assert!(read(b"\xff\n").unwrap_err().contains("is UTF-8"));
        assert!(read(b"a\tb\n").unwrap_err().contains("without control"));
        assert_eq!(read(&[b'x'; SECRET_BYTES_MOST]).unwrap().len(), SECRET_BYTES_MOST);
        assert!(read(&[b'x'; SECRET_BYTES_MOST + 1]).unwrap_err().contains("1024 bytes at most"));
    }
}
