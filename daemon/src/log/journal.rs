//! The journal of systemd, in its own protocol: every fact of an event is a field.
//!
//! One datagram is one entry; a field is `NAME=value` and a newline, or, if the value has one, the
//! name, a newline, the value's length in eight bytes and the value (systemd's
//! `docs/JOURNAL_NATIVE_PROTOCOL.md`). Every field of ours begins with `IPCD_`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Lines;
use crate::event;

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal, as something that takes whole entries.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// The journal, if standard error leads there: then the service manager says so in
    /// `JOURNAL_STREAM` (systemd.exec(5)).
    pub(super) fn of_process() -> Option<Self> {
        let told = std::env::var("JOURNAL_STREAM").ok()?;
        let facts = nix::sys::stat::fstat(io::stderr().as_fd()).ok()?;
        if told != format!("{}:{}", facts.st_dev, facts.st_ino) {
            return None;
        }
        Self::at(Path::new(SOCKET)).ok()
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self(socket))
    }
}

impl Write for Journal {
    /// Sends one entry, whole or not at all.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.0.send(entry)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes events as entries.
#[derive(Debug)]
pub(super) struct Entries(pub(super) Lines);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::new(*event.metadata().level());
        event.record(&mut entry);
        self.0.put(entry.finish());
    }
}

/// The entry that tells how many lines were lost.
pub(super) fn lost(count: u64) -> Vec<u8> {
    let mut entry = Entry::new(Level::WARN);
    entry.fact("event", "log-lost");
    entry.fact("lines", &count.to_string());
    entry.finish()
}

/// An entry while it is put together.
#[derive(Debug)]
struct Entry {
    bytes: Vec<u8>,
    /// What people read.
    message: String,
}

impl Entry {
    fn new(level: Level) -> Self {
        let mut entry = Self { bytes: Vec::with_capacity(1024), message: String::new() };
        // The numbers of syslog(3).
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        entry.field("PRIORITY", priority);
        if let Some(name) = std::env::args_os().next() {
            let name = Path::new(&name).file_name().unwrap_or_default();
            entry.field("SYSLOG_IDENTIFIER", &name.to_string_lossy());
        }
        entry
    }

    /// One fact of an event.
    fn fact(&mut self, name: &str, value: &str) {
        if name == "message" {
            self.say(format_args!(": {value}"));
            return;
        }
        self.field(&format!("IPCD_{}", name.to_uppercase()), value);
        if name != "event" {
            let is_word =
                |character: char| character.is_ascii_alphanumeric() || "._:/-".contains(character);
            if value.chars().all(is_word) {
                self.say(format_args!(" {name}={value}"));
            } else {
                self.say(format_args!(" {name}={value:?}"));
            }
            return;
        }
        self.message.insert_str(0, value);
        if let Some(known) = event::named(value) {
            self.field("MESSAGE_ID", known.id);
            if known.is_decision {
                self.field("IPCD_VERDICT", value);
            }
        }
    }

    fn say(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _written = self.message.write_fmt(text).is_ok();
    }

    fn field(&mut self, name: &str, value: &str) {
        self.bytes.extend(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
            self.bytes.extend(length.to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend(value.as_bytes());
        self.bytes.push(b'\n');
    }

    fn finish(mut self) -> Vec<u8> {
        let message = std::mem::take(&mut self.message);
        self.field("MESSAGE", &message);
        self.bytes
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fact(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fact(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::sync_channel;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The fields of an entry, read as the journal reads them.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| [b'=', b'\n'].contains(byte)).unwrap();
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let is_long = entry[end] == b'\n';
            entry = &entry[end + 1..];
            let length = if is_long {
                let length = u64::from_le_bytes(entry[..8].try_into().unwrap());
                entry = &entry[8..];
                usize::try_from(length).unwrap()
            } else {
                entry.iter().position(|byte| *byte == b'\n').unwrap()
            };
            fields.push((name, String::from_utf8(entry[..length].to_vec()).unwrap()));
            entry = &entry[length + 1..];
        }
        fields
    }

    fn written(event: impl FnOnce()) -> Vec<(String, String)> {
        let (sender, entries) = sync_channel(4);
        let lines = Lines { sender, lost: Arc::new(AtomicU64::new(0)) };
        let subscriber = tracing_subscriber::registry().with(Entries(lines));
        tracing::subscriber::with_default(subscriber, event);
        fields(&entries.recv().unwrap())
    }

    #[test]
    fn every_fact_is_a_field_and_a_decision_has_its_verdict() {
        let absent: Option<u32> = None;
        let service = "db";
        let told = written(|| {
            tracing::info!(event = "denied", service, client_uid = 7_u32, client_pid = absent);
        });
        let told: Vec<(&str, &str)> = told
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| *name != "SYSLOG_IDENTIFIER")
            .collect();
        assert_eq!(
            told,
            [
                ("PRIORITY", "6"),
                ("IPCD_EVENT", "denied"),
                ("MESSAGE_ID", "2d9554c876c66234aec5eca49743bd60"),
                ("IPCD_VERDICT", "denied"),
                ("IPCD_SERVICE", "db"),
                ("IPCD_CLIENT_UID", "7"),
                ("MESSAGE", "denied service=db client_uid=7"),
            ]
        );
    }

    #[test]
    fn no_value_can_begin_a_field_of_its_own() {
        let told = written(|| {
            tracing::error!(event = "reload-refused", problems = "one\nIPCD_VERDICT=allowed\n");
        });
        let of = |wanted: &str| {
            let found = told.iter().filter(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of("IPCD_PROBLEMS"), ["one\nIPCD_VERDICT=allowed\n"]);
        assert!(of("IPCD_VERDICT").is_empty());
        assert_eq!(of("PRIORITY"), ["3"]);
        assert_eq!(of("MESSAGE"), ["reload-refused problems=\"one\\nIPCD_VERDICT=allowed\\n\""]);
    }

    #[test]
    fn entries_arrive_whole_at_a_socket() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        Journal::at(&path).unwrap().write_all(&lost(5)).unwrap();
        let mut entry = vec![0; 4096];
        let length = journal.recv(&mut entry).unwrap();
        let told = fields(&entry[..length]);
        assert!(told.contains(&("IPCD_LINES".to_owned(), "5".to_owned())), "{told:?}");
        assert!(told.contains(&("MESSAGE".to_owned(), "log-lost lines=5".to_owned())));
    }
}
