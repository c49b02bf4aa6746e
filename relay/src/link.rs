//! One connection through an encapsulation: a network side, a plain side, and what is between.
//!
//! It first comes to know the far end (the codec's own beginning, then the hello), then waits to be
//! attached to its plain side, then relays. Half-close, truncation and back-pressure pass through
//! as they came. Buffers are the worker's; a link keeps only what a slow reader has left behind, at
//! most [`KEPT_BYTES_MOST`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use libipc::interface::transport::{Hello, TransportError};
use libipc::interface::tunnel::TunnelError;
use libipc::poller::Interest;
use nix::sys::socket::{MsgFlags, recv, recvmsg, send};
use sys::ancillary::Wait;
use sys::socket::{SocketKind, unix_pair};

use crate::codec::Codec;
use crate::hello::{self, Asked, HelloError, Reader};

use self::plain::Plain;
use self::scratch::{Leftover, READ_BYTES, Scratch};

mod negotiating;
mod plain;
mod relaying;
pub(crate) mod scratch;

/// Bytes that a link keeps at most for one slow reader.
pub const KEPT_BYTES_MOST: usize = READ_BYTES;

/// Bytes that the kernel takes for the network and has not sent: a thousand far ends that do not
/// read would otherwise have it hold megabytes for each, and make it short of memory for all.
pub const UNSENT_BYTES_MOST: u32 = 256 * 1024;

/// How long a far end may take to hear that it is refused, or to stop sending into a connection
/// that is over. Here that is all; a relay of tcpd has as much again while its far end takes what
/// it was told, which nobody but the kernel has: [`crate::pump::PARTING_TIME_MOST`].
pub(crate) const PARTING_TIME: Duration = Duration::from_secs(2);

/// What a connection is begun for.
#[derive(Debug)]
pub enum Purpose {
    /// As the client end, for the service of this hello, or for a plain server without one.
    Ask(Option<Hello>),
    /// As the server end, for a peer that says a hello.
    Listen,
    /// As the server end, for plain clients.
    Serve,
}

/// What a link is attached to.
#[derive(Debug)]
pub struct PlainSide {
    /// The socket, which is taken over; it does not matter whether it blocks.
    pub socket: OwnedFd,
    /// One byte lies unread in it that is for nobody: see [`PlainSide::pair`].
    pub is_marked: bool,
}

impl PlainSide {
    /// A new plain side, and the end of it for a program, which blocks. Whatever ends the
    /// connection before its proper end is a reset for the program, from the first moment on.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors or memory left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (socket, program) = unix_pair(SocketKind::Stream)?;
        sys::ancillary::send(program.as_fd(), b"!", &[], Wait::Never)?;
        Ok((Self { socket, is_marked: true }, program))
    }
}

/// What the two ends have agreed on.
#[derive(Debug)]
pub struct Agreement {
    /// What the far end has proven, each as `KIND:VALUE`.
    pub names: Vec<String>,
    /// What it asks for, if it said a hello.
    pub asked: Option<Asked>,
}

/// One connection through an encapsulation.
pub(crate) struct Link<C> {
    codec: C,
    net: OwnedFd,
    /// It is ours to say the first word, and that has not been said.
    is_to_begin: bool,
    /// Something may have come from the network since it was last read to the end.
    net_is_ready: bool,
    plain: Option<Plain>,
    phase: Phase,
    /// The beginning of something that the codec cannot understand before more has come.
    partial: Leftover,
    /// Sealed bytes that the network has not taken.
    unsent: Leftover,
    /// Plain bytes that the plain side has not taken.
    undelivered: Leftover,
    /// Why the far end hears nothing any more, though it is not agreed.
    deaf: Option<io::Error>,
    /// How far each direction has ended: from the network, and to it.
    inward: Course,
    outward: Course,
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Course {
    #[default]
    Open,
    /// Its source has ended; the sink does not know yet.
    SourceEnded,
    /// Everything has arrived, and the end too.
    Ended,
    /// The sink takes nothing more.
    Refused,
}

/// How far a connection is.
enum Phase {
    /// The ends come to know each other.
    Opening(Purpose),
    /// The far daemon has been asked.
    Asking(Reader),
    /// The far end is to say what it wants.
    Listening(Reader),
    /// All is done on this side, and the far end may still refuse us. `is_told`: whoever keeps
    /// time knows.
    Unsure { is_told: bool },
    /// It waits to be attached.
    Agreed { owes_yes: bool },
    /// Bytes move.
    Relaying,
    /// It is over; the far end is given time to see that.
    Parting,
}

/// What came of a turn.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on when something is ready.
    Goes,
    /// It goes on at once, after others had their turn.
    Again,
    /// Only a refusal is still possible: after some silence it is agreed.
    Unsure,
    /// It has been agreed.
    Agreed(Agreement),
    /// It came to nothing before it was agreed, or broke afterwards by what the far end did.
    Failed(TransportError),
    /// So it did, and the far end is to be told no.
    Rejected(TransportError),
    /// It is over, and the far end is given this time to see that.
    Parts,
    /// It is over.
    Ends,
}

