//! What an encapsulation has to be able to do. No I/O: bytes in, bytes out.

use std::io;

use libipc::interface::transport::{Hello, TransportError};
use libipc::varlink::Bytes;

use crate::failure;
use crate::hello::{self, Asked, HelloError};

/// One end of an encapsulation, as a state machine that does no I/O.
///
/// After an error the codec is of no further use; what it has put into `outgoing` by then is still
/// worth sending, for it tells the far end why.
pub trait Codec: Send + 'static {
    /// Takes what has come from the far end. The plain bytes that come out are added to `plain`, what
    /// is to be sent in answer to `outgoing`. With nothing `incoming`, begins: that is said once,
    /// before anything comes, if it is ours to begin.
    ///
    /// # Errors
    ///
    /// [`TransportError`]: the far end cannot be trusted, refuses us, or breaks the protocol.
    fn open(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing,
    ) -> Result<Opened, TransportError>;

    /// Whether plain bytes can be sealed: both ends know each other.
    fn is_open(&self) -> bool;

    /// Whether the far end may still refuse us though it is open, and says nothing as long as it
    /// is content. Asked only about a far end that answers no hello.
    fn may_be_refused(&self) -> bool {
        false
    }

    /// Adds `plain` to `outgoing`, encapsulated. `pending` are the bytes that came in and could not
    /// be understood yet.
    ///
    /// # Errors
    ///
    /// [`TransportError::Protocol`] if it is not open, or has come to its limits.
    fn seal(
        &mut self,
        plain: &[u8],
        pending: &mut [u8],
        outgoing: &mut Outgoing,
    ) -> Result<(), TransportError>;

    /// Adds to `outgoing` what tells the far end that nothing more comes. `pending` as in
    /// [`Codec::seal`].
    fn finish(&mut self, pending: &mut [u8], outgoing: &mut Outgoing);

    /// What it means that the far end went away before it was agreed.
    fn silent(&self) -> TransportError {
        failure::silent()
    }

    /// What it means that the connection broke before it was agreed.
    fn broken(&self, error: &io::Error) -> TransportError {
        failure::unreachable(error)
    }

    /// What the far end has proven, each as `KIND:VALUE`.
    fn names(&self) -> Vec<String>;

    /// The hello for the far daemon.
    ///
    /// # Errors
    ///
    /// [`TransportError`], if this end cannot prove what it has to.
    fn ask(&mut self, hello: &Hello) -> Result<Bytes, TransportError> {
        Ok(hello::ask(hello, None))
    }

    /// Reads the far daemon's answer to that: nothing, if it is yes.
    ///
    /// # Errors
    ///
    /// [`TransportError::Refused`], or what was wrong with the answer.
    fn answered(&mut self, message: &[u8]) -> Result<(), TransportError> {
        match hello::read_answer(message) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refused)) => Err(failure::refused(&refused)),
            Err(error) => Err(TransportError::Protocol { reason: error.to_string() }),
        }
    }

    /// Reads a hello of the far end.
    ///
    /// # Errors
    ///
    /// [`HelloError`]; the peer's fault.
    fn asked(&mut self, message: &[u8]) -> Result<Asked, HelloError> {
        hello::read_asked(message)
    }

    /// The answer yes to that hello.
    fn yes(&self) -> Bytes {
        hello::yes(None)
    }
}

/// What was understood of the bytes that came in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Opened {
    /// How many of them; the others cannot be understood before more have come.
    pub used: usize,
    /// The far end has said that nothing more comes.
    pub is_end: bool,
}

/// Bytes that are to be sent. Its room is not cleared each time it is used.
#[derive(Debug, Default)]
pub struct Outgoing {
    buffer: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    /// With room for `bytes` to begin with.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes], filled: 0 }
    }

    /// What is to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Room behind that for at least `least` bytes. What is in it means nothing.
    pub fn room(&mut self, least: usize) -> &mut [u8] {
        let wanted = self.filled + least;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// The first `count` bytes of the room have been filled.
    pub fn fill(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.buffer.len());
    }

    /// Adds `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.room(bytes.len()).get_mut(..bytes.len());
        room.unwrap_or_default().copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// Nothing is to be sent any more.
    pub fn clear(&mut self) {
        self.filled = 0;
    }
}
