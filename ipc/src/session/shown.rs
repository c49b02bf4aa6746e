//! Messages as they are printed: the forms of ipcprims.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use libipc::Channel;
use serde::Serialize;

use crate::format::Format;

const SCHEMA: &str = "https://schemas.3leaps.dev/ipcprims/cli/v1/frame-received.schema.json";

/// One message, from one peer.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) channel: Channel,
    pub(super) payload: &'a [u8],
    pub(super) peer: &'a str,
}

#[derive(Serialize)]
struct Json<'a> {
    schema_id: &'static str,
    channel: Channel,
    channel_name: &'static str,
    payload_size: usize,
    payload: String,
    peer_id: &'a str,
    timestamp: String,
}

impl Shown<'_> {
    /// Prints it in one call, so that lines of several peers do not mix.
    pub(super) fn print(&self, format: Format) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match format {
            Format::Raw => out.write_all(self.payload)?,
            format => out.write_all(self.line(format)?.as_bytes())?,
        }
        out.flush()
    }

    fn line(&self, format: Format) -> io::Result<String> {
        let (channel, size) = (self.channel, self.payload.len());
        let mut line = match format {
            Format::Json => serde_json::to_string(&Json {
                schema_id: SCHEMA,
                channel,
                channel_name: channel.name(),
                payload_size: size,
                payload: self.text(),
                peer_id: self.peer,
                timestamp: now(),
            })?,
            Format::Pretty => format!(
                "channel={} ({}) size={size} peer={} payload={}",
                channel.0,
                channel.name(),
                escaped(self.peer),
                escaped(&self.text())
            ),
            Format::Table | Format::Raw => format!(
                "{:18} {size:>8}  {:12} {}",
                channel.to_string(),
                escaped(self.peer),
                escaped(&self.text())
            ),
        };
        line.push('\n');
        Ok(line)
    }

    fn text(&self) -> String {
        match std::str::from_utf8(self.payload) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("<binary {} bytes>", self.payload.len()),
        }
    }
}

/// The line above a table of messages.
pub(super) fn heading(format: Format) -> &'static str {
    match format {
        Format::Table => "CHANNEL                SIZE  PEER         PAYLOAD\n",
        _ => "",
    }
}

/// Text of the other side, without what a terminal would obey.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            // Writing to a String cannot fail.
            let _written = write!(shown, "{}", character.escape_default()).is_ok();
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Seconds since 1970, as ipcprims has them.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &[u8]) -> Shown<'_> {
        Shown { channel: Channel::COMMAND, payload, peer: "peer-3" }
    }

    #[test]
    fn each_form_is_that_of_ipcprims() {
        let line = shown(b"hello").line(Format::Pretty).unwrap();
        assert_eq!(line, "channel=1 (COMMAND) size=5 peer=peer-3 payload=hello\n");
        let line = shown(b"{\"a\":1}").line(Format::Json).unwrap();
        let start = "{\"schema_id\":\"https://schemas.3leaps.dev/ipcprims/cli/v1/frame-received.\
            schema.json\",\"channel\":1,\"channel_name\":\"COMMAND\",\"payload_size\":7,\
            \"payload\":\"{\\\"a\\\":1}\",\"peer_id\":\"peer-3\",\"timestamp\":\"1";
        assert!(line.starts_with(start) && line.ends_with("\"}\n"), "{line}");
        let line = shown(b"hello").line(Format::Table).unwrap();
        assert_eq!(line, "1 (COMMAND)               5  peer-3       hello\n");
        assert_eq!(heading(Format::Table).find("PAYLOAD"), line.find("hello"));
    }

    #[test]
    fn what_is_no_text_is_counted_and_what_a_terminal_obeys_is_shown() {
        let line = shown(&[0xff, 0xfe]).line(Format::Pretty).unwrap();
        assert!(line.ends_with("payload=<binary 2 bytes>\n"), "{line}");
        let line = shown("\x1b[31mü\n".as_bytes()).line(Format::Table).unwrap();
        assert!(line.ends_with("\\u{1b}[31mü\\n\n"), "{line}");
    }
}