/// What a link waits for on its two sides; a side that is `None` is not watched, for its hang-up
/// would be told again and again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) net: Option<Interest>,
    pub(crate) plain: Option<Interest>,
}

/// Why a turn is not finished.
enum Stop {
    /// Something has to become ready.
    Blocked,
    Failed(TransportError),
    /// The far end asks for what it does not get.
    Rejected(HelloError),
    /// The network side is over: it has ended, or broke for this reason.
    Gone(Option<io::Error>),
}

impl From<TransportError> for Stop {
    fn from(error: TransportError) -> Self {
        Self::Failed(error)
    }
}

impl<C: Codec> Link<C> {
    /// A link over `net`, which is taken over; it does not matter whether it blocks.
    pub(crate) fn new(codec: C, net: OwnedFd, purpose: Purpose) -> Self {
        // What is no TCP connection has no such delay, and no such room.
        let _not_tcp = sys::tcp::set_nodelay(net.as_fd()).is_err()
            || sys::tcp::set_unsent_most(net.as_fd(), UNSENT_BYTES_MOST).is_err();
        Self {
            codec,
            net,
            is_to_begin: matches!(purpose, Purpose::Ask(_)),
            // Nobody answers before we have asked; whatever else has come is told.
            net_is_ready: !matches!(purpose, Purpose::Ask(_)),
            plain: None,
            phase: Phase::Opening(purpose),
            partial: Leftover::default(),
            unsent: Leftover::default(),
            undelivered: Leftover::default(),
            deaf: None,
            inward: Course::Open,
            outward: Course::Open,
        }
    }

    pub(crate) fn net(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }

