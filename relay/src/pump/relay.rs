//! One relay: two sockets, a flow each way, and what is watched of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libipc::poller::{Interest, Poller, Token};

use super::flow::{Flow, Pipes, Step};

/// Two connected sockets, and how far their bytes have come.
#[derive(Debug)]
pub(super) struct Relay {
    left: OwnedFd,
    right: OwnedFd,
    /// From left to right, and back.
    there: Flow,
    back: Flow,
    watched: [Interest; 2],
}

/// What is to become of a relay.
pub(super) enum Fate {
    Goes,
    Ends,
    /// One side was reset: the other one is to see the same.
    Breaks,
}

impl Relay {
    /// A relay of which nothing has moved and nothing is watched.
    ///
    /// # Errors
    ///
    /// The kernel's: the sockets cannot be made non-blocking.
    pub(super) fn new(left: OwnedFd, right: OwnedFd) -> io::Result<Self> {
        sys::socket::set_blocking(left.as_fd(), false)?;
        sys::socket::set_blocking(right.as_fd(), false)?;
        let (there, back) = Default::default();
        Ok(Self { left, right, there, back, watched: [Interest::NONE; 2] })
    }

    /// Moves what can be moved, both ways.
    pub(super) fn step(&mut self, pipes: &mut Pipes) -> Fate {
        let (left, right) = (self.left.as_fd(), self.right.as_fd());
        let there = self.there.advance(left, right, pipes);
        if there == Step::Reset {
            self.back.know_of_reset();
        }
        let back = self.back.advance(right, left, pipes);
        if back == Step::Reset {
            self.there.know_of_reset();
        }
        match [there, back] {
            [Step::Broken, _] | [_, Step::Broken] | [Step::Refused, Step::Refused] => Fate::Breaks,
            [Step::Open, _] | [_, Step::Open] => Fate::Goes,
            [Step::Reset, _] | [_, Step::Reset] => Fate::Breaks,
            [Step::Ended | Step::Refused, Step::Ended | Step::Refused] => Fate::Ends,
        }
    }

    /// Watches for exactly what the flows wait for.
    pub(super) fn watch(&mut self, poller: &Poller, id: u64) -> io::Result<()> {
        let wanted = [
            Interest { readable: self.there.wants_source(), writable: self.back.wants_sink() },
            Interest { readable: self.back.wants_source(), writable: self.there.wants_sink() },
        ];
        let sides: [(BorrowedFd<'_>, Side); 2] =
            [(self.left.as_fd(), Side::Left), (self.right.as_fd(), Side::Right)];
        for ((socket, side), (watched, wanted)) in
            sides.into_iter().zip(self.watched.iter_mut().zip(wanted))
        {
            change(poller, socket, token(id, side), (*watched, wanted))?;
            *watched = wanted;
        }
        Ok(())
    }

    /// True if the machine had no pipe for its bytes.
    pub(super) fn is_starved(&self) -> bool {
        self.there.is_starved() || self.back.is_starved()
    }

    /// Lets both sides see a reset once they are closed.
    pub(super) fn reset_on_close(&self) {
        for socket in [self.left.as_fd(), self.right.as_fd()] {
            // What cannot be reset is closed, which is all that it knows.
            let _not_tcp = sys::socket::reset_on_close(socket).is_err();
        }
    }

    /// Closes both sides, and gives back what was borrowed.
    pub(super) fn close(mut self, poller: &Poller, pipes: &mut Pipes) {
        for (socket, watched) in [&self.left, &self.right].into_iter().zip(self.watched) {
            if watched != Interest::NONE {
                // Whoever gave it may hold a copy, and then closing ours would not end the watch.
                let _unwatched = poller.remove(socket).is_ok();
            }
        }
        self.there.give_back(pipes);
        self.back.give_back(pipes);
    }
}

/// A side of which nothing is wanted is not watched at all: its hang-up would be told again and
/// again, and means nothing before the other direction has ended.
fn change(
    poller: &Poller,
    socket: BorrowedFd<'_>,
    token: Token,
    (from, to): (Interest, Interest),
) -> io::Result<()> {
    match (from == Interest::NONE, to == Interest::NONE) {
        _ if from == to => Ok(()),
        (true, false) => poller.add(socket, token, to),
        (false, true) => poller.remove(socket),
        _ => poller.change(socket, token, to),
    }
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

fn token(id: u64, side: Side) -> Token {
    Token(id << 1 | u64::from(matches!(side, Side::Right)))
}

/// The relay that an event is about.
pub(super) fn relay_of(token: Token) -> u64 {
    token.0 >> 1
}
