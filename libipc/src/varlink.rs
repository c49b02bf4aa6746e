//! Varlink messages and their bytes: JSON objects, each ended by a NUL byte (varlink.org).
//!
//! Nothing here does I/O. [`Decoder`] collects bytes until whole messages are there; [`Call`] and
//! [`Reply`] are what a message says, with parameters left as text until somebody knows their type.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sys::wiped::Wiped;

/// Bytes of the longest message that a [`Decoder`] collects unless told otherwise.
pub const MESSAGE_BYTES_MOST: usize = 64 * 1024;

/// A call as it travels.
///
/// ```
/// use libipc::varlink::{Call, read_call};
///
/// let Call { method, more, .. } = read_call(br#"{"method":"org.varlink.service.GetInfo"}"#)?;
/// assert_eq!((&method[..], more), ("org.varlink.service.GetInfo", false));
/// # Ok::<(), libipc::varlink::MessageError>(())
/// ```
#[derive(Debug, Deserialize)]
pub struct Call<'a> {
    /// Interface and method, for example `org.ipcd.Broker.Connect`.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The parameters, not yet read.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// No reply is wanted.
    #[serde(default)]
    pub oneway: bool,
    /// More than one reply is wanted.
    #[serde(default)]
    pub more: bool,
    /// The connection becomes something else after the reply.
    #[serde(default)]
    pub upgrade: bool,
}

/// A reply as it travels.
///
/// ```
/// use libipc::varlink::{Reply, read_reply};
///
/// let Reply { error, continues, .. } = read_reply(br#"{"parameters":{},"continues":true}"#)?;
/// assert!(error.is_none() && continues);
/// # Ok::<(), libipc::varlink::MessageError>(())
/// ```
#[derive(Debug, Deserialize)]
pub struct Reply<'a> {
    /// The parameters, not yet read.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// More replies to the same call follow.
    #[serde(default)]
    pub continues: bool,
    /// Name of the error, if this is one.
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
}

/// A message as bytes, with its ending NUL. Wiped when dropped, for it may hold a secret.
///
/// ```
/// use libipc::varlink::{self, Bytes};
///
/// let message: Bytes = varlink::reply(&(), false);
/// assert_eq!(message.last(), Some(&0), "the NUL is there already");
/// ```
pub type Bytes = Wiped<Vec<u8>>;

/// Reads one message (without its NUL) as a [`Call`].
///
/// # Errors
///
/// [`MessageError`] if it is not a call; the peer's fault.
pub fn read_call(message: &[u8]) -> Result<Call<'_>, MessageError> {
    serde_json::from_slice(message).map_err(MessageError::of_bytes)
}

/// Reads one message (without its NUL) as a [`Reply`].
///
/// # Errors
///
/// [`MessageError`] if it is not a reply; the peer's fault.
pub fn read_reply(message: &[u8]) -> Result<Reply<'_>, MessageError> {
    serde_json::from_slice(message).map_err(MessageError::of_bytes)
}

/// Reads parameters as the type that the method or error has; absent ones are `{}`.
///
/// # Errors
///
/// [`MessageError`] with the field that does not fit; the peer's fault.
pub fn read_parameters<'a, P: Deserialize<'a>>(
    parameters: Option<&'a RawValue>,
) -> Result<P, MessageError> {
    // That they are JSON was found out when the message was read.
    serde_json::from_str(parameters.map_or("{}", RawValue::get))
        .map_err(|error| MessageError { error, is_json: true })
}

/// How a call is meant to be answered.
///
/// ```
/// use libipc::varlink::{CallFlags, call};
///
/// let flags = CallFlags { more: true, ..CallFlags::default() };
/// let message = call("org.varlink.service.GetInfo", &serde_json::json!({}), flags);
/// assert!(String::from_utf8_lossy(&message).contains(r#""more":true"#));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CallFlags {
    /// More than one reply is wanted.
    pub more: bool,
    /// The connection becomes something else after the reply.
    pub upgrade: bool,
    /// No reply is wanted.
    pub oneway: bool,
}

