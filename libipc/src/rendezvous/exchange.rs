//! The mutual proof, without I/O: bytes in, bytes out.
//!
//! | who | bytes | what |
//! |---|---|---|
//! | guest | 8, 32 | `"ipcmeet1"`, a number of its own |
//! | host | 32, 32 | a number of its own, its proof |
//! | guest | 32 | its proof |
//! | host | 1 | 1: welcome; 0: not proven, and the end |
//!
//! A proof is HMAC-SHA256 with the key of the meeting over a label, the guest's number and the
//! host's. The labels differ, so nobody's proof is of use when it is sent back to him, in this
//! exchange or in another.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sys::wiped::Wiped;

/// Bytes of a key, and of each number.
pub const KEY_BYTES: usize = 32;

/// The secret of a meeting: who can read it, may take part. Wiped when dropped.
///
/// ```
/// use libipc::rendezvous::{KEY_BYTES, Key};
///
/// let key = Key::new([7; KEY_BYTES]);
/// assert_eq!(key.len(), 32);
/// ```
pub type Key = Wiped<[u8; KEY_BYTES]>;

type Number = [u8; KEY_BYTES];

const GREETING: &[u8; 8] = b"ipcmeet1";
const WELCOME: u8 = 1;
const UNPROVEN: u8 = 0;

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaited {
    /// By the host: greeting and number.
    Greeting,
    /// By the guest: number and proof.
    HostsProof,
    /// By the host.
    GuestsProof,
    /// By the guest: one byte.
    Verdict,
    /// The stream is the program's.
    Nothing,
}

impl Awaited {
    fn bytes(self) -> usize {
        match self {
            Self::Greeting => GREETING.len() + KEY_BYTES,
            Self::HostsProof => 2 * KEY_BYTES,
            Self::GuestsProof => KEY_BYTES,
            Self::Verdict => 1,
            Self::Nothing => 0,
        }
    }
}

/// One side of the proof, for programs with an event loop of their own:
///
/// 1. send what [`Exchange::outgoing`] holds, and tell it with [`Exchange::sent`];
/// 2. when [`Exchange::is_done`], the stream is the program's;
/// 3. read *at most* [`Exchange::wanted`] bytes, and give them to [`Exchange::handle_bytes`].
///
/// It has no deadline: whoever reads for it ends it when it takes too long, 2 s for example.
///
/// ```
/// use libipc::rendezvous::{Exchange, Key};
///
/// // Both have read it where only their user can.
/// let key = Key::new([7; 32]);
/// let (mut guest, mut host) = (Exchange::guest(key.clone(), [1; 32]), Exchange::host(key, [2; 32]));
/// while !(guest.is_done() && host.is_done()) {
///     for _ in 0..2 {
///         let said = guest.outgoing().to_vec();
///         guest.sent(said.len());
///         host.handle_bytes(&said)?;
///         std::mem::swap(&mut guest, &mut host);
///     }
/// }
/// # Ok::<(), libipc::rendezvous::ExchangeError>(())
/// ```
#[derive(Debug)]
pub struct Exchange {
    key: Key,
    awaited: Awaited,
    number: Number,
    /// The guest's number, once a host has it.
    theirs: Number,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Exchange {
    /// The guest's side. `number` is random, and never used again.
    #[must_use]
    pub fn guest(key: Key, number: [u8; KEY_BYTES]) -> Self {
        let mut guest = Self::new(key, number, Awaited::HostsProof);
        guest.outgoing.extend(GREETING);
        guest.outgoing.extend(number);
        guest
    }

    /// The host's side. `number` is random, and never used again.
    #[must_use]
    pub fn host(key: Key, number: [u8; KEY_BYTES]) -> Self {
        Self::new(key, number, Awaited::Greeting)
    }

    fn new(key: Key, number: Number, awaited: Awaited) -> Self {
        let theirs = [0; KEY_BYTES];
        Self { key, awaited, number, theirs, incoming: Vec::new(), outgoing: Vec::new() }
    }

    /// Bytes to send.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Takes note that the first `count` of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }

    /// Bytes to read at most: what comes behind them is the program's.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.awaited.bytes().saturating_sub(self.incoming.len())
    }

