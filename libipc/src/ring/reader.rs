//! The end that reads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use sys::map::OutsideMap;

use super::RingError;
use super::end::{Awaited, End};
use super::layout::{message_at, widen};
use super::record::{CLOSED, Position, Record, filled, find};
use crate::patience::Patience;

/// The end of a ring that reads. Dropping it has the writer's next wait for room fail.
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
pub struct Reader {
    pub(super) end: End,
    /// How far we have read. The copy in the memory is for the writer, and never read back.
    read: u32,
    /// How far the writer is known to have written.
    written: u32,
    is_damaged: bool,
}

impl Reader {
    pub(super) fn new(end: End) -> Result<Self, RingError> {
        let read = Position::of_word(end.layout.read()?.load())?;
        let written = Position::of_word(end.look()?)?;
        filled(written.at, read.at, end.layout.capacity())?;
        Ok(Self { end, read: read.at, written: read.at, is_damaged: false })
    }

    /// Takes over this end from the process that made the ring: the two descriptors, in the order
    /// in which [`Reader::into_descriptors`] gave them.
    ///
    /// # Errors
    ///
    /// [`RingError::Memory`], [`RingError::NotASocket`], [`RingError::Damaged`]: these are not the
    /// descriptors of a ring.
    pub fn from_descriptors(descriptors: [OwnedFd; 2]) -> Result<Self, RingError> {
        Self::new(End::open(descriptors, Awaited::Written)?)
    }

    /// The two descriptors to give this end to another process with: the memory and the socket.
    /// Messages that are in the ring stay there.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left. The ring is closed then.
    pub fn into_descriptors(mut self) -> Result<[OwnedFd; 2], RingError> {
        self.end.give_away()
    }

    /// The next message, waiting for it as long as `patience` allows.
    ///
    /// # Errors
    ///
    /// [`RingError::Closed`] and [`RingError::PeerGone`] once every message is read; the others of
    /// [`RingError`].
    pub fn receive(&mut self, patience: Patience) -> Result<Message<'_>, RingError> {
        let mut word = None;
        loop {
            if let Some(record) = self.next(word)? {
                return Ok(Message { reader: self, record });
            }
            let seen = self.end.look()?;
            // What is not known of it yet is looked at before any wait.
            word = Some(if self.knows(seen) { self.end.wait(seen, patience)? } else { seen });
        }
    }

    /// The next message, if it is there; never waits.
    ///
    /// # Errors
    ///
    /// As of [`Reader::receive`].
    pub fn try_receive(&mut self) -> Result<Option<Message<'_>>, RingError> {
        let mut record = self.next(None)?;
        if record.is_none() {
            let word = self.end.look()?;
            record = self.next(Some(word))?;
        }
        Ok(record.map(|record| Message { reader: self, record }))
    }

    /// As [`Reader::try_receive`]; `None` also has [`AsFd`] become readable when there is a
    /// message, or the writer is gone.
    ///
    /// # Errors
    ///
    /// As of [`Reader::receive`].
    pub fn receive_or_watch(&mut self) -> Result<Option<Message<'_>>, RingError> {
        let is_gone = self.end.unwatch()?;
        let mut word = self.end.look()?;
        let record = loop {
            if let Some(record) = self.next(Some(word))? {
                break record;
            }
            if is_gone {
                return Err(RingError::PeerGone);
            }
            match self.end.watch(word)? {
                None => return Ok(None),
                Some(changed) => word = changed,
            }
        };
        Ok(Some(Message { reader: self, record }))
    }

    /// Whether `word` says nothing that is not known.
    fn knows(&self, word: u32) -> bool {
        word == self.written
    }

    /// The record that is next, by what is known and by what the writer says in `word`.
    fn next(&mut self, word: Option<u32>) -> Result<Option<Record>, RingError> {
        if self.is_damaged {
            return Err(RingError::Damaged);
        }
        let result = self.understand(word);
        self.is_damaged = matches!(result, Err(RingError::Damaged));
        result
    }

    fn understand(&mut self, word: Option<u32>) -> Result<Option<Record>, RingError> {
        let capacity = self.end.layout.capacity();
        if let Some(word) = word.filter(|_| self.written == self.read) {
            let written = Position::of_word(word)?;
            filled(written.at, self.read, capacity)?;
            self.written = written.at;
            if written.at == self.read && written.is_closed {
                return Err(RingError::Closed);
            }
        }
        let filled = filled(self.written, self.read, capacity)?;
        if filled == 0 {
            return Ok(None);
        }
        let length_at = |offset| Ok(self.end.layout.length_word(offset)?.load(Ordering::Relaxed));
        find(self.read, filled, capacity, length_at).map(Some)
    }
}

