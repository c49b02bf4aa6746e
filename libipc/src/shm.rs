//! Memory in common between processes.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use sys::map::Map;
use sys::memfd;

mod error;
mod named;

pub use error::ShmError;
use named::Link;

/// Memory that several processes share.
///
/// It is a file in memory whose length is fixed by seals, passed as a descriptor in a message
/// ([`AsFd`], [`Shm::from_descriptor`]) or found by name ([`Shm::open`]). Whatever the other
/// processes do to it or write into it, using it here never ends in a signal and never reaches
/// outside; what they wrote is their word alone, so look at a copy ([`Shm::read`]), and check it.
///
/// Reading and writing from many threads and processes at once is allowed, and is not ordered: use
/// [`crate::ring`] to pass messages, or a message to say that something is ready.
///
/// A region begins with a header of 24 bytes, of the layout that GIPS has: its size and the most
/// that it can grow to, both in bytes without the header.
///
/// ```
/// use std::num::NonZero;
/// use std::os::fd::AsFd;
/// use libipc::{Channel, Connection, Patience, Shm, connection::Options, shm::LENGTH_MOST};
///
/// let (mut near, mut far) = Connection::pair(Options::default()).unwrap();
/// let ours = Shm::new(NonZero::new(4096).unwrap())?;
/// ours.write(0, b"in memory")?;
/// near.send_within(Channel::DATA, b"", &[ours.as_fd()], Patience::Forever).unwrap();
///
/// let descriptor = far.receive().unwrap().descriptors.remove(0);
/// let theirs = Shm::from_descriptor(descriptor, LENGTH_MOST)?;
/// let mut text = [0; 9];
/// theirs.read(0, &mut text)?;
/// assert_eq!(&text, b"in memory");
/// # Ok::<(), libipc::shm::ShmError>(())
/// ```
#[derive(Debug)]
pub struct Shm {
    // The name goes before the descriptor that it leads to.
    link: Option<Link>,
    descriptor: OwnedFd,
    map: Map,
    most: usize,
}

/// Where the size stands: 64 bits, in this machine's byte order, like all numbers here.
const SIZE_AT: usize = 0;
/// Where the most that it can grow to stands.
const MOST_AT: usize = 8;
/// Where GIPS has its extension and barrier: bytes that are zero.
const ZEROS_AT: usize = 16;
/// Where the content begins.
const HEADER_BYTES: usize = 24;

/// Bytes of a region from elsewhere that [`Shm::open`] and `TryFrom` accept at most: 1 GiB.
pub const LENGTH_MOST: usize = 1 << 30;

impl Shm {
    /// Memory without a name, of `size` zero bytes.
    ///
    /// # Errors
    ///
    /// [`ShmError`].
    pub fn new(size: NonZeroUsize) -> Result<Self, ShmError> {
        Self::growing(size, size)
    }

    /// Memory without a name, of `size` zero bytes, that can be resized up to `most`. What is not
    /// written to takes no memory.
    ///
    /// # Errors
    ///
    /// [`ShmError::TooLong`] if `size` is more than `most`.
    pub fn growing(size: NonZeroUsize, most: NonZeroUsize) -> Result<Self, ShmError> {
        let (size, most) = (size.get(), most.get());
        if size > most {
            return Err(ShmError::TooLong { length: size, most });
        }
        let length = most.checked_add(HEADER_BYTES).ok_or(io::ErrorKind::FileTooLarge)?;
        let descriptor = memfd::create(length)?;
        let map = Map::new(descriptor.as_fd(), length)?;
        for (offset, value) in [(SIZE_AT, size), (MOST_AT, most)] {
            map.long_word(offset)?.store(to_u64(value), Ordering::Relaxed);
        }
        memfd::fix_length(descriptor.as_fd())?;
        Ok(Self { link: None, descriptor, map, most })
    }

    /// Takes over memory that came from another process.
    ///
    /// # Errors
    ///
    /// - [`ShmError::NotFixed`]: its length could change, so using it could end this process.
    /// - [`ShmError::TooLong`]: it is longer than `most` bytes, and nobody asked for that.
    /// - [`ShmError::Damaged`]: it does not begin with the header of a region.
    pub fn from_descriptor(descriptor: OwnedFd, most: usize) -> Result<Self, ShmError> {
        let length = memfd::fixed_length(descriptor.as_fd())?.ok_or(ShmError::NotFixed)?;
        if length > most.saturating_add(HEADER_BYTES) {
            return Err(ShmError::TooLong { length, most });
        }
        if length <= HEADER_BYTES {
            return Err(ShmError::Damaged);
        }
        let map = Map::new(descriptor.as_fd(), length)?;
        let most = checked_header(&map)?;
        Ok(Self { link: None, descriptor, map, most })
    }