    /// Whether both sides have proven that they know the key, and everything was sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.awaited == Awaited::Nothing && self.outgoing.is_empty()
    }

    /// Takes what was read, however few bytes. Answers how many were taken: no more than
    /// [`Exchange::wanted`].
    ///
    /// # Errors
    ///
    /// [`ExchangeError`]; close the stream, a host after having sent [`Exchange::outgoing`].
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<usize, ExchangeError> {
        let taken = bytes.len().min(self.wanted());
        self.incoming.extend(bytes.iter().take(taken));
        if self.wanted() == 0 {
            let message = std::mem::take(&mut self.incoming);
            match self.awaited {
                Awaited::Greeting => self.handle_greeting(&message)?,
                Awaited::HostsProof => self.handle_hosts_proof(&message)?,
                Awaited::GuestsProof => self.handle_guests_proof(&message)?,
                Awaited::Verdict if message == [WELCOME] => self.awaited = Awaited::Nothing,
                Awaited::Verdict => return Err(ExchangeError::Refused),
                Awaited::Nothing => {}
            }
        }
        Ok(taken)
    }

    fn handle_greeting(&mut self, message: &[u8]) -> Result<(), ExchangeError> {
        let number = message.strip_prefix(GREETING).ok_or(ExchangeError::NotAGuest)?;
        self.theirs = number.try_into().map_err(|_| ExchangeError::NotAGuest)?;
        self.outgoing.extend(self.number);
        let proof = prove(&self.key, HOST, &self.theirs, &self.number).finalize();
        self.outgoing.extend(proof.into_bytes());
        self.awaited = Awaited::GuestsProof;
        Ok(())
    }

    fn handle_hosts_proof(&mut self, message: &[u8]) -> Result<(), ExchangeError> {
        let (number, proof) = message.split_first_chunk().ok_or(ExchangeError::Unproven)?;
        prove(&self.key, HOST, &self.number, number)
            .verify_slice(proof)
            .map_err(|_| ExchangeError::Unproven)?;
        let answer = prove(&self.key, GUEST, &self.number, number).finalize();
        self.outgoing.extend(answer.into_bytes());
        self.awaited = Awaited::Verdict;
        Ok(())
    }

    fn handle_guests_proof(&mut self, proof: &[u8]) -> Result<(), ExchangeError> {
        let expected = prove(&self.key, GUEST, &self.theirs, &self.number);
        if expected.verify_slice(proof).is_err() {
            self.outgoing.push(UNPROVEN);
            return Err(ExchangeError::Unproven);
        }
        self.outgoing.push(WELCOME);
        self.awaited = Awaited::Nothing;
        Ok(())
    }
}

const HOST: &[u8] = b"ipc rendezvous 1 host\0";
const GUEST: &[u8] = b"ipc rendezvous 1 guest\0";

fn prove(key: &Key, label: &[u8], guests: &Number, hosts: &Number) -> Hmac<Sha256> {
    // A key shorter than a block of the hash is filled up with zeros: RFC 2104, section 2.
    let mut block = Wiped::new([0; 2 * KEY_BYTES]);
    block.split_at_mut(KEY_BYTES).0.copy_from_slice(key.as_slice());
    let mut proof = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    for part in [label, guests, hosts] {
        proof.update(part);
    }
    proof
}

/// Why a proof failed.
///
/// ```
/// use libipc::rendezvous::{Exchange, ExchangeError, Key};
///
/// let mut host = Exchange::host(Key::new([7; 32]), [2; 32]);
/// assert_eq!(host.handle_bytes(&[b'x'; 40]), Err(ExchangeError::NotAGuest));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ExchangeError {
    /// What came is not the greeting of a guest.
    NotAGuest,
    /// The other side does not know the key.
    Unproven,
    /// The host says that we do not know the key.
    Refused,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAGuest => "whoever connected does not speak as a guest of a meeting",
            Self::Unproven => "the other process does not know the key of the meeting",
            Self::Refused => "the other process says that we do not know the key of the meeting",
        })
    }
}

