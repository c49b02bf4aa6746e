//! Messages with a channel, as they travel on a stream of bytes.
//!
//! A frame is the two bytes `IP`, the length of its payload (`u32`, little-endian), its channel
//! (`u16`, little-endian), and the payload; an empty payload is legal. These are the frames of
//! ipcprims 0.2. Nothing here reads or writes a socket.

use std::fmt;

use bytes::Bytes;

use crate::channel::Channel;

/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = *b"IP";

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;

/// Bytes of a payload at most, unless somebody says otherwise.
pub const PAYLOAD_MOST: usize = 16 << 20;

/// One message, as it was decoded.
///
/// ```
/// use libipc::Channel;
/// use libipc::decoder::{Decoder, Framing};
/// use libipc::frame::Frame;
///
/// let mut decoder = Decoder::new(Framing::Frames, 16);
/// decoder.feed(b"IP\x02\0\0\0\x02\0hi")?;
/// let Some(Frame { channel, payload }) = decoder.decode()? else { panic!("all of it is there") };
/// assert_eq!((channel, &payload[..]), (Channel::DATA, &b"hi"[..]));
/// # Ok::<(), libipc::frame::FrameError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frame {
    /// Its channel; zero where the framing has none.
    pub channel: Channel,
    /// Its content: a slice of what was read, so that nothing is copied. It keeps the memory that
    /// it was read into, at most 64 KiB more than itself, until it is dropped.
    pub payload: Bytes,
}

/// The bytes that go before a payload of `length` bytes.
///
/// # Errors
///
/// [`FrameError::TooLong`] for a length that the header cannot say.
pub fn header(channel: Channel, length: usize) -> Result<[u8; HEADER_BYTES], FrameError> {
    let most = u32::MAX as usize;
    let number = u32::try_from(length).map_err(|_| FrameError::TooLong { length, most })?;
    let number = u64::from(number) << 16 | u64::from(channel.0) << 48;
    Ok((number | u64::from(u16::from_le_bytes(MAGIC))).to_le_bytes())
}

/// The channel and the length of the payload, of the frame that `bytes` begin with; `None` if
/// the header is not whole yet. What is there already is judged at once.
///
/// # Errors
///
/// [`FrameError::Magic`], and [`FrameError::TooLong`] above `most`.
pub fn read_header(bytes: &[u8], most: usize) -> Result<Option<(Channel, usize)>, FrameError> {
    if bytes.iter().zip(MAGIC).any(|(found, expected)| *found != expected) {
        return Err(FrameError::Magic);
    }
    let Some((&[_, _, length @ .., low, high], _)) = bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > most {
        return Err(FrameError::TooLong { length, most });
    }
    Ok(Some((Channel(u16::from_le_bytes([low, high])), length)))
}

/// Why bytes are not a message, or a message has no bytes.
///
/// All but [`FrameError::NoMemory`] are the mistake of whoever made the bytes, or the message.
///
/// ```
/// use libipc::frame::{FrameError, read_header};
///
/// assert_eq!(read_header(b"HTTP/1.1", 16), Err(FrameError::Magic));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes do not begin with [`MAGIC`]. A stream is of no further use after that.
    Magic,
    /// The payload is longer than agreed. Nothing was read of it.
    TooLong {
        /// Bytes of the payload, as announced.
        length: usize,
        /// The limit.
        most: usize,
    },
    /// The framing has no channels, and the message is to go on one.
    NoChannels {
        /// Which.
        channel: Channel,
    },
    /// This process has no memory for the message.
    NoMemory {
        /// Bytes that were wanted.
        bytes: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("what came is no message: it does not begin with \"IP\""),
            Self::TooLong { length, most } => {
                write!(f, "a message of {length} bytes, the most is {most}")
            }
            Self::NoChannels { channel } => {
                write!(f, "these messages have no channels, so none goes on channel {channel}")
            }
            Self::NoMemory { bytes } => write!(f, "no memory for a message of {bytes} bytes"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_soon_as_it_is_whole() {
        let header = header(Channel(0x0102), 5).unwrap();
        assert_eq!(header, [0x49, 0x50, 5, 0, 0, 0, 2, 1]);
        for whole in 0..HEADER_BYTES {
            assert_eq!(read_header(&header[..whole], 16), Ok(None));
        }
        assert_eq!(read_header(&header, 5), Ok(Some((Channel(0x0102), 5))));
    }

    #[test]
    fn the_limit_itself_passes_and_one_byte_more_does_not() {
        let header = header(Channel::DATA, 6).unwrap();
        assert_eq!(read_header(&header, 6), Ok(Some((Channel::DATA, 6))));
        let error = read_header(&header, 5).unwrap_err();
        assert_eq!(error.to_string(), "a message of 6 bytes, the most is 5");
    }

    #[test]
    fn a_wrong_beginning_is_told_at_its_first_byte() {
        for wrong in [&b"X"[..], b"IX", b"PI\0\0\0\0\0\0"] {
            let error = read_header(wrong, 16).unwrap_err();
            let said = "what came is no message: it does not begin with \"IP\"";
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn a_length_that_no_header_can_say_is_refused() {
        let length = u32::MAX as usize + 1;
        assert!(matches!(header(Channel::DATA, length), Err(FrameError::TooLong { .. })));
    }
}
