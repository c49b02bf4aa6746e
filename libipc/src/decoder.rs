//! Bytes in, messages out.

use bytes::{Buf, Bytes, BytesMut};

use crate::channel::Channel;
use crate::frame::{self, Frame, FrameError};
use crate::length_frame;

/// How messages are told apart in a stream of bytes.
///
/// ```
/// use libipc::Channel;
/// use libipc::decoder::Framing;
///
/// assert_eq!(Framing::Frames.header(Channel::DATA, 5)?.bytes(), b"IP\x05\0\0\0\x02\0");
/// assert_eq!(Framing::LengthFrames.header(Channel::default(), 5)?.bytes(), [0, 0, 0, 5]);
/// # Ok::<(), libipc::frame::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Framing {
    /// [Frames](crate::frame) with channels, as ipcprims has them.
    #[default]
    Frames,
    /// [Length frames](crate::length_frame) without channels, as the first libipc had them.
    LengthFrames,
}

impl Framing {
    /// Bytes before each payload.
    #[must_use]
    pub fn header_bytes(self) -> usize {
        match self {
            Self::Frames => frame::HEADER_BYTES,
            Self::LengthFrames => length_frame::HEADER_BYTES,
        }
    }

    /// What goes before a payload of `length` bytes.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] and [`FrameError::NoChannels`].
    pub fn header(self, channel: Channel, length: usize) -> Result<Header, FrameError> {
        match self {
            Self::Frames => Ok(Header::Frame(frame::header(channel, length)?)),
            Self::LengthFrames if channel != Channel::default() => {
                Err(FrameError::NoChannels { channel })
            }
            Self::LengthFrames => Ok(Header::LengthFrame(length_frame::header(length)?)),
        }
    }

    /// Channel and length of the payload of the message that `bytes` begin with.
    fn read_header(
        self,
        bytes: &[u8],
        most: usize,
    ) -> Result<Option<(Channel, usize)>, FrameError> {
        match self {
            Self::Frames => frame::read_header(bytes, most),
            Self::LengthFrames => {
                let length = length_frame::read_header(bytes, most)?;
                Ok(length.map(|length| (Channel::default(), length)))
            }
        }
    }
}

/// What goes before a payload.
///
/// ```
/// use libipc::Channel;
/// use libipc::decoder::{Framing, Header};
///
/// let header: Header = Framing::Frames.header(Channel::DATA, 0)?;
/// assert_eq!(header.bytes().len(), Framing::Frames.header_bytes());
/// assert!(Header::None.bytes().is_empty());
/// # Ok::<(), libipc::frame::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Header {
    /// Nothing: the kernel tells messages apart.
    #[default]
    None,
    /// Magic, length and channel.
    Frame([u8; frame::HEADER_BYTES]),
    /// A length.
    LengthFrame([u8; length_frame::HEADER_BYTES]),
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Frame(bytes) => bytes,
            Self::LengthFrame(bytes) => bytes,
        }
    }
}

/// Room that a connection begins with.
const ROOM_FIRST: usize = 4 << 10;

/// Room for many small messages in one read: what a busy connection grows to.
const ROOM_MOST: usize = 64 << 10;

/// Memory that is kept for small messages though it was made for a large one.
const KEPT_MOST: usize = 256 << 10;

/// Room below which a read is not worth a call of the kernel.
const ROOM_LEAST: usize = 512;

/// Collects bytes until whole messages are there, and cuts them out without copying.
///
/// The caller puts what it has read behind what is in [`Decoder::room`], says so with
/// [`Decoder::advance`], and takes messages with [`Decoder::decode`] until there is none. Memory
/// follows what has come, never what is announced: a peer that announces 16 MiB and sends one byte
/// has 4 KiB. The memory of messages that are dropped before the next read is used again.
///
/// ```
/// use libipc::Channel;
/// use libipc::decoder::{Decoder, Framing};
///
/// let mut decoder = Decoder::new(Framing::Frames, 1 << 20);
/// let header = Framing::Frames.header(Channel::DATA, 5)?;
/// decoder.feed(header.bytes())?;
/// decoder.feed(b"hel")?;
/// assert!(decoder.decode()?.is_none());
/// decoder.feed(b"lo")?;
/// assert_eq!(decoder.decode()?.unwrap().payload, "hello");
/// # Ok::<(), libipc::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    most: usize,
    /// What is not decoded yet, and the room behind it.
    buffer: BytesMut,
    /// Position in the stream of the first byte of `buffer`.
    start: u64,
    /// What the next small buffer has.
    room: usize,
    /// The longest message that has come whole: the peer may have as much again at once.
    longest: usize,
}

impl Decoder {
    /// A decoder of payloads of at most `most` bytes.
    #[must_use]
    pub fn new(framing: Framing, most: usize) -> Self {
        Self { framing, most, buffer: BytesMut::new(), start: 0, room: ROOM_FIRST, longest: 0 }
    }

