//! The buffers of a worker, which its links borrow for a turn, and what they keep between turns.

use libipc::interface::transport::TransportError;

use sys::wiped::Wipe;

use crate::codec::{Codec, Outgoing};

/// Bytes read at once: four records of TLS, with what was kept of an unfinished one.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// Plain bytes sealed at once, so that what comes out is not more than what a link may keep.
pub(crate) const SEAL_BYTES: usize = 60 * 1024;

/// One worker's buffers.
pub(crate) struct Scratch {
    incoming: Box<[u8]>,
    /// What a codec has opened.
    pub(super) plain: Vec<u8>,
    /// What a codec has to send.
    pub(super) outgoing: Outgoing,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            plain: Vec::with_capacity(READ_BYTES),
            outgoing: Outgoing::with_room(READ_BYTES),
        }
    }

    /// Moves what was kept to the front of the buffer; answers how much it was.
    pub(super) fn begin(&mut self, kept: &mut Leftover) -> usize {
        let count = kept.bytes().len().min(self.incoming.len());
        if let Some(front) = self.incoming.get_mut(..count) {
            front.copy_from_slice(kept.bytes().get(..count).unwrap_or_default());
        }
        kept.clear();
        count
    }

    /// The buffer behind its first `filled` bytes.
    pub(super) fn room(&mut self, filled: usize) -> &mut [u8] {
        self.incoming.get_mut(filled..).unwrap_or_default()
    }

    /// As much of the buffer as is sealed at once.
    pub(super) fn room_to_seal(&mut self) -> &mut [u8] {
        self.incoming.get_mut(..SEAL_BYTES).unwrap_or_default()
    }

    /// Opens the first `filled` bytes; answers what is left of them.
    pub(super) fn open(
        &mut self,
        filled: usize,
        codec: &mut impl Codec,
    ) -> Result<(&[u8], bool), TransportError> {
        let incoming = self.incoming.get_mut(..filled).unwrap_or_default();
        self.plain.clear();
        let opened = codec.open(incoming, &mut self.plain, &mut self.outgoing)?;
        Ok((incoming.get(opened.used..).unwrap_or_default(), opened.is_end))
    }

    /// Adds the first `count` bytes, sealed, to what is to be sent.
    pub(super) fn seal(
        &mut self,
        count: usize,
        pending: &mut Leftover,
        codec: &mut impl Codec,
    ) -> Result<(), TransportError> {
        let plain = self.incoming.get(..count).unwrap_or_default();
        codec.seal(plain, pending.bytes_mut(), &mut self.outgoing)
    }

    /// Overwrites what came in and what was opened of it: there may have been a secret in it.
    pub(super) fn forget(&mut self) {
        self.incoming.fill(0);
        self.plain.wipe();
    }

    /// The first `count` bytes.
    pub(super) fn front(&self, count: usize) -> &[u8] {
        self.incoming.get(..count).unwrap_or_default()
    }
}

/// Bytes that are kept until they can go on. Empty, it owns no memory.
#[derive(Default)]
pub(super) struct Leftover {
    bytes: Vec<u8>,
    gone: usize,
}

impl Leftover {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.gone..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        if self.gone > 0 {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
        self.bytes.reserve_exact(more.len());
        self.bytes.extend_from_slice(more);
    }

    /// The first `count` bytes have gone on.
    pub(super) fn consume(&mut self, count: usize) {
        self.gone += count;
        if self.gone >= self.bytes.len() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
