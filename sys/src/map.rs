//! Memory that other processes have too.
//!
//! Another process may write to it at any moment, out of malice too. So nothing here makes a
//! reference to plain bytes in it: it is read and written through atomics, and copied out and in
//! by what amounts to relaxed atomic loads and stores. What a copy holds is the caller's alone;
//! the memory itself may have another content the moment after.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// A file's first bytes, mapped for reading and writing, in common with everybody who maps it.
///
/// Copies from several threads at once are allowed: each byte of the result is one that somebody
/// wrote. The file may be closed; the mapping stays until this is dropped.
///
/// Whoever can shorten the file can have this process ended by SIGBUS. Map only files whose seals
/// forbid that: [`crate::memfd`].
#[derive(Debug)]
pub struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping, not to a thread, and is reached through atomics only.
unsafe impl Send for Map {}
// SAFETY: as above: all access is atomic, or a copy that amounts to atomic accesses.
unsafe impl Sync for Map {}

/// Bytes from which on the processor's own copy is faster than a loop over words. Measured on
/// `x86_64`: a string move costs about 30 cycles before the first byte.
const LONG: usize = 512;

impl Map {
    /// Maps the first `length` bytes of `file`.
    ///
    /// # Errors
    ///
    /// The kernel's: `EINVAL` for no bytes, `ENOMEM` where the room is missing, `EPERM` for a file
    /// sealed against writing, `EACCES` for one not open for both.
    pub fn new(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses the place, so no existing memory is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        let error = io::Error::last_os_error();
        match NonNull::new(start.cast()) {
            Some(place) if start != libc::MAP_FAILED => Ok(Self { start: place, length }),
            _ => Err(error),
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The 32 bits at `offset`, in this machine's byte order.
    ///
    /// # Errors
    ///
    /// [`OutsideMap`] also if `offset` is no multiple of four.
    pub fn word(&self, offset: usize) -> Result<&AtomicU32, OutsideMap> {
        let place = self.aligned(offset, size_of::<AtomicU32>())?;
        // SAFETY: in bounds and aligned; the mapping outlives the borrow of self, and no reference
        // to plain memory in it exists.
        Ok(unsafe { place.cast().as_ref() })
    }

    /// The 64 bits at `offset`, in this machine's byte order.
    ///
    /// # Errors
    ///
    /// [`OutsideMap`] also if `offset` is no multiple of eight.
    pub fn long_word(&self, offset: usize) -> Result<&AtomicU64, OutsideMap> {
        let place = self.aligned(offset, size_of::<AtomicU64>())?;
        // SAFETY: as in `word`.
        Ok(unsafe { place.cast().as_ref() })
    }

    /// The bytes themselves, to be looked at and changed in place, while others may do the same.
    ///
    /// # Errors
    ///
    /// [`OutsideMap`].
    pub fn cells(&self, offset: usize, length: usize) -> Result<&[AtomicU8], OutsideMap> {
        let start = self.place(offset, length)?;
        // SAFETY: in bounds; a byte is aligned everywhere; lifetime and aliasing as in `word`.
        Ok(unsafe { NonNull::slice_from_raw_parts(start.cast(), length).as_ref() })
    }

    /// Copies the bytes at `offset` out.
    ///
    /// # Errors
    ///
    /// [`OutsideMap`]; then nothing is copied.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) -> Result<(), OutsideMap> {
        let from = self.place(offset, into.len())?;
        if into.len() >= LONG && cfg!(all(target_arch = "x86_64", not(miri))) {
            // SAFETY: both ranges are as long as `into`, which is ours alone.
            unsafe { move_bytes(from.as_ptr(), into.as_mut_ptr(), into.len()) };
            return Ok(());
        }
        let (first, words, last) = split(self.cells(offset, into.len())?);
        let (into_first, rest) = into.split_at_mut(first.len());
        let (into_words, into_last) = rest.split_at_mut(words.len() * size_of::<u64>());
        for (to, from) in into_first.iter_mut().zip(first).chain(into_last.iter_mut().zip(last)) {
            *to = from.load(Ordering::Relaxed);
        }
        for (to, from) in into_words.as_chunks_mut().0.iter_mut().zip(words) {
            *to = from.load(Ordering::Relaxed).to_ne_bytes();
        }
        Ok(())
    }

    /// Copies bytes in at `offset`.
    ///
    /// # Errors
    ///
    /// [`OutsideMap`]; then nothing is copied.
    pub fn copy_in(&self, offset: usize, from: &[u8]) -> Result<(), OutsideMap> {
        let to = self.place(offset, from.len())?;
        if from.len() >= LONG && cfg!(all(target_arch = "x86_64", not(miri))) {
            // SAFETY: both ranges are as long as `from`, which nobody changes meanwhile.
            unsafe { move_bytes(from.as_ptr(), to.as_ptr(), from.len()) };
            return Ok(());
        }
        let (first, words, last) = split(self.cells(offset, from.len())?);
        let (from_first, rest) = from.split_at(first.len());
        let (from_words, from_last) = rest.split_at(words.len() * size_of::<u64>());
        for (from, to) in from_first.iter().zip(first).chain(from_last.iter().zip(last)) {
            to.store(*from, Ordering::Relaxed);
        }
        for (from, to) in from_words.as_chunks().0.iter().zip(words) {
            to.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads from `file` right into this memory: at most `length` bytes, to `offset`. How many
    /// came; zero is the end of the file.
    ///
    /// # Errors
    ///
    /// The kernel's; [`io::ErrorKind::InvalidInput`] for a range outside.
    pub fn read_from(
        &self,
        file: BorrowedFd<'_>,
        offset: usize,
        length: usize,
    ) -> io::Result<usize> {
        let to = self.place(offset, length)?;
        loop {
            // SAFETY: the range is in bounds, and the kernel writes bytes as any process may.
            let count = unsafe { libc::read(file.as_raw_fd(), to.as_ptr().cast(), length) };
            if let Some(result) = counted(count) {
                return result;
            }
        }
    }

    /// Writes `length` bytes at `offset` to `file` without a copy of ours. How many went.
    ///
    /// # Errors
    ///
    /// The kernel's; [`io::ErrorKind::InvalidInput`] for a range outside.
    pub fn write_to(
        &self,
        file: BorrowedFd<'_>,
        offset: usize,
        length: usize,
    ) -> io::Result<usize> {
        let from = self.place(offset, length)?;
        loop {
            // SAFETY: the range is in bounds; the kernel reads what is there at the time.
            let count = unsafe { libc::write(file.as_raw_fd(), from.as_ptr().cast(), length) };
            if let Some(result) = counted(count) {
                return result;
            }
        }
    }

    fn place(&self, offset: usize, length: usize) -> Result<NonNull<u8>, OutsideMap> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length) {
            return Err(OutsideMap { offset, length, mapped: self.length });
        }
        // SAFETY: the offset is within the mapping.
        Ok(unsafe { self.start.add(offset) })
    }

    fn aligned(&self, offset: usize, size: usize) -> Result<NonNull<u8>, OutsideMap> {
        let place = self.place(offset, size)?;
        if offset.is_multiple_of(size) {
            return Ok(place);
        }
        Err(OutsideMap { offset, length: size, mapped: self.length })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every borrow of it has ended.
        let _unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The bytes before the first whole word, the words, and the bytes behind.
fn split(cells: &[AtomicU8]) -> (&[AtomicU8], &[AtomicU64], &[AtomicU8]) {
    // SAFETY: eight atomic bytes have the size, the validity and the interior mutability of one
    // atomic word, and `align_to` sees to the alignment.
    unsafe { cells.align_to() }
}

/// Copies as a loop of relaxed atomic byte accesses would, which is what makes it right where
/// another process writes at the same time: nothing here can be assumed to stay, or be read twice.
///
/// # Safety
///
/// Both ranges are `length` bytes long, apart from each other, and stay mapped.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn move_bytes(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the calling convention.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Never called: elsewhere the loop over words does it.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn move_bytes(_from: *const u8, _to: *mut u8, _length: usize) {}

/// What a read or write says; `None`: a signal came before anything moved.
fn counted(count: isize) -> Option<io::Result<usize>> {
    if let Ok(count) = usize::try_from(count) {
        return Some(Ok(count));
    }
    let error = io::Error::last_os_error();
    (error.kind() != io::ErrorKind::Interrupted).then_some(Err(error))
}

/// A range that is not, or not wholly, in the map; or one word that is not aligned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutsideMap {
    /// Where it would begin.
    pub offset: usize,
    /// Its bytes.
    pub length: usize,
    /// The bytes that are mapped.
    pub mapped: usize,
}

impl fmt::Display for OutsideMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, length, mapped } = self;
        write!(f, "{length} bytes at {offset} are not within the {mapped} bytes of shared memory")
    }
}

