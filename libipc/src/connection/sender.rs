//! The direction to the peer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::libc;
use nix::poll::PollFlags;
use sys::ancillary::{self, DESCRIPTORS_MOST, Wait};

use super::observer::Watch;
use super::receiver::is_blocked;
use super::{Carrier, ConnectionError, Direction, Options, Passed};
use crate::channel::Channel;
use crate::decoder::Header;
use crate::frame::FrameError;
use crate::patience::Patience;

/// Bytes of messages that are gathered for one call of the kernel.
const GATHERED_MOST: usize = 32 << 10;

/// Up to so many bytes, copying a payload behind its header and sending one piece takes less time
/// than having the kernel gather two.
const COPIED_BYTES: usize = 4 << 10;

/// The half of a [`Connection`](super::Connection) that sends.
///
/// What is queued when it is dropped is not sent.
///
/// ```
/// use libipc::connection::Options;
/// use libipc::{Channel, Connection, Patience};
///
/// let (near, far) = Connection::pair(Options::default())?;
/// let ((_, mut sender), (mut receiver, _)) = (near.split(), far.split());
/// let sending = std::thread::spawn(move || sender.send(Channel::DATA, b"from a thread"));
/// assert_eq!(receiver.receive(Patience::Forever)?.payload, "from a thread");
/// # sending.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Sender {
    socket: Arc<OwnedFd>,
    pub(super) options: Options,
    /// Whether the peer is on another host.
    leads_elsewhere: bool,
    outgoing: VecDeque<Batch>,
    outgoing_bytes: usize,
    /// The memory of the batch that left last, for the next one.
    spare: Vec<u8>,
    pub(super) watch: Watch,
}

/// Bytes that leave together.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    sent: usize,
}

impl Sender {
    pub(super) fn new(socket: Arc<OwnedFd>, options: Options, leads_elsewhere: bool) -> Self {
        let (outgoing, spare) = (VecDeque::new(), Vec::new());
        let watch = Watch::default();
        Self { socket, options, leads_elsewhere, outgoing, outgoing_bytes: 0, spare, watch }
    }

