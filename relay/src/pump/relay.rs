//! One relay: two sockets, a flow each way, and what is watched of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libipc::poller::{Interest, Poller, Ready, Token};
use nix::sys::socket::{MsgFlags, recv};

use super::flow::{Flow, Pipes, Step};

/// Bytes thrown away in one turn, so that no relay keeps the others waiting.
const WASTE_BYTES: usize = 16 * 1024;

/// Two connected sockets, and how far their bytes have come.
#[derive(Debug)]
pub(super) struct Relay {
    left: OwnedFd,
    right: OwnedFd,
    /// From left to right, and back.
    there: Flow,
    back: Flow,
    /// A side that is not watched at all is `None`.
    watched: [Option<Interest>; 2],
    /// The side that is told the end, and what it had not taken when it was last looked at.
    parting: Option<(Side, usize)>,
}

/// What is to become of a relay.
pub(super) enum Fate {
    Goes,
    Ends,
    /// One side has gone away: the other one is given time to take what was said, and the end.
    Parts,
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
        Ok(Self { left, right, there, back, watched: [None; 2], parting: None })
    }

    /// Takes note of what is told about a side.
    pub(super) fn note(&mut self, ready: Ready) {
        if !ready.hangup {
            return;
        }
        let (socket, from, to) = match side_of(ready.token) {
            Side::Left => (&self.left, &self.there, &mut self.back),
            Side::Right => (&self.right, &self.back, &mut self.there),
        };
        // Until everything that it has said is on its way, that goes on first.
        if from.is_over() {
            let was_reset = !matches!(sys::socket::take_error(socket.as_fd()), Ok(None));
            to.lose_sink(was_reset);
        }
    }

    /// Moves what can be moved, both ways.
    pub(super) fn step(&mut self, pipes: &mut Pipes) -> Fate {
        if let Some((side, _)) = self.parting {
            return self.waste(side);
        }
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
            [Step::Ended, Step::Ended] => Fate::Ends,
            [Step::Ended, Step::Refused] => self.part(Side::Right),
            [Step::Refused, Step::Ended] => self.part(Side::Left),
        }
    }

    /// What is left is the end of that side, whose own words have no reader.
    fn part(&mut self, side: Side) -> Fate {
        self.parting = Some((side, usize::MAX));
        match self.waste(side) {
            Fate::Goes => Fate::Parts,
            fate => fate,
        }
    }

    /// Throws away what a side says: left unread, it would make closing a reset, by which the side
    /// would lose what it was told before.
    fn waste(&self, side: Side) -> Fate {
        let mut waste = [0; WASTE_BYTES];
        let socket = self.side(side);
        match recv(socket.as_raw_fd(), &mut waste, MsgFlags::MSG_DONTWAIT) {
            Ok(1..) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => Fate::Goes,
            Ok(0) | Err(_) => Fate::Ends,
        }
    }

    /// Whether a side that is told the end still takes what it was told before.
    pub(super) fn is_taking(&mut self) -> bool {
        let Some((side, before)) = self.parting else { return false };
        let left = sys::socket::uncollected(self.side(side)).unwrap_or(0);
        self.parting = Some((side, left));
        left > 0 && left < before
    }

    fn side(&self, side: Side) -> BorrowedFd<'_> {
        match side {
            Side::Left => self.left.as_fd(),
            Side::Right => self.right.as_fd(),
        }
    }

    /// Watches for exactly what the flows wait for.
    pub(super) fn watch(&mut self, poller: &Poller, id: u64) -> io::Result<()> {
        let wanted = [Side::Left, Side::Right].map(|side| (side, self.wanted(side)));
        for (watched, (side, wanted)) in self.watched.iter_mut().zip(wanted) {
            let socket = if side == Side::Left { &self.left } else { &self.right };
            change(poller, socket.as_fd(), token(id, side), (*watched, wanted))?;
            *watched = wanted;
        }
        Ok(())
    }

    fn wanted(&self, side: Side) -> Option<Interest> {
        if let Some((parting, _)) = self.parting {
            return (parting == side).then_some(Interest::READ);
        }
        let (from, to) = match side {
            Side::Left => (&self.there, &self.back),
            Side::Right => (&self.back, &self.there),
        };
        let wanted = Interest { readable: from.wants_source(), writable: to.wants_sink() };
        // Once a side has said everything, its going away ends what is said to it. Before that a
        // hang-up means nothing, and would be told again and again.
        let is_awaited = wanted != Interest::NONE || (from.is_over() && !to.is_over());
        is_awaited.then_some(wanted)
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
            if watched.is_some() {
                // Whoever gave it may hold a copy, and then closing ours would not end the watch.
                let _unwatched = poller.remove(socket).is_ok();
            }
        }
        self.there.give_back(pipes);
        self.back.give_back(pipes);
    }
}

fn change(
    poller: &Poller,
    socket: BorrowedFd<'_>,
    token: Token,
    change: (Option<Interest>, Option<Interest>),
) -> io::Result<()> {
    match change {
        (from, to) if from == to => Ok(()),
        (None, Some(to)) => poller.add(socket, token, to),
        (Some(_), None) => poller.remove(socket),
        (_, Some(to)) => poller.change(socket, token, to),
        (None, None) => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Left,
    Right,
}

fn token(id: u64, side: Side) -> Token {
    Token(id << 1 | u64::from(side == Side::Right))
}

fn side_of(token: Token) -> Side {
    if token.0 & 1 == 1 { Side::Right } else { Side::Left }
}

/// The relay that an event is about.
pub(super) fn relay_of(token: Token) -> u64 {
    token.0 >> 1
}