impl std::error::Error for OutsideMap {}

impl From<OutsideMap> for io::Error {
    fn from(error: OutsideMap) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::memfd;

    fn pair(length: usize) -> (Map, Map) {
        let file = memfd::create(length).unwrap();
        (Map::new(file.as_fd(), length).unwrap(), Map::new(file.as_fd(), length).unwrap())
    }

    #[test]
    fn what_one_copies_in_the_other_copies_out_at_any_offset_and_length() {
        let (left, right) = pair(8192);
        let text: Vec<u8> = (0..4096_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
        for offset in [0, 1, 7, 8, 9, 63] {
            for length in [0, 1, 7, 8, 9, 17, 511, 512, 513, 4096] {
                left.copy_in(offset, &text[..length]).unwrap();
                let mut copy = vec![0; length];
                right.copy_out(offset, &mut copy).unwrap();
                assert_eq!(copy, text[..length], "{length} bytes at {offset}");
                let cells = right.cells(offset, length).unwrap();
                assert!(cells.iter().zip(&text).all(|(a, b)| a.load(Ordering::Relaxed) == *b));
            }
        }
    }

    #[test]
    fn a_copy_touches_nothing_beside_its_range() {
        let (left, right) = pair(4096);
        for length in [3, 8, 600] {
            left.copy_in(0, &[0; 4096]).unwrap();
            left.copy_in(100, &vec![0xff; length]).unwrap();
            let mut all = vec![0; 4096];
            right.copy_out(0, &mut all).unwrap();
            assert_eq!(all.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 255 * length);
            assert_eq!((all[99], all[100], all[100 + length]), (0, 0xff, 0));
        }
    }

    #[test]
    fn ranges_outside_and_crooked_words_are_refused() {
        let (map, _) = pair(4096);
        assert!(map.copy_out(4095, &mut [0; 2]).is_err());
        assert!(map.copy_in(usize::MAX, &[0]).is_err());
        assert!(map.cells(0, 4097).is_err());
        assert!(map.word(4092).is_ok() && map.word(4096).is_err() && map.word(2).is_err());
        assert!(map.long_word(4088).is_ok() && map.long_word(4092).is_err());
        assert_eq!(
            map.word(4094).unwrap_err().to_string(),
            "4 bytes at 4094 are not within the 4096 bytes of shared memory"
        );
        assert_eq!(
            map.write_to(memfd::create(1).unwrap().as_fd(), 1, 4096).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn files_are_read_and_written_in_place() {
        let (map, other) = pair(4096);
        let file = memfd::create(5).unwrap();
        let content = Map::new(file.as_fd(), 5).unwrap();
        content.copy_in(0, b"hello").unwrap();
        assert_eq!(map.read_from(file.as_fd(), 10, 100).unwrap(), 5);
        assert_eq!(map.read_from(file.as_fd(), 10, 100).unwrap(), 0);
        let target = memfd::create(8).unwrap();
        assert_eq!(other.write_to(target.as_fd(), 10, 5).unwrap(), 5);
        let mut copy = [0; 8];
        Map::new(target.as_fd(), 8).unwrap().copy_out(0, &mut copy).unwrap();
        assert_eq!(&copy, b"hello\0\0\0");
    }

    #[test]
    fn nothing_and_too_much_cannot_be_mapped() {
        let file = memfd::create(8).unwrap();
        let errno = |length| Map::new(file.as_fd(), length).unwrap_err().raw_os_error();
        assert_eq!(errno(0), Some(libc::EINVAL));
        assert_eq!(errno(1 << 62), Some(libc::ENOMEM));
    }
}