/// The bytes of a call.
#[must_use]
pub fn call<P: Serialize>(method: &str, parameters: &P, flags: CallFlags) -> Bytes {
    #[derive(Serialize)]
    struct Outgoing<'a, P> {
        method: &'a str,
        parameters: &'a P,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        upgrade: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        oneway: bool,
    }
    let CallFlags { more, upgrade, oneway } = flags;
    message(&Outgoing { method, parameters, more, upgrade, oneway })
}

/// The bytes of a reply; `continues` if more of them follow.
#[must_use]
pub fn reply<P: Serialize>(parameters: &P, continues: bool) -> Bytes {
    #[derive(Serialize)]
    struct Outgoing<'a, P> {
        parameters: &'a P,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        continues: bool,
    }
    message(&Outgoing { parameters, continues })
}

/// The bytes of an error: a value that serialises as `{"error": …, "parameters": …}`.
#[must_use]
pub fn error<E: Serialize>(error: &E) -> Bytes {
    message(error)
}

fn message<M: Serialize>(value: &M) -> Bytes {
    let mut bytes = Wiped::new(Vec::with_capacity(256));
    match serde_json::to_writer(&mut *bytes, value) {
        Ok(()) => {}
        // Our own types serialise to a Vec without fail: no maps with keys other than text.
        Err(error) => unreachable!("a message of ours is not JSON: {error}"),
    }
    bytes.push(0);
    bytes
}

/// Why bytes are not the message they should be. Always the peer's fault.
///
/// ```
/// let error = libipc::varlink::read_call(b"{").unwrap_err();
/// assert_eq!(error.to_string(), "the message ends too early (at byte 1)");
/// ```
#[derive(Debug)]
pub struct MessageError {
    error: serde_json::Error,
    is_json: bool,
}

impl MessageError {
    fn of_bytes(error: serde_json::Error) -> Self {
        Self { error, is_json: false }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // serde_json quotes unexpected values, and a value may be a secret: category and place
        // say enough, but for the names of fields, which are ours.
        let text = self.error.to_string();
        if ["missing field", "duplicate field"].iter().any(|start| text.starts_with(start)) {
            return f.write_str(&text);
        }
        let what = match self.error.classify() {
            // Of a number where the name of something should be, serde_json says as of a letter.
            _ if self.is_json => "has a value of the wrong type",
            serde_json::error::Category::Io => "cannot be read",
            serde_json::error::Category::Syntax => "is not JSON",
            serde_json::error::Category::Data => "has a value of the wrong type",
            serde_json::error::Category::Eof => "ends too early",
        };
        write!(f, "the message {what} (at byte {})", self.error.column())
    }
}

impl std::error::Error for MessageError {}

/// Collects bytes until whole messages are there. The bytes may come in any pieces.
///
/// ```
/// let mut decoder = libipc::varlink::Decoder::new(1024);
/// decoder.push(b"{}\0{");
/// assert_eq!(&decoder.take()?.unwrap()[..], b"{}");
/// assert!(decoder.take()?.is_none() && decoder.pending() == b"{");
/// # Ok::<(), libipc::varlink::TooLong>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    buffer: Wiped<Vec<u8>>,
    /// Bytes at the front of `buffer` that hold no NUL.
    searched: usize,
    most: usize,
}

impl Decoder {
    /// An empty decoder for messages of at most `most` bytes, their NUL not counted.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { buffer: Wiped::new(Vec::new()), searched: 0, most }
    }

    /// Whether everything that came has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes that came and have not been taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Adds what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message, without its NUL. `None`: more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`TooLong`]: the peer announces nothing, so this is known only when too much has come.
    pub fn take(&mut self) -> Result<Option<Bytes>, TooLong> {
        let rest = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(offset) = rest.iter().position(|byte| *byte == 0) else {
            self.searched = self.buffer.len();
            return self.within(self.searched).map(|()| None);
        };
        let end = self.searched + offset;
        self.within(end)?;
        let tail = Wiped::new(self.buffer.split_off(end + 1));
        let mut message = std::mem::replace(&mut self.buffer, tail);
        message.truncate(end);
        self.searched = 0;
        Ok(Some(message))
    }

    fn within(&self, length: usize) -> Result<(), TooLong> {
        if length > self.most { Err(TooLong { most: self.most }) } else { Ok(()) }
    }
}

