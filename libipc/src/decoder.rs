//! Bytes in, messages out.

use bytes::{Buf, Bytes, BytesMut};

use crate::channel::Channel;
use crate::frame::{self, Frame, FrameError};
use crate::length_frame;

/// How messages are told apart in a stream of bytes.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(framing: Framing, frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            let header = framing.header(frame.channel, frame.payload.len()).unwrap();
            bytes.extend_from_slice(header.bytes());
            bytes.extend_from_slice(&frame.payload);
        }
        bytes
    }

    fn all(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.decode().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn messages_survive_any_split(
            lengths in prop::collection::vec((any::<u16>(), 0_usize..6000), 1..20),
            splits in prop::collection::vec(1_usize..5000, 1..40),
            framed in any::<bool>(),
        ) {
            let framing = if framed { Framing::Frames } else { Framing::LengthFrames };
            let sent: Vec<Frame> = lengths.iter().map(|(channel, length)| Frame {
                channel: Channel(if framed { *channel } else { 0 }),
                payload: Bytes::from(vec![u8::try_from(*length % 251).unwrap(); *length]),
            }).collect();
            let bytes = bytes_of(framing, &sent);
            let mut decoder = Decoder::new(framing, 6000);
            let (mut rest, mut came, mut sizes) = (bytes.as_slice(), Vec::new(), splits.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                decoder.feed(now).unwrap();
                came.extend(all(&mut decoder));
                rest = later;
            }
            prop_assert_eq!(came, sent);
            prop_assert!(decoder.is_between());
            prop_assert_eq!(decoder.position(), bytes.len() as u64);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for framing in [Framing::Frames, Framing::LengthFrames] {
                let mut decoder = Decoder::new(framing, 64);
                if decoder.feed(&bytes).is_ok() {
                    while let Ok(Some(frame)) = decoder.decode() {
                        prop_assert!(frame.payload.len() <= 64);
                    }
                }
            }
        }
    }

    #[test]
    fn the_limit_is_told_before_there_is_room_for_the_payload() {
        let mut decoder = Decoder::new(Framing::Frames, 100);
        decoder.feed(&frame::header(Channel::DATA, 101).unwrap()).unwrap();
        let expected = FrameError::TooLong { length: 101, most: 100 };
        assert_eq!(decoder.decode(), Err(expected));
        assert_eq!(decoder.decode(), Err(expected), "and stays so");
        assert_eq!(decoder.room().unwrap_err(), expected);
    }

    #[test]
    fn memory_follows_what_came_and_not_what_was_announced() {
        let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
        decoder.feed(&frame::header(Channel::DATA, frame::PAYLOAD_MOST).unwrap()).unwrap();
        decoder.feed(&[7]).unwrap();
        assert_eq!(decoder.buffer.capacity(), ROOM_FIRST);
        let mut largest = 0;
        for sent in (0..frame::PAYLOAD_MOST - 1).step_by(4096) {
            decoder.feed(&[7; 4096][..4096.min(frame::PAYLOAD_MOST - 1 - sent)]).unwrap();
            let (filled, has) = (decoder.buffer.len(), decoder.buffer.capacity());
            assert!(has <= (2 * filled).max(ROOM_FIRST * 2));
            largest = largest.max(has);
        }
        assert_eq!(largest, frame::PAYLOAD_MOST + frame::HEADER_BYTES);
        assert_eq!(decoder.decode().unwrap().unwrap().payload.len(), frame::PAYLOAD_MOST);
    }

    #[test]
    fn a_message_as_long_as_one_before_has_its_room_at_once() {
        let payload = Bytes::from(vec![1; 300_000]);
        let sent = [Frame { channel: Channel::DATA, payload }];
        let bytes = bytes_of(Framing::Frames, &sent);
        let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
        decoder.feed(&bytes).unwrap();
        assert_eq!(all(&mut decoder), sent);
        decoder.feed(&bytes[..100_000]).unwrap();
        assert_eq!(decoder.buffer.capacity(), bytes.len());
    }

    #[test]
    fn messages_of_64_kib_come_in_one_read_each() {
        let sent = [Frame { channel: Channel::DATA, payload: Bytes::from(vec![1; 64 << 10]) }];
        let bytes = bytes_of(Framing::Frames, &sent);
        let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
        decoder.feed(&bytes).unwrap();
        for _ in 0..10 {
            assert_eq!(all(&mut decoder), sent);
            let room = decoder.room().unwrap();
            assert!(room.capacity() - room.len() >= bytes.len());
            decoder.feed(&bytes).unwrap();
        }
    }

    #[test]
    fn memory_is_used_again_once_its_messages_are_dropped_and_given_back_if_it_is_much() {
        let message = |length| Frame { channel: Channel::DATA, payload: vec![1; length].into() };
        let small = bytes_of(Framing::Frames, &[message(100)]);
        let large = bytes_of(Framing::Frames, &[message(2 << 20)]);
        let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
        let mut places = std::collections::HashSet::new();
        for _ in 0..1_000 {
            decoder.feed(&small).unwrap();
            places.insert(decoder.decode().unwrap().unwrap().payload.as_ptr() as usize >> 13);
        }
        assert!(places.len() <= 2, "one place of 4 KiB, over and over");
        decoder.feed(&large).unwrap();
        drop(decoder.decode().unwrap().unwrap());
        for _ in 0..100 {
            decoder.feed(&small).unwrap();
            drop(decoder.decode().unwrap().unwrap());
        }
        assert!(decoder.buffer.capacity() <= KEPT_MOST, "{}", decoder.buffer.capacity());
    }

    #[test]
    fn a_busy_connection_reads_64_kib_at_once_and_no_more() {
        let frame = Frame { channel: Channel::DATA, payload: vec![1; 1_000].into() };
        let bytes = bytes_of(Framing::Frames, &vec![frame; 2_000]);
        let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
        let (mut rest, mut rooms) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let room = decoder.room().unwrap();
            let count = (room.capacity() - room.len()).min(rest.len());
            let (now, later) = rest.split_at(count);
            room.extend_from_slice(now);
            decoder.advance(count);
            rooms.push(count);
            drop(all(&mut decoder));
            rest = later;
        }
        assert_eq!(decoder.room, 64 << 10);
        assert!(rooms.iter().all(|count| *count <= 64 << 10), "{rooms:?}");
        assert!(rooms.iter().filter(|count| **count > 60 << 10).count() > 10, "{rooms:?}");
    }

    #[test]
    fn memory_of_256_kib_is_kept_for_what_comes_and_one_byte_more_is_given_back() {
        let room_after = |total: usize| {
            let payload = vec![1; total - frame::HEADER_BYTES].into();
            let bytes = bytes_of(Framing::Frames, &[Frame { channel: Channel::DATA, payload }]);
            let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
            // As it comes from a socket whose buffers are small.
            bytes.chunks(1_000).for_each(|piece| decoder.feed(piece).unwrap());
            drop(decoder.decode().unwrap().unwrap());
            decoder.room().unwrap();
            decoder.buffer.capacity()
        };
        assert_eq!(room_after(256 << 10), 256 << 10);
        let less = room_after((256 << 10) + 1);
        assert!(less <= ROOM_MOST, "{less}");
    }

    #[test]
    fn payloads_are_slices_of_one_buffer() {
        let frame = Frame { channel: Channel::DATA, payload: Bytes::from_static(b"abcd") };
        let mut decoder = Decoder::new(Framing::Frames, 64);
        decoder.feed(&bytes_of(Framing::Frames, &[frame.clone(), frame])).unwrap();
        let came = all(&mut decoder);
        let place = |frame: &Frame| frame.payload.as_ptr() as usize;
        assert_eq!(place(&came[1]) - place(&came[0]), frame::HEADER_BYTES + 4);
    }

    #[test]
    fn the_last_message_that_begins_in_what_came_is_known() {
        let frame = Frame { channel: Channel::DATA, payload: Bytes::from_static(b"abcd") };
        let bytes = bytes_of(Framing::Frames, &[frame.clone(), frame]);
        let mut decoder = Decoder::new(Framing::Frames, 64);
        decoder.feed(&bytes[..5]).unwrap();
        assert_eq!(decoder.last_beginning(5), Some(0));
        decoder.feed(&bytes[5..12]).unwrap();
        assert_eq!(decoder.last_beginning(7), None, "the middle of a message");
        decoder.feed(&bytes[12..13]).unwrap();
        assert_eq!(decoder.last_beginning(1), Some(12));
        decoder.feed(&bytes[13..]).unwrap();
        assert_eq!(decoder.last_beginning(11), None);
        assert_eq!(decoder.last_beginning(12), Some(12));
    }

    #[test]
    fn length_frames_have_no_channels() {
        let error = Framing::LengthFrames.header(Channel::DATA, 1).unwrap_err();
        let said = "these messages have no channels, so none goes on channel 2 (DATA)";
        assert_eq!(error.to_string(), said);
    }
}
