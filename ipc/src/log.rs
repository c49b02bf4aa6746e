//! What a command tells on standard error while it runs, in the forms of ipcprims.

use std::io::Write;

use libipc::Channel;
use serde_json::json;

/// A line on standard error of a command that goes on, whether anybody reads it or not.
pub(crate) fn tell(line: &dyn std::fmt::Display) {
    // `eprintln!` would end the service with whoever has read what it says.
    let _unread = writeln!(std::io::stderr(), "{line}").is_err();
}

/// Lines on standard error that a peer can cause, at most ten a second: more say nothing new.
#[derive(Debug, Default)]
pub(crate) struct Complaints(std::sync::Mutex<Option<(std::time::Instant, u32)>>);

const COMPLAINTS_MOST: u32 = 10;

impl Complaints {
    /// Says what is wrong with a peer.
    pub(crate) fn say(&self, peer: &str, error: &dyn std::fmt::Display) {
        if self.may(std::time::Instant::now()) {
            tell(&format_args!("ipc: {peer}: {error}"));
        }
    }

    fn may(&self, now: std::time::Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (since, count) = state.get_or_insert((now, 0));
        if now.saturating_duration_since(*since).as_secs() >= 1 {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= COMPLAINTS_MOST
    }
}

/// How much is told, and in which form.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Logging {
    /// How the log on standard error looks
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// How much is logged
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    log_level: Level,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// A line of JSON
    Json,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A log on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log(Logging);

impl Log {
    pub(crate) fn new(logging: Logging) -> Self {
        Self(logging)
    }

    /// A message goes back where it came from.
    pub(crate) fn echoing(self, channel: Channel, size: usize) {
        if self.0.log_level < Level::Info {
            return;
        }
        let line = match self.0.log_format {
            LogFormat::Text => format!(
                "INFO echoing frame channel={} channel_name={} size={size}\n",
                channel.0,
                channel.name()
            ),
            LogFormat::Json => {
                let fields = json!({
                    "message": "echoing frame", "channel": channel,
                    "channel_name": channel.name(), "size": size,
                });
                let stamp = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs_f64();
                format!("{}\n", json!({ "timestamp": stamp, "level": "INFO", "fields": fields }))
            }
        };
        // A log that nobody reads is no reason to stop.
        let _unread = std::io::stderr().write_all(line.as_bytes()).is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn ten_lines_a_second_are_enough() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!((0..1_000).filter(|_| complaints.may(now)).count(), 10);
        assert!(complaints.may(now + Duration::from_secs(1)));
    }
}
