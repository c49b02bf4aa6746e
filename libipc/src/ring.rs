//! Messages through memory: one writer, one reader, no system call while both are busy.
//!
//! ```
//! use libipc::Patience;
//!
//! # fn main() -> Result<(), libipc::ring::RingError> {
//! let (mut writer, mut reader) = libipc::ring::pair(64 * 1024)?;
//! writer.send(b"hello", Patience::Forever)?;
//! let message = reader.receive(Patience::Forever)?;
//! assert_eq!(message.to_vec()?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! One end stays, the other goes to another process as two descriptors of a message
//! ([`Reader::into_descriptors`], [`Reader::from_descriptors`], and the same of [`Writer`]): the
//! memory, and a socket that tells when the other process is gone and that a
//! [`Poller`](crate::poller::Poller) can watch.
//!
//! Each end has three ways to wait: not at all (`try_…`, for a loop that has a processor to
//! itself), in the call (`send`, `receive`, with [patience](crate::Patience)), or in a poller (`…_or_watch`).
//!
//! **The other process is not believed.** What it writes into the memory can end the ring
//! ([`RingError::Damaged`]), keep it from moving, or be nonsense as a message; it cannot have this
//! process read or write outside the ring, wait past a deadline, or end by a signal. The bytes of
//! a message that is read in place ([`Message::cells`]) may change while they are looked at.
//!
//! The layout is in the source, `ring/layout.rs`: numbers in the machine's byte order.

mod end;
mod error;
mod layout;
mod reader;
mod record;
mod signal;
mod spin;
mod writer;

#[cfg(all(test, ring_model))]
mod model;
#[cfg(test)]
mod tests;

pub use error::RingError;
pub use layout::{CAPACITY_LEAST, CAPACITY_MOST};
pub use reader::{Message, Reader};
pub use writer::{Slot, Writer};

/// A ring with room for `capacity` bytes, rounded up to a power of two and to
/// [`CAPACITY_LEAST`]: its two ends.
///
/// A message takes eight bytes more than its length, rounded up to eight; the longest one is half
/// of the room. Memory is taken when it is first written to.
///
/// # Errors
///
/// [`RingError::Capacity`] past [`CAPACITY_MOST`]; the kernel's.
pub fn pair(capacity: usize) -> Result<(Writer, Reader), RingError> {
    let (writer, reader) = end::pair(capacity)?;
    Ok((Writer::new(writer)?, Reader::new(reader)?))
}
