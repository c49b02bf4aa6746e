//! The end that writes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use sys::map::OutsideMap;

use super::RingError;
use super::end::{Awaited, End};
use super::layout::{message_at, widen};
use super::record::{CLOSED, Placing, Position, Record, SKIP, filled, longest, place};
use crate::patience::Patience;

/// The end of a ring that writes. Dropping it ends the ring once everything is read.
///
/// It may be given to another thread or process, and is used by one at a time.
///
/// ```
/// use libipc::Patience;
/// use libipc::ring::{self, Reader, Writer};
///
/// let (mut writer, reader): (Writer, Reader) = ring::pair(4096)?;
/// // Two descriptors, which go to another process in a message.
/// let descriptors = reader.into_descriptors()?;
/// let mut reader = Reader::from_descriptors(descriptors)?;
/// writer.send(b"hello", Patience::Forever)?;
/// assert_eq!(reader.receive(Patience::Forever)?.to_vec()?, b"hello");
/// # Ok::<(), ring::RingError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    pub(super) end: End,
    /// How far we have written. The copy in the memory is for the reader, and never read back.
    written: u32,
    /// How far the reader is known to have read.
    read: u32,
}

impl Writer {
    pub(super) fn new(end: End) -> Result<Self, RingError> {
        let written = Position::of_word(end.layout.written()?.load())?;
        let read = Position::of_word(end.look()?)?;
        filled(written.at, read.at, end.layout.capacity())?;
        Ok(Self { end, written: written.at, read: read.at })
    }

    /// Takes over this end from the process that made the ring: the two descriptors, in the order
    /// in which [`Writer::into_descriptors`] gave them.
    ///
    /// # Errors
    ///
    /// [`RingError::Memory`], [`RingError::NotASocket`], [`RingError::Damaged`]: these are not the
    /// descriptors of a ring.
    pub fn from_descriptors(descriptors: [OwnedFd; 2]) -> Result<Self, RingError> {
        Self::new(End::open(descriptors, Awaited::Read)?)
    }

    /// The two descriptors to give this end to another process with: the memory and the socket.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left. The ring is closed then.
    pub fn into_descriptors(mut self) -> Result<[OwnedFd; 2], RingError> {
        self.end.give_away()
    }

    /// Bytes of the longest message.
    #[must_use]
    pub fn longest(&self) -> usize {
        widen(longest(self.end.layout.capacity()))
    }

    /// Sends a message, and waits for room as long as `patience` allows.
    ///
    /// A reader that has gone is not seen while there is room.
    ///
    /// # Errors
    ///
    /// [`RingError`].
    pub fn send(&mut self, message: &[u8], patience: Patience) -> Result<(), RingError> {
        self.reserve(message.len(), patience)?.publish_copy(message)
    }

    /// Sends a message if there is room for it; never waits. Whether it was sent.
    ///
    /// # Errors
    ///
    /// [`RingError`].
    pub fn try_send(&mut self, message: &[u8]) -> Result<bool, RingError> {
        match self.try_reserve(message.len())? {
            Some(slot) => slot.publish_copy(message).map(|()| true),
            None => Ok(false),
        }
    }

    /// Room for a message of `length` bytes in the ring itself, to be written in place.
    ///
    /// # Errors
    ///
    /// [`RingError`].
    pub fn reserve(&mut self, length: usize, patience: Patience) -> Result<Slot<'_>, RingError> {
        let placing = self.place(length)?;
        if !self.has_room(placing) {
            let mut word = self.end.look()?;
            self.take_note(word)?;
            while !self.has_room(placing) {
                word = self.end.wait(word, patience)?;
                self.take_note(word)?;
            }
        }
        Ok(Slot { writer: self, placing })
    }

    /// As [`Writer::reserve`]; `None` instead of waiting.
    ///
    /// # Errors
    ///
    /// [`RingError`].
    pub fn try_reserve(&mut self, length: usize) -> Result<Option<Slot<'_>>, RingError> {
        let placing = self.place(length)?;
        if !self.has_room(placing) {
            let word = self.end.look()?;
            self.take_note(word)?;
        }
        Ok(self.has_room(placing).then_some(Slot { writer: self, placing }))
    }

    /// As [`Writer::try_reserve`]; `None` also has [`AsFd`] become readable when the reader has
    /// made room, or is gone.
    ///
    /// # Errors
    ///
    /// [`RingError`].
    pub fn reserve_or_watch(&mut self, length: usize) -> Result<Option<Slot<'_>>, RingError> {
        let placing = self.place(length)?;
        let is_gone = self.end.unwatch()?;
        let mut word = self.end.look()?;
        self.take_note(word)?;
        while !self.has_room(placing) {
            if is_gone {
                return Err(RingError::PeerGone);
            }
            match self.end.watch(word)? {
                None => return Ok(None),
                Some(changed) => word = changed,
            }
            self.take_note(word)?;
        }
        Ok(Some(Slot { writer: self, placing }))
    }

    fn place(&self, length: usize) -> Result<Placing, RingError> {
        let too_long = || RingError::TooLong { length, most: self.longest() };
        if length > self.longest() {
            return Err(too_long());
        }
        let length = u32::try_from(length).map_err(|_| too_long())?;
        Ok(place(self.written, length, self.end.layout.capacity()))
    }

    /// Whether there is room, by what is known.
    fn has_room(&self, placing: Placing) -> bool {
        let filled = self.written.wrapping_sub(self.read);
        placing.room <= self.end.layout.capacity() - filled
    }

    /// Takes note of what the reader says in `word`.
    fn take_note(&mut self, word: u32) -> Result<(), RingError> {
        let read = Position::of_word(word)?;
        if read.is_closed {
            return Err(RingError::Closed);
        }
        filled(self.written, read.at, self.end.layout.capacity())?;
        self.read = read.at;
        Ok(())
    }
}

