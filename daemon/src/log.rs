//! The log: entries of the journal if standard error leads there, else structured lines on
//! standard error; written by a thread of their own, so that a
//! reader who does not read never holds a daemon up.
//!
//! What comes from outside is logged as a field with `?`, which escapes control characters.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::budget::Budget;
use self::journal::{Entries, Journal};

mod budget;
mod journal;

/// Lines that wait to be written at most; further ones are counted and left out.
pub const LINES_WAITING_MOST: usize = 1024;

/// How lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogLevel(LevelFilter);

impl FromStr for LogFormat {
    type Err = LogOptionError;

    fn from_str(text: &str) -> Result<Self, LogOptionError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogOptionError("text or json")),
        }
    }
}

impl FromStr for LogLevel {
    type Err = LogOptionError;

    fn from_str(text: &str) -> Result<Self, LogOptionError> {
        let known = ["error", "warn", "info", "debug"].contains(&text);
        let level = text.parse().ok().filter(|_| known);
        level.map(Self).ok_or(LogOptionError("error, warn, info or debug"))
    }
}

/// An option of the log that is not one of those that there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogOptionError(&'static str);

impl fmt::Display for LogOptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is one of {}", self.0)
    }
}

impl std::error::Error for LogOptionError {}

/// Starts the log of this process. To be called once. `format` is of no importance for the
/// journal, which has fields.
///
/// Lines wait until [`Log::write`], or until the daemon ends before.
pub fn start(format: LogFormat, level: LogLevel) -> Log {
    if let Some(journal) = Journal::of_process() {
        let (lines, log) = Lines::new(Sink(Place::Journal(journal)), journal::lost);
        let registry = tracing_subscriber::registry().with(level.0).with(Entries(lines));
        // A second start would be a mistake of ours, and changes nothing.
        let _already_started = registry.try_init().is_err();
        return log;
    }
    let (lines, log) = Lines::new(Sink(Place::Stderr(io::stderr())), lost);
    let builder = tracing_subscriber::fmt()
        .with_max_level(level.0)
        .with_target(false)
        .with_ansi(false)
        .with_writer(lines);
    // A second start would be a mistake of ours, and changes nothing.
    let _already_started = match format {
        LogFormat::Text => builder.try_init().is_err(),
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_err(),
    };
    log
}

/// Lines that wait for the thread that is to write them. Dropping this writes those that are
/// there.
#[derive(Debug)]
#[must_use = "lines are written by `write`"]
pub struct Log<W: Write = Sink> {
    lines: Option<(W, Receiver<Vec<u8>>)>,
    lost: Arc<AtomicU64>,
    /// Writes the line that tells how many were lost.
    lost_line: fn(u64) -> Vec<u8>,
}

/// Where lines go: standard error, or the journal.
#[derive(Debug)]
pub struct Sink(Place);

#[derive(Debug)]
enum Place {
    Stderr(io::Stderr),
    Journal(Journal),
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Place::Stderr(stderr) => stderr.write(line),
            Place::Journal(journal) => journal.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Send + 'static> Log<W> {
    /// Starts the thread that writes lines from now on. To be called after the signals are
    /// blocked.
    ///
    /// # Errors
    ///
    /// The kernel's: no thread can be started.
    pub fn write(mut self) -> io::Result<()> {
        let Some((mut sink, receiver)) = self.lines.take() else { return Ok(()) };
        let (lost, lost_line) = (Arc::clone(&self.lost), self.lost_line);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            while let Ok(line) = receiver.recv() {
                write_line(&mut sink, &line, &lost, lost_line);
            }
        })?;
        Ok(())
    }
}

impl<W: Write> Drop for Log<W> {
    fn drop(&mut self) {
        if let Some((sink, receiver)) = &mut self.lines {
            while let Ok(line) = receiver.try_recv() {
                write_line(&mut *sink, &line, &self.lost, self.lost_line);
            }
        }
    }
}

/// Hands lines to the thread that writes them.
#[derive(Clone, Debug)]
struct Lines {
    sender: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn new<W: Write>(sink: W, lost_line: fn(u64) -> Vec<u8>) -> (Self, Log<W>) {
        let (sender, receiver) = sync_channel(LINES_WAITING_MOST);
        let lost = Arc::new(AtomicU64::new(0));
        let log = Log { lines: Some((sink, receiver)), lost: Arc::clone(&lost), lost_line };
        (Self { sender, lost }, log)
    }

    /// Hands over a line; one that finds no room is lost, and counted.
    fn put(&self, line: Vec<u8>) {
        if self.sender.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn lost(count: u64) -> Vec<u8> {
    format!("WARN event=\"log-lost\" lines={count}\n").into_bytes()
}

fn write_line(mut sink: impl Write, line: &[u8], lost: &AtomicU64, lost_line: fn(u64) -> Vec<u8>) {
    // Nobody is left to be told of a log that cannot be written.
    let _unwritten = sink.write_all(line).is_err();
    let lost = lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let _unwritten = sink.write_all(&lost_line(lost)).is_err();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, bytes: Vec::with_capacity(256) }
    }
}

/// One line while it is put together.
#[derive(Debug)]
struct Line<'a> {
    lines: &'a Lines,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() {
            self.lines.put(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A sink that takes a line only when it is allowed to.
    struct Gate {
        allowed: Receiver<()>,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.written.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_does_not_read_loses_lines_and_is_told_how_many() {
        let (allow, allowed) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let (lines_in, log) = Lines::new(Gate { allowed, written }, lost);
        let write = || lines_in.make_writer().write_all(b"line\n").unwrap();
        write();
        log.write().unwrap();
        // The writer may have taken one line out of the queue already.
        for _ in 0..LINES_WAITING_MOST + 11 {
            write();
        }
        for _ in 0..3 {
            allow.send(()).unwrap();
        }
        assert_eq!(lines.recv().unwrap(), "line\n");
        let told = lines.recv().unwrap() + &lines.recv().unwrap();
        assert!(told.starts_with("WARN event=\"log-lost\" lines="), "{told}");
    }

    #[test]
    fn a_daemon_that_ends_early_writes_what_it_has_to_say() {
        let (written, lines) = mpsc::channel();
        let (allow, allowed) = mpsc::channel();
        allow.send(()).unwrap();
        let (lines_in, log) = Lines::new(Gate { allowed, written }, lost);
        lines_in.make_writer().write_all(b"why\n").unwrap();
        drop(log);
        assert_eq!(lines.try_recv(), Ok("why\n".to_owned()));
    }

    #[test]
    fn options_are_the_ones_that_there_are() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("debug".parse::<LogLevel>().is_ok());
        let said = "loud".parse::<LogLevel>().unwrap_err().to_string();
        assert_eq!(said, "it is one of error, warn, info or debug");
        let said = "xml".parse::<LogFormat>().unwrap_err().to_string();
        assert_eq!(said, "it is one of text or json");
    }
}
