//! One direction of a relay.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::source::is_shortage;

/// Bytes that one pipe holds at most.
const PIPE_BYTES: usize = 64 * 1024;

/// Bytes moved in one turn, so that no relay keeps the others waiting.
const TURN_BYTES: usize = 4 * PIPE_BYTES;

/// Empty pipes kept for the next borrower.
const PIPES_KEPT: usize = 64;

/// Empty pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes(Vec<Pipe>);

#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipes {
    fn borrow(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (reader, writer) = sys::splice::pipe(PIPE_BYTES)?;
        Ok(Pipe { reader, writer })
    }

    fn give_back(&mut self, pipe: Pipe) {
        if self.0.len() < PIPES_KEPT {
            self.0.push(pipe);
        }
    }
}

/// One direction: what is between its two ends, and how far it has ended.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    inside: usize,
    source_ended: bool,
    /// Writing to the source has told that it was reset; reading would tell of a mere end.
    source_was_reset: bool,
    sink: Sink,
    /// There was no pipe to be had.
    starved: bool,
}

/// What has become of the end that is written to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Sink {
    #[default]
    Open,
    /// It was told the end.
    Ended,
    /// It takes nothing more.
    Refused,
    /// It was reset.
    Reset,
}

/// How far a direction is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It goes on when something is ready.
    Open,
    /// Everything has arrived, and the end too.
    Ended,
    /// The sink takes nothing more; what it has said itself may still be on its way.
    Refused,
    /// The sink was reset; what it has said before may still be on its way.
    Reset,
    /// One of its ends was reset, and nothing is on its way.
    Broken,
}

impl Flow {
    /// Whether something to read would help.
    pub(super) fn wants_source(&self) -> bool {
        !self.source_ended && self.inside == 0 && self.sink == Sink::Open && !self.starved
    }

    /// Whether it stands still for want of a pipe, and is to be advanced again after a while.
    pub(super) fn is_starved(&self) -> bool {
        self.starved && self.sink == Sink::Open
    }

    /// Whether room to write would help.
    pub(super) fn wants_sink(&self) -> bool {
        self.inside > 0 && self.sink == Sink::Open
    }

    /// Whether nothing moves in it any more, whatever its source still says.
    pub(super) fn is_over(&self) -> bool {
        self.sink != Sink::Open
    }

    /// Its sink has gone away altogether: whatever still comes has no reader.
    pub(super) fn lose_sink(&mut self, was_reset: bool) {
        if self.sink == Sink::Open {
            self.sink = if was_reset { Sink::Reset } else { Sink::Refused };
        }
    }

    /// The other direction was told that the source of this one was reset: what has come from it
    /// still arrives, and then the reset.
    pub(super) fn know_of_reset(&mut self) {
        self.source_was_reset = true;
    }

    /// Moves what can be moved now, at most a turn's worth.
    pub(super) fn advance(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        pipes: &mut Pipes,
    ) -> Step {
        if self.sink == Sink::Open && self.transfer(source, sink, pipes).is_err() {
            return Step::Broken;
        }
        match self.sink {
            Sink::Open => Step::Open,
            Sink::Ended => Step::Ended,
            Sink::Refused => Step::Refused,
            Sink::Reset => Step::Reset,
        }
    }

    fn transfer(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        pipes: &mut Pipes,
    ) -> io::Result<()> {
        let mut moved = 0;
        self.starved = false;
        while moved < TURN_BYTES {
            moved += self.drain(sink)?;
            if self.inside > 0 || self.source_ended || !self.fill(source, pipes)? {
                break;
            }
        }
        // Apart from the turn's bound: an end that comes with its last byte is told by no event.
        if self.source_ended && self.inside == 0 {
            if self.source_was_reset {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            sys::socket::end_sending(sink)?;
            self.sink = Sink::Ended;
        }
        if self.inside == 0 {
            self.give_back(pipes);
        }
        Ok(())
    }

    /// Reads into the pipe. False if nothing is there to read.
    fn fill(&mut self, source: BorrowedFd<'_>, pipes: &mut Pipes) -> io::Result<bool> {
        if self.pipe.is_none() {
            match pipes.borrow() {
                Ok(pipe) => self.pipe = Some(pipe),
                Err(error) if is_shortage(&error) => {
                    self.starved = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(pipe) = &self.pipe else { return Ok(false) };
        match sys::splice::splice(source, pipe.writer.as_fd(), PIPE_BYTES) {
            Ok(0) => self.source_ended = true,
            Ok(count) => self.inside += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Writes out of the pipe until it is empty or the sink is full; answers how much.
    fn drain(&mut self, sink: BorrowedFd<'_>) -> io::Result<usize> {
        let mut moved = 0;
        let Some(pipe) = &self.pipe else { return Ok(0) };
        while self.inside > 0 {
            match sys::splice::splice(pipe.reader.as_fd(), sink, self.inside) {
                Ok(count) => {
                    self.inside = self.inside.saturating_sub(count);
                    moved += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Who closes without reading on may have answered before: that is to arrive.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.sink = Sink::Refused;
                    // Nothing more comes: if it waits for that alone, it ends now.
                    let _gone = sys::socket::end_sending(sink).is_err();
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.sink = Sink::Reset;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Gives the pipe back if it is empty; one with bytes of a broken relay is closed.
    pub(super) fn give_back(&mut self, pipes: &mut Pipes) {
        if let Some(pipe) = self.pipe.take()
            && self.inside == 0
        {
            pipes.give_back(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{setsockopt, sockopt};
    use sys::socket::{SocketKind, set_blocking, unix_pair};

    use super::*;

    #[test]
    fn who_has_no_sink_any_more_waits_for_no_pipe() {
        let mut flow = Flow { starved: true, ..Flow::default() };
        assert!(flow.is_starved());
        flow.lose_sink(false);
        assert!(!flow.is_starved());
    }

    #[test]
    fn an_end_right_behind_a_whole_turn_arrives() {
        let (source, filler) = sys::splice::pipe(2 * TURN_BYTES).unwrap();
        assert_eq!(nix::unistd::write(&filler, &vec![b'x'; TURN_BYTES]), Ok(TURN_BYTES));
        drop(filler);
        let (sink, _far_end) = unix_pair(SocketKind::Stream).unwrap();
        setsockopt(&sink, sockopt::SndBuf, &(2 * TURN_BYTES)).unwrap();
        set_blocking(sink.as_fd(), false).unwrap();
        let (mut flow, mut pipes) = (Flow::default(), Pipes::default());
        while flow.advance(source.as_fd(), sink.as_fd(), &mut pipes) == Step::Open {
            assert!(flow.wants_source() || flow.wants_sink(), "nothing would ever wake it");
            assert!(flow.wants_source(), "the sink has room for all");
        }
        assert_eq!(flow.sink, Sink::Ended);
    }
}