impl std::error::Error for ExchangeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = *b"the key of all of these examples";

    fn sides() -> (Exchange, Exchange) {
        let key = || Wiped::new(KEY);
        (Exchange::guest(key(), [0x11; 32]), Exchange::host(key(), [0x22; 32]))
    }

    /// Everything that `from` has to say, given to `to`.
    fn tell(from: &mut Exchange, to: &mut Exchange) -> Result<Vec<u8>, ExchangeError> {
        let bytes = from.outgoing().to_vec();
        from.sent(bytes.len());
        to.handle_bytes(&bytes).map(|taken| bytes[taken..].to_vec())
    }

    fn hex(bytes: &[u8]) -> String {
        let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap();
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// The proofs are Python's: `hmac.digest(key, label + b"\x11" * 32 + b"\x22" * 32, "sha256")`.
    #[test]
    fn the_bytes_are_those_of_the_table() {
        let (mut guest, mut host) = sides();
        assert_eq!(guest.outgoing(), [b"ipcmeet1".as_slice(), &[0x11; 32]].concat());
        tell(&mut guest, &mut host).unwrap();
        let (number, proof) = host.outgoing().split_at(32);
        assert_eq!(number, [0x22; 32]);
        assert_eq!(hex(proof), "c016903f2c5e81be8b11ed204b2685b35bb2cc767fcb41faa40fd13c149049f1");
        tell(&mut host, &mut guest).unwrap();
        assert_eq!(
            hex(guest.outgoing()),
            "4450274935d38d487f20432599ede8492703451ea4c29e2c3ef71f8532b86506"
        );
        tell(&mut guest, &mut host).unwrap();
        assert_eq!(host.outgoing(), [1]);
        assert!(!host.is_done() && !guest.is_done());
        tell(&mut host, &mut guest).unwrap();
        assert!(host.is_done() && guest.is_done());
    }

    #[test]
    fn whoever_does_not_know_the_key_is_refused_and_told() {
        let (_, mut host) = sides();
        let mut stranger = Exchange::guest(Wiped::new([0; 32]), [3; 32]);
        tell(&mut stranger, &mut host).unwrap();
        // He cannot check the host's proof, goes on, and sends one of his own.
        stranger.awaited = Awaited::Verdict;
        host.sent(64);
        assert_eq!(host.handle_bytes(&[7; 32]), Err(ExchangeError::Unproven));
        assert_eq!(tell(&mut host, &mut stranger), Err(ExchangeError::Refused));
        let (mut guest, _) = sides();
        let mut stranger = Exchange::host(Wiped::new([0; 32]), [3; 32]);
        tell(&mut guest, &mut stranger).unwrap();
        assert_eq!(tell(&mut stranger, &mut guest), Err(ExchangeError::Unproven));
        assert!(guest.outgoing().is_empty(), "a false host learns nothing");
    }

    /// The fault of `SlipRock`'s second handshake: a peer without the key sent our words back.
    #[test]
    fn a_proof_sent_back_proves_nothing() {
        let (mut guest, mut host) = sides();
        tell(&mut guest, &mut host).unwrap();
        let hosts_proof = host.outgoing()[32..].to_vec();
        host.sent(64);
        assert_eq!(host.handle_bytes(&hosts_proof), Err(ExchangeError::Unproven));
        let (mut guest, _) = sides();
        let greeting = guest.outgoing().to_vec();
        guest.sent(40);
        // As host: the guest's own number, and whatever he has said.
        let echo = [&greeting[8..], &greeting[8..]].concat();
        assert_eq!(guest.handle_bytes(&echo), Err(ExchangeError::Unproven));
        // A second host, asked for the proof that the first wants, gives one of another label.
        let (mut guest, mut first) = sides();
        tell(&mut guest, &mut first).unwrap();
        let mut second = Exchange::host(Wiped::new(KEY), first.number);
        second.handle_bytes(&[b"ipcmeet1".as_slice(), &first.theirs].concat()).unwrap();
        first.sent(64);
        let proof = second.outgoing()[32..].to_vec();
        assert_eq!(first.handle_bytes(&proof), Err(ExchangeError::Unproven));
    }

    #[test]
    fn other_protocols_are_told_from_a_guest() {
        for greeting in ["GET / HTTP/1.1\r\nHost: example.com\r\n\r\n...", "ipcmeet2"] {
            let (_, mut host) = sides();
            let bytes = format!("{greeting:40}");
            assert_eq!(host.handle_bytes(bytes.as_bytes()), Err(ExchangeError::NotAGuest));
            assert!(host.outgoing().is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_split_is_taken_and_nothing_behind_the_end(
            pieces in prop::collection::vec(1..50_usize, 1..9),
        ) {
            let (mut guest, mut host) = sides();
            let mut sizes = pieces.iter().copied().cycle();
            let mut rest = [b"the program's".to_vec(), Vec::new()];
            while !(guest.is_done() && host.is_done()) {
                for (from, to) in [(0, 1), (1, 0)] {
                    let ends = [&mut guest, &mut host];
                    let bytes = ends[from].outgoing().to_vec();
                    let count = sizes.next().unwrap().min(bytes.len());
                    ends[from].sent(count);
                    let mut piece = bytes[..count].to_vec();
                    if from == 1 && ends[1].is_done() {
                        // The host has welcomed, and its program speaks at once.
                        piece.append(&mut rest[0]);
                    }
                    let taken = ends[to].handle_bytes(&piece).unwrap();
                    rest[1].extend(&piece[taken..]);
                }
            }
            prop_assert_eq!(&rest[1], b"the program's");
        }
    }
}