    /// Its size in bytes. It grows when somebody resizes it, in whatever process.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = self.size_word().map_or(0, |word| word.load(Ordering::Relaxed));
        // Another process can write anything there: what was mapped is the end, whatever it says.
        usize::try_from(size).map_or(self.most, |size| size.min(self.most))
    }

    /// The bytes to which it can be resized.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Makes it at least `size` bytes long, for all processes; the new bytes are zero. It never
    /// becomes shorter. The size that it has then.
    ///
    /// # Errors
    ///
    /// [`ShmError::TooLong`] past [`Shm::most`].
    pub fn resize(&self, size: usize) -> Result<usize, ShmError> {
        if size > self.most {
            return Err(ShmError::TooLong { length: size, most: self.most });
        }
        self.size_word()?.fetch_max(to_u64(size), Ordering::Relaxed);
        Ok(self.size())
    }

    /// Copies the bytes at `offset` into `buffer`.
    ///
    /// # Errors
    ///
    /// [`ShmError::Outside`] if not all of them are there; then nothing is copied.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), ShmError> {
        let place = self.place(offset, buffer.len())?;
        Ok(self.map.copy_out(place, buffer)?)
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// [`ShmError::Outside`] if there is no room for all of them; then nothing is copied.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), ShmError> {
        let place = self.place(offset, bytes.len())?;
        Ok(self.map.copy_in(place, bytes)?)
    }

    /// The bytes themselves, without a copy. Each may change at any time: load it once, and decide
    /// by what was loaded.
    ///
    /// # Errors
    ///
    /// [`ShmError::Outside`].
    pub fn cells(&self, offset: usize, length: usize) -> Result<&[AtomicU8], ShmError> {
        Ok(self.map.cells(self.place(offset, length)?, length)?)
    }

    /// Another handle to the same memory, to be passed on in a message.
    ///
    /// # Errors
    ///
    /// [`ShmError::System`]: no descriptors left.
    pub fn try_clone(&self) -> Result<Self, ShmError> {
        let descriptor = self.descriptor.try_clone()?;
        let map = Map::new(descriptor.as_fd(), self.map.length())?;
        Ok(Self { link: None, descriptor, map, most: self.most })
    }

    /// The mapping with the header, for what is laid out over it.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    fn size_word(&self) -> Result<&AtomicU64, ShmError> {
        Ok(self.map.long_word(SIZE_AT)?)
    }

    /// Where `length` bytes at `offset` are in the mapping.
    fn place(&self, offset: usize, length: usize) -> Result<usize, ShmError> {
        let size = self.size();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(HEADER_BYTES + offset),
            _ => Err(ShmError::Outside { offset, length, size }),
        }
    }
}

/// The most that the region can grow to, from a header that makes sense.
fn checked_header(map: &Map) -> Result<usize, ShmError> {
    let number = |offset| {
        let value = map.long_word(offset)?.load(Ordering::Relaxed);
        usize::try_from(value).map_err(|_| ShmError::Damaged)
    };
    let (size, most) = (number(SIZE_AT)?, number(MOST_AT)?);
    let fits = most.checked_add(HEADER_BYTES).is_some_and(|end| end <= map.length());
    if !fits || most == 0 || size > most || number(ZEROS_AT)? != 0 {
        return Err(ShmError::Damaged);
    }
    Ok(most)
}

fn to_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

impl AsFd for Shm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl From<Shm> for OwnedFd {
    /// The descriptor alone. A name that the memory had ends.
    fn from(shm: Shm) -> Self {
        shm.descriptor
    }
}

impl TryFrom<OwnedFd> for Shm {
    type Error = ShmError;

    /// [`Shm::from_descriptor`] with [`LENGTH_MOST`].
    fn try_from(descriptor: OwnedFd) -> Result<Self, ShmError> {
        Self::from_descriptor(descriptor, LENGTH_MOST)
    }
}

#[cfg(test)]
mod tests;