    pub(crate) fn plain(&self) -> Option<BorrowedFd<'_>> {
        self.plain.as_ref().map(Plain::socket)
    }

    pub(crate) fn is_negotiating(&self) -> bool {
        matches!(self.phase, Phase::Opening(_) | Phase::Asking(_) | Phase::Listening(_))
    }

    pub(crate) fn is_unsure(&self) -> bool {
        matches!(self.phase, Phase::Unsure { .. })
    }

    pub(crate) fn is_agreed(&self) -> bool {
        matches!(self.phase, Phase::Agreed { .. })
    }

    /// What has to become ready for the next turn to make sense.
    pub(crate) fn wanted(&self) -> Wanted {
        let unsent = !self.unsent.is_empty();
        let listens = Interest { readable: true, writable: unsent };
        match self.phase {
            Phase::Agreed { .. } => Wanted::default(),
            Phase::Relaying => self.wanted_to_relay(),
            Phase::Opening(_)
            | Phase::Asking(_)
            | Phase::Listening(_)
            | Phase::Unsure { .. }
            | Phase::Parting => Wanted { net: Some(listens), plain: None },
        }
    }

    /// Does what can be done now.
    pub(crate) fn advance(&mut self, scratch: &mut Scratch) -> Fate {
        match self.phase {
            Phase::Agreed { .. } => Fate::Goes,
            Phase::Relaying => self.relay(scratch),
            Phase::Parting => self.part(scratch),
            Phase::Opening(_) | Phase::Asking(_) | Phase::Listening(_) | Phase::Unsure { .. } => {
                self.negotiate(scratch)
            }
        }
    }

    /// Goes on with its plain side. False if there is nothing agreed.
    pub(crate) fn attach(&mut self, side: PlainSide, scratch: &mut Scratch) -> bool {
        let Phase::Agreed { owes_yes } = self.phase else { return false };
        self.plain = Some(Plain::new(side.socket, side.is_marked));
        self.phase = Phase::Relaying;
        scratch.outgoing.clear();
        let yes = self.codec.yes();
        if owes_yes
            && self.codec.seal(&yes, self.partial.bytes_mut(), &mut scratch.outgoing).is_err()
        {
            return false;
        }
        self.unsent.push(scratch.outgoing.bytes());
        true
    }

    /// Tells the far end no, if it said a hello, and the end.
    pub(crate) fn refuse(&mut self, refusal: TunnelError, scratch: &mut Scratch) {
        scratch.outgoing.clear();
        let pending = self.partial.bytes_mut();
        if matches!(self.phase, Phase::Agreed { owes_yes: true } | Phase::Listening(_)) {
            // A codec that can say no more has nothing to end either.
            let _over =
                self.codec.seal(&hello::no(refusal), pending, &mut scratch.outgoing).is_err();
        }
        self.codec.finish(pending, &mut scratch.outgoing);
        self.unsent.push(scratch.outgoing.bytes());
        self.phase = Phase::Parting;
    }

    /// Adds what the codec has to send, and sends; `Blocked` until all of it is gone.
    fn send(&mut self, scratch: &mut Scratch) -> Result<(), Stop> {
        self.send_what_can_be(scratch);
        if self.unsent.is_empty() { Ok(()) } else { Err(Stop::Blocked) }
    }

    fn send_what_can_be(&mut self, scratch: &mut Scratch) {
        self.unsent.push(scratch.outgoing.bytes());
        scratch.outgoing.clear();
        if let Err(error) = self.flush() {
            // Before it closed it may have said why: that is read to its end.
            self.unsent.clear();
            self.net_is_ready = true;
            self.deaf.get_or_insert(error);
        }
    }

    /// Sends what waits, as far as there is room.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match write(self.net.as_fd(), self.unsent.bytes()) {
                Ok(count) => self.unsent.consume(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once from the network and opens that; what cannot be understood yet is kept. True at
    /// the far end's end.
    fn receive(&mut self, scratch: &mut Scratch) -> Result<bool, Stop> {
        let kept = scratch.begin(&mut self.partial);
        if scratch.room(kept).is_empty() {
            let reason = format!("more than {READ_BYTES} bytes of one message");
            return Err(TransportError::Protocol { reason }.into());
        }
        let room = scratch.room(kept);
        let most = room.len();
        let count = match read(self.net.as_fd(), room) {
            Ok(0) => return Err(Stop::Gone(None)),
            Ok(count) => {
                // Whatever comes later is told.
                self.net_is_ready = count == most;
                count
            }
            Err(error) => {
                self.partial.push(scratch.front(kept));
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.net_is_ready = false;
                    return Err(Stop::Blocked);
                }
                return Err(Stop::Gone(Some(error)));
            }
        };
        let (rest, is_end) = scratch.open(kept + count, &mut self.codec)?;
        self.partial.push(rest);
        Ok(is_end)
    }

    /// Sends what is left, and reads and forgets what still comes, so that closing does not reset
    /// what the far end is still to read.
    fn part(&mut self, scratch: &mut Scratch) -> Fate {
        if self.flush().is_err() {
            return Fate::Ends;
        }
        if self.unsent.is_empty() && self.outward != Course::Ended {
            if sys::socket::end_sending(self.net.as_fd()).is_err() {
                return Fate::Ends;
            }
            self.outward = Course::Ended;
        }
        match read(self.net.as_fd(), scratch.room(0)) {
            Ok(0) => Fate::Ends,
            Ok(_) => Fate::Again,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Fate::Goes,
            Err(_) => Fate::Ends,
        }
    }
}

fn protocol(error: &HelloError) -> TransportError {
    TransportError::Protocol { reason: error.to_string() }
}

fn read(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(count) => return Ok(count),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads into one buffer, and then into another.
fn read_two(socket: BorrowedFd<'_>, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    loop {
        let mut both = [io::IoSliceMut::new(first), io::IoSliceMut::new(second)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut both, None, MsgFlags::MSG_DONTWAIT) {
            Ok(message) => return Ok(message.bytes),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    write_with(socket, bytes, MsgFlags::empty())
}

fn write_with(socket: BorrowedFd<'_>, bytes: &[u8], more: MsgFlags) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | more;
    loop {
        match send(socket.as_raw_fd(), bytes, flags) {
            Ok(count) => return Ok(count),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
