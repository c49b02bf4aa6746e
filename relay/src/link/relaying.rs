//! Bytes between the two sides of an attached link.

use std::io;
use std::os::fd::AsFd;

use libipc::interface::transport::TransportError;
use libipc::poller::Interest;
use nix::sys::socket::MsgFlags;

use super::plain::Got;
use super::scratch::Scratch;
use super::{Course, Fate, Link, Phase, Stop, Wanted, write, write_with};
use crate::codec::Codec;

/// Reads from each side in one turn, so that no link keeps the others waiting.
const READS_PER_TURN: usize = 4;

/// Why a relay is over before its directions have ended.
enum Break {
    /// The network side broke: the plain side is to see that. With what the far end did or said, if
    /// that was it.
    Net(Option<TransportError>),
    /// The plain side broke: the network is to see that.
    Plain,
}

/// What one step of a direction came to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    Moved,
    Stands,
}

impl<C: Codec> Link<C> {
    pub(super) fn wanted_to_relay(&self) -> Wanted {
        let (unsent, undelivered) = (!self.unsent.is_empty(), !self.undelivered.is_empty());
        let net =
            Interest { readable: self.inward == Course::Open && !undelivered, writable: unsent };
        let plain =
            Interest { readable: self.outward == Course::Open && !unsent, writable: undelivered };
        // Once the plain side has ended one direction, its going away ends the other too.
        let is_awaited = plain != Interest::NONE || self.outward == Course::Ended;
        Wanted { net: (net != Interest::NONE).then_some(net), plain: is_awaited.then_some(plain) }
    }

    /// The network side is ready.
    pub(crate) fn net_woke(&mut self) {
        self.net_is_ready = true;
    }

    /// The plain side is ready.
    pub(crate) fn plain_woke(&mut self) {
        if let Some(plain) = &mut self.plain {
            plain.wake();
        }
    }

    /// The plain side has gone away altogether: what still comes for it has no reader.
    pub(crate) fn plain_hung_up(&mut self) {
        if matches!(self.phase, Phase::Relaying) && self.outward == Course::Ended {
            self.inward = Course::Refused;
            self.undelivered.clear();
        }
    }

    pub(super) fn relay(&mut self, scratch: &mut Scratch) -> Fate {
        for _ in 0..READS_PER_TURN {
            match self.step(scratch) {
                Ok(Step::Moved) => {}
                Ok(Step::Stands) => return self.fate(),
                Err(broken) => return self.break_off(broken, scratch),
            }
        }
        if self.is_over() { self.fate() } else { Fate::Again }
    }

    fn step(&mut self, scratch: &mut Scratch) -> Result<Step, Break> {
        let inward = self.inward(scratch)?;
        let outward = self.outward(scratch)?;
        Ok(if inward == Step::Stands { outward } else { inward })
    }

    fn fate(&mut self) -> Fate {
        if !self.is_over() {
            return Fate::Goes;
        }
        if self.inward == Course::Ended {
            if self.outward == Course::Ended
                && let Some(plain) = &mut self.plain
            {
                plain.settle();
            }
            return Fate::Ends;
        }
        // The far end may still be sending to a reader that is gone.
        self.phase = Phase::Parting;
        Fate::Parts
    }

    fn is_over(&self) -> bool {
        let over = |course| matches!(course, Course::Ended | Course::Refused);
        over(self.inward) && over(self.outward)
    }

    /// From the network to the plain side.
    fn inward(&mut self, scratch: &mut Scratch) -> Result<Step, Break> {
        if !self.undelivered.is_empty() {
            let waiting = std::mem::take(&mut self.undelivered);
            self.deliver(waiting.bytes())?;
            if !self.undelivered.is_empty() {
                return Ok(Step::Stands);
            }
        }
        match self.inward {
            Course::Ended | Course::Refused => return Ok(Step::Stands),
            Course::SourceEnded => return self.end_plain(),
            Course::Open if !self.net_is_ready => return Ok(Step::Stands),
            Course::Open => {}
        }
        scratch.outgoing.clear();
        let is_end = match self.receive(scratch) {
            Ok(is_end) => is_end,
            Err(Stop::Blocked) => return Ok(Step::Stands),
            Err(stop) => {
                self.unsent.push(scratch.outgoing.bytes());
                let Stop::Failed(error) = stop else { return Err(Break::Net(None)) };
                return Err(Break::Net(Some(error)));
            }
        };
        self.unsent.push(scratch.outgoing.bytes());
        self.deliver(&scratch.plain)?;
        if is_end && self.inward == Course::Open {
            self.inward = Course::SourceEnded;
            if self.undelivered.is_empty() {
                return self.end_plain();
            }
        }
        Ok(Step::Moved)
    }