/// A message is longer than the limit.
///
/// ```
/// use libipc::varlink::{Decoder, TooLong};
///
/// let mut decoder = Decoder::new(4);
/// decoder.push(b"{\"a\":1}");
/// assert_eq!(decoder.take().err(), Some(TooLong { most: 4 }));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong {
    /// The limit, in bytes.
    pub most: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of more than {} bytes", self.most)
    }
}

impl std::error::Error for TooLong {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_is_what_the_specification_writes() {
        let flags = CallFlags { upgrade: true, ..CallFlags::default() };
        let bytes = call("org.ipcd.Tunnel.Open", &serde_json::json!({"service": "a"}), flags);
        assert_eq!(
            bytes.as_slice(),
            b"{\"method\":\"org.ipcd.Tunnel.Open\",\"parameters\":{\"service\":\"a\"},\"upgrade\":true}\0"
        );
        let message = bytes.strip_suffix(b"\0").unwrap();
        let read = read_call(message).unwrap();
        assert_eq!(read.method, "org.ipcd.Tunnel.Open");
        assert!(read.upgrade && !read.more && !read.oneway);
    }

    #[test]
    fn what_is_not_a_call_is_told_without_its_values() {
        let cases: [(&[u8], &str); 5] = [
            (b"{\"parameters\":{}}", "missing field `method` at line 1 column 17"),
            (
                b"{\"method\":\"a\",\"method\":\"b\"}",
                "duplicate field `method` at line 1 column 22",
            ),
            (b"{\"method\":5}", "the message has a value of the wrong type (at byte 11)"),
            (b"GET / HTTP/1.1", "the message is not JSON (at byte 1)"),
            (b"{\"method\":\"secr", "the message ends too early (at byte 15)"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_call(bytes).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn parameters_of_another_type_are_json_all_the_same() {
        use crate::interface::broker::Handoff;

        let parameters: Box<RawValue> = serde_json::from_str("[\"door\", 1]").unwrap();
        let said = read_parameters::<Vec<Handoff>>(Some(&parameters)).unwrap_err().to_string();
        assert_eq!(said, "the message has a value of the wrong type (at byte 10)");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let mut deep = b"{\"method\":\"a\",\"parameters\":".to_vec();
        deep.extend(std::iter::repeat_n(b'[', 60_000));
        assert!(read_call(&deep).is_err());
    }

    #[test]
    fn the_limit_counts_the_message_without_its_end() {
        let mut decoder = Decoder::new(4);
        decoder.push(b"1234\0");
        assert_eq!(decoder.take().unwrap().unwrap().as_slice(), b"1234");
        decoder.push(b"12345");
        assert_eq!(decoder.take().unwrap_err().to_string(), "a message of more than 4 bytes");
        let mut decoder = Decoder::new(4);
        decoder.push(b"12345\0");
        assert_eq!(decoder.take(), Err(TooLong { most: 4 }));
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(1_u8.., 0..40), 0..8),
            cuts in prop::collection::vec(1_usize..20, 0..40),
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                bytes.extend_from_slice(message);
                bytes.push(0);
            }
            let mut decoder = Decoder::new(64);
            let mut got: Vec<Vec<u8>> = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(cuts.next().unwrap_or(7).min(rest.len()));
                decoder.push(piece);
                while let Some(message) = decoder.take().unwrap() {
                    got.push(message.to_vec());
                }
                rest = tail;
            }
            prop_assert_eq!(got, messages);
            prop_assert!(decoder.is_empty());
        }
    }
}
