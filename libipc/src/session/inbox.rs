//! Messages that have come and wait to be read, bounded.

use std::collections::{HashMap, VecDeque};

use super::{Limits, Received, SessionError};
use crate::channel::Channel;
use crate::frame::HEADER_BYTES;

/// Messages in the order of their arrival, of which those of one channel can be taken first.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: VecDeque<Received>,
    of_channel: HashMap<Channel, usize>,
    bytes: usize,
}

impl Inbox {
    /// Keeps a message; refused at the limits.
    pub(crate) fn push(&mut self, message: Received, limits: &Limits) -> Result<(), SessionError> {
        let channel = message.channel;
        let count = self.of_channel.entry(channel).or_default();
        let bytes = self.bytes + message.payload.len() + HEADER_BYTES;
        // One message alone is never too much: it may be the one that is waited for.
        let is_first = self.messages.is_empty();
        if *count >= limits.waiting_per_channel || (bytes > limits.waiting_bytes && !is_first) {
            return Err(SessionError::TooMuchWaiting { channel });
        }
        *count += 1;
        self.bytes = bytes;
        self.messages.push_back(message);
        Ok(())
    }

    /// The channel on which one message more may be too much, if there is one.
    #[cfg(feature = "tokio")]
    pub(crate) fn full_channel(&self, limits: &Limits) -> Option<Channel> {
        let newest = self.messages.back()?.channel;
        if self.bytes >= limits.waiting_bytes {
            return Some(newest);
        }
        let mut counts = self.of_channel.iter();
        let full = counts.find(|(_, count)| **count >= limits.waiting_per_channel);
        full.map(|(channel, _)| *channel)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The oldest message, or the oldest of one channel.
    pub(crate) fn take(&mut self, channel: Option<Channel>) -> Option<Received> {
        let place = match channel {
            None => 0,
            Some(channel) if self.of_channel.get(&channel).is_none_or(|count| *count == 0) => {
                return None;
            }
            Some(channel) => self.messages.iter().position(|message| message.channel == channel)?,
        };
        let message = self.messages.remove(place)?;
        self.bytes -= message.payload.len() + HEADER_BYTES;
        if let Some(count) = self.of_channel.get_mut(&message.channel) {
            *count -= 1;
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(channel: u16, payload: &'static str) -> Received {
        let payload = Bytes::from_static(payload.as_bytes());
        Received { channel: Channel(channel), payload, ..Received::default() }
    }

    fn text(message: Option<Received>) -> Option<String> {
        message.map(|message| String::from_utf8(message.payload.to_vec()).unwrap())
    }

    #[test]
    fn one_channel_can_be_read_before_the_others() {
        let mut inbox = Inbox::default();
        for (channel, payload) in [(1, "a"), (2, "b"), (1, "c"), (3, "d")] {
            inbox.push(message(channel, payload), &Limits::default()).unwrap();
        }
        assert_eq!(text(inbox.take(Some(Channel(2)))).unwrap(), "b");
        assert_eq!(text(inbox.take(Some(Channel(2)))), None);
        assert_eq!(text(inbox.take(None)).unwrap(), "a");
        assert_eq!(text(inbox.take(Some(Channel(3)))).unwrap(), "d");
        assert_eq!(text(inbox.take(None)).unwrap(), "c");
        assert!(inbox.take(None).is_none());
        assert_eq!(inbox.bytes, 0);
    }

    #[test]
    fn both_limits_hold_at_the_limit() {
        let limits = Limits { waiting_per_channel: 2, waiting_bytes: 30, ..Limits::default() };
        let mut inbox = Inbox::default();
        inbox.push(message(1, "a"), &limits).unwrap();
        inbox.push(message(1, "b"), &limits).unwrap();
        let said = inbox.push(message(1, "c"), &limits).unwrap_err().to_string();
        let expected = "too many messages on channel 1 (COMMAND) wait while another is read";
        assert_eq!(said, expected);
        inbox.push(message(2, "1234"), &limits).unwrap();
        assert!(inbox.push(message(3, ""), &limits).is_err(), "9 + 9 + 12 bytes are all there are");
        inbox.take(None).unwrap();
        inbox.push(message(3, ""), &limits).unwrap();
    }

    #[test]
    fn one_message_alone_is_never_too_much() {
        let limits = Limits { waiting_bytes: 4, ..Limits::default() };
        let mut inbox = Inbox::default();
        inbox.push(message(1, "longer than that"), &limits).unwrap();
        assert!(inbox.push(message(2, ""), &limits).is_err());
    }
}