    fn end_plain(&mut self) -> Result<Step, Break> {
        let Some(plain) = &self.plain else { return Err(Break::Plain) };
        plain.end().map_err(|_| Break::Plain)?;
        self.inward = Course::Ended;
        Ok(Step::Moved)
    }

    /// Writes to the plain side; what it does not take is kept.
    fn deliver(&mut self, bytes: &[u8]) -> Result<(), Break> {
        let Some(plain) = &self.plain else { return Err(Break::Plain) };
        let mut rest = bytes;
        while !rest.is_empty() {
            match plain.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.undelivered.push(rest);
                    return Ok(());
                }
                // Who closes without reading on may have answered before: that is to arrive.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.inward = Course::Refused;
                    // Nothing more comes: if it waits for that alone, it ends now.
                    let _gone = plain.end().is_err();
                    return Ok(());
                }
                Err(_) => return Err(Break::Plain),
            }
        }
        Ok(())
    }

    /// From the plain side to the network.
    fn outward(&mut self, scratch: &mut Scratch) -> Result<Step, Break> {
        self.flush_or_stop()?;
        if !self.unsent.is_empty() {
            return Ok(Step::Stands);
        }
        match self.outward {
            Course::Ended | Course::Refused => return Ok(Step::Stands),
            Course::SourceEnded => return self.end_net(),
            Course::Open => {}
        }
        let Some(plain) = &mut self.plain else { return Err(Break::Plain) };
        scratch.outgoing.clear();
        match plain.read(scratch.room_to_seal()).map_err(|_| Break::Plain)? {
            Got::End => {
                self.outward = Course::SourceEnded;
                self.codec.finish(self.partial.bytes_mut(), &mut scratch.outgoing);
            }
            Got::Bytes(count) => {
                let sealed = scratch.seal(count, &mut self.partial, &mut self.codec);
                sealed.map_err(|error| Break::Net(Some(error)))?;
            }
            Got::Nothing => return Ok(Step::Stands),
        }
        self.send_sealed(scratch)?;
        if self.outward == Course::SourceEnded && self.unsent.is_empty() {
            return self.end_net();
        }
        Ok(Step::Moved)
    }

    fn end_net(&mut self) -> Result<Step, Break> {
        sys::socket::end_sending(self.net.as_fd()).map_err(|_| Break::Net(None))?;
        self.outward = Course::Ended;
        Ok(Step::Moved)
    }

    /// Sends what was sealed; what the network does not take is kept.
    fn send_sealed(&mut self, scratch: &Scratch) -> Result<(), Break> {
        let mut rest = scratch.outgoing.bytes();
        let is_last = self.outward == Course::SourceEnded;
        while !rest.is_empty() {
            let sent = if is_last {
                // The end follows at once, and travels with it.
                write_with(self.net.as_fd(), rest, MsgFlags::from_bits_retain(nix::libc::MSG_MORE))
            } else {
                write(self.net.as_fd(), rest)
            };
            match sent {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) => {
                    self.unsent.push(rest);
                    return self.not_sent(&error);
                }
            }
        }
        Ok(())
    }

    fn flush_or_stop(&mut self) -> Result<(), Break> {
        match self.flush() {
            Ok(()) => Ok(()),
            Err(error) => self.not_sent(&error),
        }
    }

    fn not_sent(&mut self, error: &io::Error) -> Result<(), Break> {
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(()),
            // A far end that hears no more may have answered before, and that is to arrive.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.outward = Course::Refused;
                self.unsent.clear();
                self.net_is_ready = true;
                // As above. What is missing at the end of what it has heard, it will miss.
                let _gone = sys::socket::end_sending(self.net.as_fd()).is_err();
                Ok(())
            }
            _ => Err(Break::Net(None)),
        }
    }

    fn break_off(&mut self, broken: Break, scratch: &mut Scratch) -> Fate {
        match broken {
            Break::Net(error) => {
                // What the codec has to say about it is worth one try.
                let _unsent = self.flush().is_err();
                error.map_or(Fate::Ends, Fate::Failed)
            }
            Break::Plain => {
                scratch.outgoing.clear();
                // Only a TCP connection knows a reset.
                let _not_tcp = sys::socket::reset_on_close(self.net.as_fd()).is_err();
                Fate::Ends
            }
        }
    }
}