impl AsFd for Writer {
    /// The socket that [`Writer::reserve_or_watch`] has become readable.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.bell()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.end.ends_with_us() {
            // Nobody could be told of a failure, and the reader sees the socket's end as well.
            let _closed = self.end.publish(self.written | CLOSED).is_ok();
        }
    }
}

/// Room in the ring for one message. Dropping it sends nothing.
///
/// ```
/// use libipc::Patience;
///
/// let (mut writer, mut reader) = libipc::ring::pair(4096)?;
/// let mut slot = writer.reserve(100, Patience::Forever)?;
/// slot.write(0, b"hello")?;
/// slot.publish_first(5)?;
/// assert_eq!(reader.receive(Patience::Forever)?.to_vec()?, b"hello");
/// # Ok::<(), libipc::ring::RingError>(())
/// ```
#[derive(Debug)]
pub struct Slot<'a> {
    writer: &'a mut Writer,
    placing: Placing,
}

impl Slot<'_> {
    /// Bytes of the message.
    #[must_use]
    pub fn length(&self) -> usize {
        widen(self.placing.record.length)
    }

    /// Copies `bytes` to `offset` of the message.
    ///
    /// # Errors
    ///
    /// [`RingError::Outside`].
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), RingError> {
        let at = self.place(offset, bytes.len())?;
        Ok(self.writer.end.layout.map().copy_in(at, bytes)?)
    }

    /// The bytes of the message in place. They hold what an earlier message left there.
    ///
    /// # Errors
    ///
    /// Not expected.
    pub fn cells(&self) -> Result<&[AtomicU8], RingError> {
        let at = self.place(0, self.length())?;
        Ok(self.writer.end.layout.map().cells(at, self.length())?)
    }

    /// Reads from `file` into the message at `offset`, without a copy of ours. How many bytes.
    ///
    /// # Errors
    ///
    /// [`RingError::Outside`], or the kernel's.
    pub fn read_from(
        &mut self,
        file: BorrowedFd<'_>,
        offset: usize,
        most: usize,
    ) -> Result<usize, RingError> {
        let at = self.place(offset, most)?;
        Ok(self.writer.end.layout.map().read_from(file, at, most)?)
    }

    /// Sends the message.
    ///
    /// # Errors
    ///
    /// Not expected.
    pub fn publish(self) -> Result<(), RingError> {
        let Self { writer, placing } = self;
        if let Some(offset) = placing.skip {
            writer.end.layout.length_word(offset)?.store(SKIP, Ordering::Relaxed);
        }
        let Record { offset, length, end } = placing.record;
        writer.end.layout.length_word(offset)?.store(length, Ordering::Relaxed);
        writer.written = end;
        writer.end.publish(end)
    }

    /// Sends only the first `length` bytes, if they are not more than reserved.
    ///
    /// # Errors
    ///
    /// [`RingError::Outside`].
    pub fn publish_first(mut self, length: usize) -> Result<(), RingError> {
        self.place(0, length)?;
        let length = u32::try_from(length).unwrap_or(self.placing.record.length);
        self.placing = self.placing.shortened(length);
        self.publish()
    }

    fn publish_copy(mut self, message: &[u8]) -> Result<(), RingError> {
        self.write(0, message)?;
        self.publish()
    }

    fn place(&self, offset: usize, length: usize) -> Result<usize, OutsideMap> {
        let mapped = self.length();
        match offset.checked_add(length) {
            Some(end) if end <= mapped => Ok(message_at(self.placing.record) + offset),
            _ => Err(OutsideMap { offset, length, mapped }),
        }
    }
}
