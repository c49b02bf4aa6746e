//! Where everything stands in the memory of a ring.
//!
//! | offset | bytes | written by | what |
//! |---|---|---|---|
//! | 0 | 24 | the maker | the header of shared memory |
//! | 24 | 8 | the maker | `"ipcring1"` |
//! | 32 | 8 | the maker | capacity: a power of two |
//! | 64 | 4 | the writer | how far is written: a count of bytes, modulo 2^32; bit 0: closed |
//! | 68 | 4 | the reader | whether it waits: 0 no, 1 in the call, 2 in a poller |
//! | 128 | 4 | the reader | how far is read; bit 0: closed |
//! | 132 | 4 | the writer | whether it waits |
//! | 192 | capacity | the writer | records |
//!
//! A record begins at a multiple of eight: its length (4 bytes), four unused ones, the message. A
//! record is in one piece; where it would not be, a length of 2^32-1 says to go on at the start.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use sys::map::Map;

use super::RingError;
use super::record::{HEADER_BYTES, Record};
use super::signal::Signal;
use crate::shm::Shm;

/// Bytes of the smallest ring.
pub const CAPACITY_LEAST: usize = 4096;

/// Bytes of the largest ring: 512 MiB.
pub const CAPACITY_MOST: usize = 1 << 29;

const MAGIC_AT: usize = 24;
const MAGIC: u64 = u64::from_ne_bytes(*b"ipcring1");
const CAPACITY_AT: usize = 32;
const WRITTEN_AT: usize = 64;
const READER_WAITS_AT: usize = 68;
const READ_AT: usize = 128;
const WRITER_WAITS_AT: usize = 132;
const RECORDS_AT: usize = 192;

/// The memory of a ring, with its capacity read once and found to fit.
#[derive(Debug)]
pub(super) struct Layout {
    shm: Shm,
    capacity: u32,
}

impl Layout {
    pub(super) fn new(capacity: usize) -> Result<Self, RingError> {
        let too_large = RingError::Capacity { capacity };
        if capacity > CAPACITY_MOST {
            return Err(too_large);
        }
        let capacity = capacity.max(CAPACITY_LEAST).next_power_of_two();
        let length = NonZeroUsize::MIN.saturating_add(capacity + RECORDS_AT - 1);
        let shm = Shm::new(length)?;
        shm.map().long_word(MAGIC_AT)?.store(MAGIC, Ordering::Relaxed);
        let number = u64::try_from(capacity).unwrap_or(0);
        shm.map().long_word(CAPACITY_AT)?.store(number, Ordering::Relaxed);
        Ok(Self { shm, capacity: u32::try_from(capacity).map_err(|_| too_large)? })
    }

    /// The ring in memory from another process.
    pub(super) fn open(descriptor: OwnedFd) -> Result<Self, RingError> {
        let shm = Shm::try_from(descriptor)?;
        let magic = shm.map().long_word(MAGIC_AT)?.load(Ordering::Relaxed);
        let capacity = shm.map().long_word(CAPACITY_AT)?.load(Ordering::Relaxed);
        let capacity = usize::try_from(capacity).map_err(|_| RingError::Damaged)?;
        let fits = (CAPACITY_LEAST..=CAPACITY_MOST).contains(&capacity)
            && capacity.is_power_of_two()
            && RECORDS_AT + capacity <= shm.map().length();
        if magic != MAGIC || !fits {
            return Err(RingError::Damaged);
        }
        let capacity = u32::try_from(capacity).map_err(|_| RingError::Damaged)?;
        Ok(Self { shm, capacity })
    }

    pub(super) fn shm(&self) -> &Shm {
        &self.shm
    }

    pub(super) fn map(&self) -> &Map {
        self.shm.map()
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How far is written, and whether the reader waits for more.
    pub(super) fn written(&self) -> Result<Signal<'_, AtomicU32>, RingError> {
        self.signal(WRITTEN_AT, READER_WAITS_AT)
    }

    /// How far is read, and whether the writer waits for room.
    pub(super) fn read(&self) -> Result<Signal<'_, AtomicU32>, RingError> {
        self.signal(READ_AT, WRITER_WAITS_AT)
    }

    fn signal(&self, position: usize, waits: usize) -> Result<Signal<'_, AtomicU32>, RingError> {
        Ok(Signal { position: self.map().word(position)?, waits: self.map().word(waits)? })
    }

    /// The length word of the record at `offset` from the first.
    pub(super) fn length_word(&self, offset: u32) -> Result<&AtomicU32, RingError> {
        Ok(self.map().word(RECORDS_AT + widen(offset))?)
    }
}

/// Where the message of a record stands in the mapping.
pub(super) fn message_at(record: Record) -> usize {
    RECORDS_AT + widen(record.offset) + widen(HEADER_BYTES)
}

/// A number of bytes within a ring. No address space is smaller.
pub(super) fn widen(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