    /// As [`Connection::send`](super::Connection::send).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        self.send_within(channel, payload, &[], Patience::Forever)
    }

    /// As [`Connection::send_within`](super::Connection::send_within).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_within(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Patience,
    ) -> Result<(), ConnectionError> {
        self.send_unseen(channel, payload, descriptors, patience)?;
        self.tell(channel, payload, descriptors.len());
        Ok(())
    }

    fn tell(&self, channel: Channel, payload: &[u8], descriptors: usize) {
        let bytes = payload.len();
        self.watch.tell(Passed { direction: Direction::Sent, channel, bytes, descriptors });
    }

    fn send_unseen(
        &mut self,
        channel: Channel,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Patience,
    ) -> Result<(), ConnectionError> {
        let header = self.header(channel, payload.len())?;
        self.judge(descriptors)?;
        if descriptors.is_empty() && self.can_join(header.bytes().len() + payload.len()) {
            return self.join(header.bytes(), payload, patience);
        }
        if !self.flush(patience)? {
            return Err(ConnectionError::TimedOut);
        }
        loop {
            match self.begin(header.bytes(), payload, descriptors, patience.in_call()) {
                Ok(sent) => return self.finish(header.bytes(), payload, sent, patience),
                Err(error) if is_blocked(&error) => {
                    let is_ready = patience.wait(self.as_fd(), PollFlags::POLLOUT);
                    if !is_ready.map_err(ConnectionError::System)? {
                        return Err(ConnectionError::TimedOut);
                    }
                }
                Err(error) => return Err(self.refused(error, payload.len())),
            }
        }
    }

    /// Whether what waits to be sent can leave in one piece with a message of that length.
    fn can_join(&self, total: usize) -> bool {
        let gathers = matches!(self.options.carrier, Carrier::Stream(_));
        let has_room = |batch: &Batch| batch.bytes.len() + total <= GATHERED_MOST;
        gathers && self.outgoing.back().is_some_and(has_room)
    }

    /// Sends a message together with what waits before it.
    fn join(
        &mut self,
        header: &[u8],
        payload: &[u8],
        patience: Patience,
    ) -> Result<(), ConnectionError> {
        let start = self.outgoing.back().map_or(0, |batch| batch.bytes.len());
        self.push(&[header, payload])?;
        if self.flush(patience)? {
            return Ok(());
        }
        match self.outgoing.back_mut() {
            Some(batch) if batch.sent <= start => {
                batch.bytes.truncate(start);
                self.outgoing_bytes -= header.len() + payload.len();
                Err(ConnectionError::TimedOut)
            }
            _ => Ok(()),
        }
    }

    /// Sends a message, or as much of its beginning as the kernel takes.
    fn begin(
        &mut self,
        header: &[u8],
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
        wait: Wait,
    ) -> io::Result<usize> {
        if !descriptors.is_empty() || payload.len() > COPIED_BYTES {
            let parts = [IoSlice::new(header), IoSlice::new(payload)];
            return ancillary::send_parts(self.as_fd(), &parts, descriptors, wait);
        }
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(payload);
        let sent = ancillary::send(self.as_fd(), &bytes, &[], wait);
        bytes.clear();
        self.spare = bytes;
        sent
    }

    /// Sends the rest of a message, and keeps what does not leave in time.
    fn finish(
        &mut self,
        header: &[u8],
        payload: &[u8],
        mut sent: usize,
        patience: Patience,
    ) -> Result<(), ConnectionError> {
        let total = header.len() + payload.len();
        while sent < total {
            let head = header.get(sent..).unwrap_or_default();
            let rest = payload.get(sent.saturating_sub(header.len())..).unwrap_or_default();
            let parts = [IoSlice::new(head), IoSlice::new(rest)];
            match ancillary::send_parts(self.as_fd(), &parts, &[], patience.in_call()) {
                Ok(count) => sent += count,
                Err(error) if is_blocked(&error) => {
                    let is_ready = patience.wait(self.as_fd(), PollFlags::POLLOUT);
                    if !is_ready.map_err(ConnectionError::System)? {
                        self.push(&[head, rest])?;
                        return Ok(());
                    }
                }
                Err(error) => return Err(ConnectionError::of(error)),
            }
        }
        Ok(())
    }

    /// As [`Connection::queue`](super::Connection::queue).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn queue(&mut self, channel: Channel, payload: &[u8]) -> Result<(), ConnectionError> {
        let header = self.header(channel, payload.len())?;
        let most = self.options.outgoing_most;
        let total = header.bytes().len() + payload.len();
        if self.outgoing_bytes + total > most {
            self.flush(Patience::Never)?;
        }
        if self.outgoing_bytes + total > most {
            return Err(ConnectionError::QueueFull { most });
        }
        self.push(&[header.bytes(), payload])?;
        self.tell(channel, payload, 0);
        if self.outgoing_bytes >= GATHERED_MOST {
            self.flush(Patience::Never)?;
        }
        Ok(())
    }

    /// Puts bytes behind what waits.
    fn push(&mut self, parts: &[&[u8]]) -> Result<(), FrameError> {
        let total = parts.iter().map(|part| part.len()).sum();
        if !self.can_join(total) {
            let bytes = std::mem::take(&mut self.spare);
            self.outgoing.push_back(Batch { bytes, sent: 0 });
        }
        if let Some(batch) = self.outgoing.back_mut() {
            let no_memory = |_| FrameError::NoMemory { bytes: total };
            batch.bytes.try_reserve(total).map_err(no_memory)?;
            for part in parts {
                batch.bytes.extend_from_slice(part);
            }
            self.outgoing_bytes += total;
        }
        Ok(())
    }

    /// As [`Connection::flush`](super::Connection::flush).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn flush(&mut self, patience: Patience) -> Result<bool, ConnectionError> {
        while let Some(batch) = self.outgoing.front_mut() {
            let rest = batch.bytes.get(batch.sent..).unwrap_or_default();
            match ancillary::send(self.socket.as_fd(), rest, &[], patience.in_call()) {
                Ok(sent) => {
                    batch.sent += sent;
                    self.outgoing_bytes -= sent;
                    if batch.sent == batch.bytes.len() {
                        self.recycle();
                    }
                }
                Err(error) if is_blocked(&error) => {
                    let is_ready = patience.wait(self.socket.as_fd(), PollFlags::POLLOUT);
                    if !is_ready.map_err(ConnectionError::System)? {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    let length = rest.len();
                    return Err(self.refused(error, length));
                }
            }
        }
        Ok(true)
    }

    /// Takes the first batch out, and keeps its memory unless it is much.
    fn recycle(&mut self) {
        let Some(Batch { mut bytes, .. }) = self.outgoing.pop_front() else { return };
        if bytes.capacity() <= 2 * GATHERED_MOST {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing_bytes
    }

    pub(super) fn allow_payload(&mut self, most: usize) {
        self.options.payload_most = most;
        self.options.outgoing_most = self.options.outgoing_most.max(most + GATHERED_MOST);
    }

    fn header(&self, channel: Channel, length: usize) -> Result<Header, FrameError> {
        let most = self.options.payload_most;
        if length > most {
            return Err(FrameError::TooLong { length, most });
        }
        match self.options.carrier {
            Carrier::Stream(framing) => framing.header(channel, length),
            Carrier::Packets if channel != Channel::default() => {
                Err(FrameError::NoChannels { channel })
            }
            Carrier::Packets => Ok(Header::default()),
        }
    }

    fn judge(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), ConnectionError> {
        if descriptors.len() > DESCRIPTORS_MOST {
            return Err(ConnectionError::TooManyDescriptors { most: DESCRIPTORS_MOST });
        }
        // A network socket would lose them without a word, and so would a daemon that has one.
        if !descriptors.is_empty() && (self.leads_elsewhere || !sys::socket::is_unix(self.as_fd())?)
        {
            return Err(ConnectionError::NoDescriptorsHere);
        }
        Ok(())
    }

    /// Why the kernel did not take a message of `length` bytes.
    fn refused(&self, error: io::Error, length: usize) -> ConnectionError {
        if self.options.carrier == Carrier::Packets && error.raw_os_error() == Some(libc::EMSGSIZE)
        {
            return ConnectionError::PacketTooLong { length };
        }
        ConnectionError::of(error)
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Stream;

    /// A sender whose peer reads nothing, and has no room left.
    fn blocked() -> (Sender, Stream) {
        let (ours, theirs) = Stream::pair().unwrap();
        let socket: OwnedFd = ours.into();
        while ancillary::send(socket.as_fd(), &[0; 4096], &[], Wait::Never).is_ok() {}
        (Sender::new(Arc::new(socket), Options::default(), false), theirs)
    }

    #[test]
    fn messages_are_gathered_up_to_32_kib_and_one_more_byte_leaves_by_itself() {
        const HALF: usize = (16 << 10) - crate::frame::HEADER_BYTES;
        let (mut sender, _peer) = blocked();
        let lengths = |sender: &Sender| {
            sender.outgoing.iter().map(|batch| batch.bytes.len()).collect::<Vec<_>>()
        };
        sender.queue(Channel::DATA, &vec![1; HALF]).unwrap();
        sender.queue(Channel::DATA, &vec![2; HALF]).unwrap();
        assert_eq!(lengths(&sender), [32 << 10]);
        sender.queue(Channel::DATA, &[]).unwrap();
        sender.queue(Channel::DATA, &vec![3; HALF]).unwrap();
        sender.queue(Channel::DATA, &vec![4; HALF]).unwrap();
        let header = crate::frame::HEADER_BYTES;
        assert_eq!(lengths(&sender), [32 << 10, header + (16 << 10), 16 << 10]);
        sender.queue(Channel::DATA, &vec![5; 100_000]).unwrap();
        assert_eq!(lengths(&sender).last(), Some(&(header + 100_000)), "a long one goes alone");
        assert_eq!(sender.outgoing_bytes(), (64 << 10) + header + header + 100_000);
    }
}