impl AsFd for Reader {
    /// The socket that [`Reader::receive_or_watch`] has become readable.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.bell()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.end.ends_with_us() {
            // Nobody could be told of a failure, and the writer sees the socket's end as well.
            let _closed = self.end.publish(self.read | CLOSED).is_ok();
        }
    }
}

/// A message in the ring, to be read in place. Dropping it makes room for others.
///
/// The writer can still change its bytes: decide by what was copied, not by what is looked at
/// twice.
///
/// ```
/// use libipc::Patience;
///
/// let (mut writer, mut reader) = libipc::ring::pair(4096)?;
/// writer.send(b"hello", Patience::Forever)?;
/// let message = reader.receive(Patience::Forever)?;
/// let mut end = [0; 2];
/// message.read(3, &mut end)?;
/// assert_eq!((message.length(), &end), (5, b"lo"));
/// # Ok::<(), libipc::ring::RingError>(())
/// ```
#[derive(Debug)]
pub struct Message<'a> {
    reader: &'a mut Reader,
    record: Record,
}

impl Message<'_> {
    /// Its bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        widen(self.record.length)
    }

    /// Copies the bytes at `offset` into `buffer`.
    ///
    /// # Errors
    ///
    /// [`RingError::Outside`] if the message has not so many.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), RingError> {
        let at = self.place(offset, buffer.len())?;
        Ok(self.reader.end.layout.map().copy_out(at, buffer)?)
    }

    /// A copy of all of it.
    ///
    /// # Errors
    ///
    /// [`RingError::System`] if there is no memory for it.
    pub fn to_vec(&self) -> Result<Vec<u8>, RingError> {
        let mut copy = Vec::new();
        let reserved = copy.try_reserve_exact(self.length());
        reserved.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        copy.resize(self.length(), 0);
        self.read(0, &mut copy)?;
        Ok(copy)
    }

    /// The bytes in place.
    ///
    /// # Errors
    ///
    /// Not expected.
    pub fn cells(&self) -> Result<&[AtomicU8], RingError> {
        let at = self.place(0, self.length())?;
        Ok(self.reader.end.layout.map().cells(at, self.length())?)
    }

    /// Writes `length` bytes at `offset` to `file` without a copy of ours. How many went.
    ///
    /// # Errors
    ///
    /// [`RingError::Outside`], or the kernel's.
    pub fn write_to(
        &self,
        file: BorrowedFd<'_>,
        offset: usize,
        length: usize,
    ) -> Result<usize, RingError> {
        let at = self.place(offset, length)?;
        Ok(self.reader.end.layout.map().write_to(file, at, length)?)
    }

    fn place(&self, offset: usize, length: usize) -> Result<usize, OutsideMap> {
        let mapped = self.length();
        match offset.checked_add(length) {
            Some(end) if end <= mapped => Ok(message_at(self.record) + offset),
            _ => Err(OutsideMap { offset, length, mapped }),
        }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        self.reader.read = self.record.end;
        // It fails only if the memory were no longer mapped.
        let _published = self.reader.end.publish(self.record.end).is_ok();
    }
}
