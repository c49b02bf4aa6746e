//! Where records begin and end. No memory, no waiting: numbers in, numbers out.
//!
//! Positions count bytes modulo 2^32 and are multiples of eight; the difference of two is how much
//! lies between them, because no ring is that long.

use super::RingError;

/// Bytes before a message.
pub(super) const HEADER_BYTES: u32 = 8;

/// In place of a length: the next record is at the start of the ring.
pub(super) const SKIP: u32 = u32::MAX;

/// The other end is closed; in the position that it publishes.
pub(super) const CLOSED: u32 = 1;

/// A record in the ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Record {
    /// Where it begins, from the first byte for records.
    pub(super) offset: u32,
    /// Bytes of its message.
    pub(super) length: u32,
    /// The position behind it.
    pub(super) end: u32,
}

/// What a position word says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Position {
    pub(super) at: u32,
    pub(super) is_closed: bool,
}

impl Position {
    /// Reads a word that the other end wrote.
    pub(super) fn of_word(word: u32) -> Result<Self, RingError> {
        if word & 0b110 != 0 {
            return Err(RingError::Damaged);
        }
        Ok(Self { at: word & !CLOSED, is_closed: word & CLOSED != 0 })
    }
}

/// Bytes from `read` to `written`, if the one can be ahead of the other so far.
pub(super) fn filled(written: u32, read: u32, capacity: u32) -> Result<u32, RingError> {
    let filled = written.wrapping_sub(read);
    if filled > capacity { Err(RingError::Damaged) } else { Ok(filled) }
}

/// Bytes of the longest message.
pub(super) fn longest(capacity: u32) -> u32 {
    capacity / 2 - HEADER_BYTES
}

/// Bytes that a message takes with its header; it is no longer than [`longest`].
fn taken(length: u32) -> u32 {
    HEADER_BYTES + length.next_multiple_of(8)
}

/// Where the next record goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Placing {
    pub(super) record: Record,
    /// Where to say that the record is at the start of the ring.
    pub(super) skip: Option<u32>,
    /// Bytes that have to be free.
    pub(super) room: u32,
}

impl Placing {
    /// The same place for a message that turned out to have only `length` bytes.
    pub(super) fn shortened(mut self, length: u32) -> Self {
        let longer = taken(self.record.length) - taken(length.min(self.record.length));
        self.record.length = length.min(self.record.length);
        self.record.end = self.record.end.wrapping_sub(longer);
        self.room -= longer;
        self
    }
}

/// Places a message of `length` bytes at `position`.
pub(super) fn place(position: u32, length: u32, capacity: u32) -> Placing {
    let offset = position & (capacity - 1);
    let to_end = capacity - offset;
    let taken = taken(length);
    if taken <= to_end {
        let record = Record { offset, length, end: position.wrapping_add(taken) };
        return Placing { record, skip: None, room: taken };
    }
    // Half of the ring at most each: the sum is never more than the whole.
    let room = to_end + taken;
    let record = Record { offset: 0, length, end: position.wrapping_add(room) };
    Placing { record, skip: Some(offset), room }
}

/// Finds the record at `position`, where `filled` bytes are to be read and `length_at` reads the
/// length that stands at an offset, once.
pub(super) fn find(
    position: u32,
    filled: u32,
    capacity: u32,
    length_at: impl Fn(u32) -> Result<u32, RingError>,
) -> Result<Record, RingError> {
    let mut offset = position & (capacity - 1);
    let (mut skipped, mut length) = (0, length_at(offset)?);
    if length == SKIP {
        skipped = capacity - offset;
        if offset == 0 || skipped >= filled {
            return Err(RingError::Damaged);
        }
        offset = 0;
        length = length_at(0)?;
    }
    if length > longest(capacity) {
        return Err(RingError::Damaged);
    }
    let taken = taken(length);
    if taken > filled - skipped || taken > capacity - offset {
        return Err(RingError::Damaged);
    }
    Ok(Record { offset, length, end: position.wrapping_add(skipped + taken) })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const CAPACITY: u32 = 4096;

    #[test]
    fn the_longest_message_fits_wherever_the_ring_stands() {
        for position in (0..2 * CAPACITY).step_by(8) {
            assert!(place(position, longest(CAPACITY), CAPACITY).room <= CAPACITY);
        }
    }

    #[test]
    fn positions_go_on_past_the_end_of_their_numbers() {
        let placing = place(u32::MAX - 7, 16, CAPACITY);
        assert_eq!((placing.record.offset, placing.skip), (0, Some(CAPACITY - 8)));
        assert_eq!((placing.record.end, placing.room), (24, 32));
        assert_eq!(filled(8, u32::MAX - 7, CAPACITY).unwrap(), 16);
    }

    #[test]
    fn numbers_that_make_no_sense_are_damage() {
        let find = |position, filled, length| find(position, filled, CAPACITY, |_| Ok(length));
        assert_eq!(find(0, 16, 8).unwrap(), Record { offset: 0, length: 8, end: 16 });
        // Longer than what was written, than a message may be, than the rest of the ring.
        assert!(find(0, 16, 9).is_err());
        assert!(find(0, 4096, longest(CAPACITY) + 1).is_err());
        assert!(find(4088, 16, 8).is_err());
        // To the start from the start, and to a start where nothing was written.
        assert!(find(0, 4096, SKIP).is_err());
        assert!(find(4088, 8, SKIP).is_err());
        assert!(filled(0, 8, CAPACITY).is_err() && filled(4104, 0, CAPACITY).is_err());
        assert!(Position::of_word(2).is_err() && Position::of_word(4).is_err());
        assert_eq!(Position::of_word(9).unwrap(), Position { at: 8, is_closed: true });
    }

    proptest! {
        #[test]
        fn what_is_placed_is_found(
            start in any::<u32>(),
            lengths in prop::collection::vec(0..=longest(CAPACITY), 1..20),
        ) {
            let mut position = start & !7;
            for length in lengths {
                let Placing { record, skip, room } = place(position, length, CAPACITY);
                let mut words = HashMap::from([(record.offset, length)]);
                words.extend(skip.map(|offset| (offset, SKIP)));
                let found = find(position, room, CAPACITY, |offset| Ok(words[&offset]));
                prop_assert_eq!(found.unwrap(), record);
                position = record.end;
            }
        }

        #[test]
        fn no_content_leads_outside(position: u32, used in 8..=CAPACITY, words: [u32; 2]) {
            let position = position & !7;
            let used = used & !7;
            let read = |offset| Ok(words[usize::from(offset == 0)] % (CAPACITY + 9));
            if let Ok(record) = find(position, used, CAPACITY, read) {
                prop_assert!(record.offset + HEADER_BYTES + record.length <= CAPACITY);
                prop_assert!(record.end.wrapping_sub(position) <= used);
            }
        }
    }
}