    /// What is not decoded yet, with room behind it for the next bytes of the stream: at least one
    /// byte, and for a message that has begun no more than what it lacks if that is much. The
    /// caller puts them there, and takes nothing away.
    ///
    /// # Errors
    ///
    /// [`FrameError::NoMemory`]; what has come so far is kept. Otherwise as [`Decoder::decode`].
    pub fn room(&mut self) -> Result<&mut BytesMut, FrameError> {
        let total = self.next_total()?;
        let (filled, has) = (self.buffer.len(), self.buffer.capacity());
        let is_full = match total {
            // A message that fits is read to its end before anything is moved.
            Some(total) if filled < total => has < total && has == filled,
            _ => has < filled + ROOM_LEAST,
        };
        if is_full {
            let grown = (2 * filled).max(self.longest).max(self.room);
            let wanted = match total {
                Some(total) if total > self.room => total.min(grown),
                _ => self.usual_room().max(filled + ROOM_LEAST),
            };
            self.make_room(wanted)?;
        }
        Ok(&mut self.buffer)
    }

    /// Room for the next messages: the peer may have one as long as before, and one read for its
    /// last bytes costs as much as one for all of it.
    fn usual_room(&self) -> usize {
        if self.longest <= KEPT_MOST { self.room.max(self.longest) } else { self.room }
    }

    /// Makes a buffer of `bytes` bytes that begins with what is not decoded yet.
    fn make_room(&mut self, bytes: usize) -> Result<(), FrameError> {
        let filled = self.buffer.len();
        // Without messages that live on, the memory there is will do, unless it is far too much.
        let is_enough = self.buffer.try_reclaim(bytes.saturating_sub(filled));
        if is_enough && self.buffer.capacity() <= (4 * bytes).max(KEPT_MOST) {
            return Ok(());
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(bytes).map_err(|_| FrameError::NoMemory { bytes })?;
        memory.extend_from_slice(&self.buffer);
        // Both steps keep the allocation.
        self.buffer = BytesMut::from(Bytes::from(memory));
        Ok(())
    }

    /// Takes note of `count` bytes that were put behind the others.
    pub fn advance(&mut self, count: usize) {
        if count > 0 && self.buffer.len() == self.buffer.capacity() && self.room < ROOM_MOST {
            self.room *= 2;
        }
    }

    /// Takes over a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Decoder::room`].
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let count = (room.capacity() - room.len()).min(bytes.len());
            let (now, later) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            room.extend_from_slice(now);
            self.advance(count);
            bytes = later;
        }
        Ok(())
    }

    /// The next message, if all of it is there. After an error every call answers the same.
    ///
    /// # Errors
    ///
    /// [`FrameError::Magic`] and [`FrameError::TooLong`], as soon as the header is there.
    pub fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((channel, length)) = self.next_header()? else { return Ok(None) };
        let header = self.framing.header_bytes();
        let total = header + length;
        if self.buffer.len() < total {
            return Ok(None);
        }
        let mut payload = self.buffer.split_to(total);
        payload.advance(header);
        self.start += total as u64;
        self.longest = self.longest.max(total);
        Ok(Some(Frame { channel, payload: payload.freeze() }))
    }

    /// Takes payloads of up to `most` bytes from now on.
    pub fn allow_payload(&mut self, most: usize) {
        self.most = most;
    }

    /// Whether a whole message is there.
    #[must_use]
    pub fn has_message(&self) -> bool {
        let has = self.buffer.len();
        self.next_total().is_ok_and(|total| total.is_some_and(|total| has >= total))
    }

    /// Whether no message has begun: the place where a stream may end.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Position in the stream of the message that [`Decoder::decode`] answers next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.start
    }

    /// Position of the last message that begins among the bytes that came last, if one does;
    /// `count` is how many those were.
    pub(crate) fn last_beginning(&self, count: usize) -> Option<u64> {
        let (mut rest, filled) = (&self.buffer[..], self.buffer.len());
        let new = filled.checked_sub(count)?;
        let mut begins = None;
        while !rest.is_empty() {
            let place = filled - rest.len();
            begins = Some(place).filter(|place| *place >= new);
            let Ok(Some((_, length))) = self.framing.read_header(rest, self.most) else { break };
            rest = rest.get(self.framing.header_bytes() + length..).unwrap_or_default();
        }
        begins.map(|place| self.start + place as u64)
    }

    fn next_header(&self) -> Result<Option<(Channel, usize)>, FrameError> {
        self.framing.read_header(&self.buffer, self.most)
    }

    /// Bytes of the message that has begun, its header included, once they are known.
    fn next_total(&self) -> Result<Option<usize>, FrameError> {
        let header = self.next_header()?;
        Ok(header.map(|(_, length)| self.framing.header_bytes() + length))
    }
}

#[cfg(test)]
mod tests;
