//! Clients that come in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libipc::identity::{Identity, LocalIdentity};
use libipc::poller::{Interest, Ready, Token};
use sys::ancillary::{self, Wait};
use sys::credentials::PeerCredentials;

use super::{Accepting, EventLoop, Source, Watched};
use crate::action::{ClientId, Entrance, Event};
use crate::broker::Full;
use crate::client::{Connection, Origin};

/// How long accepting rests when the machine is out of descriptors or memory.
const REST: Duration = Duration::from_millis(50);

/// Connections that are accepted before others are served again, at most, where many wait.
const ACCEPT_BATCH: usize = 256;

/// Of those, how many are let in before others are served again, at least and at most: as many as
/// were served in this turn.
const LET_IN_LEAST: usize = 4;
const LET_IN_MOST: usize = 16;

/// Turns in a row that accepted all they might, behind which a crowd is taken to wait.
const TURNS_OF_A_CROWD: u32 = 4;

/// One who has connected and was not let in yet.
pub(super) struct Visitor {
    socket: OwnedFd,
    identity: LocalIdentity,
    entrance: Entrance,
}

impl EventLoop<'_> {
    /// Accepts at those entrances of `ready` that somebody waits at, and lets in. Those who have
    /// left in this turn have made room.
    ///
    /// Where one comes after the other, one is accepted, for a look whether there is another one
    /// costs as much. Where that was too few several times, twice as many are each time, so that
    /// the kernel's line, in which the users are not told apart, stays short.
    pub(super) fn accept_at(&mut self, ready: &[Ready], now: Instant) {
        let crowd = 1_usize.checked_shl(self.full_turns.saturating_sub(TURNS_OF_A_CROWD));
        let most = crowd.unwrap_or(ACCEPT_BATCH).max(ready.len()).min(ACCEPT_BATCH);
        let mut are_more = false;
        for one in ready {
            if self.entrances.contains_key(&one.token) {
                are_more |= self.accept(one.token, most, now);
            }
        }
        self.full_turns = if are_more { self.full_turns.saturating_add(1) } else { 0 };
        for _ in 0..ready.len().clamp(LET_IN_LEAST, LET_IN_MOST) {
            let Some(visitor) = self.lobby.next() else { return };
            self.let_in(visitor, now);
        }
    }

    /// Accepts so many at most. True if there may be more.
    fn accept(&mut self, entrance: Token, most: usize, now: Instant) -> bool {
        for _ in 0..most {
            if matches!(self.accepting, Accepting::Ending(_)) {
                return false;
            }
            let Some(way) = self.entrances.get(&entrance) else { return false };
            match way.listener.try_accept() {
                Ok(Some(stream)) => {
                    let Some(Identity::Local(identity)) = stream.peer().cloned() else { continue };
                    let (user, entrance) = (identity.uid, way.entrance.clone());
                    let visitor = Visitor { socket: stream.into(), identity, entrance };
                    match self.broker.has_room(user, &self.lobby) {
                        // There is nobody to take turns with.
                        Ok(()) if most == 1 && self.lobby.waiting() == 0 => {
                            self.let_in(visitor, now);
                        }
                        Ok(()) => self.lobby.enter(user, visitor),
                        Err(full) => self.turn_away(visitor, full, now),
                    }
                }
                Ok(None) => return false,
                Err(error) if is_shortage(&error) => {
                    self.rest(entrance, now);
                    return false;
                }
                // One connection that went wrong is nobody else's business.
                Err(_) => {}
            }
        }
        true
    }

    fn let_in(&mut self, visitor: Visitor, now: Instant) {
        let Visitor { socket, identity, entrance } = visitor;
        let origin = match entrance {
            Entrance::Front(_) => Origin::Front,
            _ => Origin::Requests,
        };
        let connection = Connection::new(socket, credentials(&identity), origin);
        self.take_in(connection, identity, entrance, now);
    }

    /// Makes a client of a socket that another client sent.
    pub(super) fn adopt(
        &mut self,
        through: ClientId,
        descriptor: OwnedFd,
        maker: LocalIdentity,
        now: Instant,
    ) {
        // What cannot be taken in is closed, which its maker sees.
        let Ok(connection) = Connection::adopted(descriptor, credentials(&maker)) else { return };
        self.take_in(connection, maker, Entrance::Adopted(through), now);
    }

    pub(super) fn take_in(
        &mut self,
        connection: Connection,
        identity: LocalIdentity,
        entrance: Entrance,
        now: Instant,
    ) {
        let token = self.next_token();
        let client = ClientId::of(token);
        let asks_by_itself = matches!(entrance, Entrance::Front(_));
        let interest = if asks_by_itself { Interest::NONE } else { Interest::READ };
        let watched = Watched { interest, begun: false };
        self.sources.insert(token, Source::Client(client, connection, watched));
        self.report(Event::Connected { client, identity, entrance }, now);
        if !asks_by_itself {
            // Most clients have asked by the time they are accepted.
            self.read_client(token, now);
        }
        // Many have gone to their service by now.
        self.begin_watching(token, now);
    }

    fn begin_watching(&mut self, token: Token, now: Instant) {
        let Some(Source::Client(_, connection, watched)) = self.sources.get_mut(&token) else {
            return;
        };
        let added = connection.socket().map(|one| self.poller.add(one, token, watched.interest));
        watched.begun = matches!(added, Some(Ok(())));
        if !watched.begun {
            // The machine is out of something; the client sees the end.
            self.lose(token, now);
        }
    }

    /// The machine is out of descriptors or memory: one waiting client is told so, with the
    /// descriptor kept for that, and accepting rests.
    fn rest(&mut self, entrance: Token, now: Instant) {
        self.spare = None;
        self.turn_one_away(entrance, now);
        self.spare = super::spare();
        if !matches!(self.accepting, Accepting::Ending(_)) {
            self.accepting = Accepting::Paused(now + REST);
        }
        self.watch_entrances(Interest::NONE);
    }

    fn turn_one_away(&mut self, entrance: Token, now: Instant) {
        let Some(way) = self.entrances.get(&entrance) else { return };
        // Where not even that works, it waits, or sees the end.
        let Ok(Some(stream)) = way.listener.try_accept() else { return };
        let Some(Identity::Local(identity)) = stream.peer().cloned() else { return };
        let entrance = way.entrance.clone();
        let visitor = Visitor { socket: stream.into(), identity, entrance };
        self.turn_away(visitor, self.broker.out_of_descriptors(), now);
    }

    /// Tells somebody why he is not let in, as far as he listens, and closes.
    fn turn_away(&mut self, visitor: Visitor, full: Full, now: Instant) {
        let Visitor { socket, identity, entrance } = visitor;
        let mut message = None;
        self.decide(now, |broker, at| {
            message = broker.turn_away(identity, &entrance, full, at.now);
            broker.take_actions()
        });
        if let Some(message) = message {
            // Nothing was sent before: there is room for it, or nobody is there.
            let _told = ancillary::send(socket.as_fd(), &message, &[], Wait::Never).is_ok();
        }
    }

    pub(super) fn watch_entrances(&self, interest: Interest) {
        for (token, way) in &self.entrances {
            // Watching again what was watched before cannot fail for want of anything.
            let _watched = self.poller.change(&way.listener, *token, interest).is_ok();
        }
    }
}

/// A client of our own, with one end of a socket pair that we made.
pub(super) fn own(socket: OwnedFd, maker: &LocalIdentity) -> io::Result<Connection> {
    Connection::adopted(socket, credentials(maker))
}

pub(super) fn credentials(identity: &LocalIdentity) -> PeerCredentials {
    PeerCredentials { pid: identity.pid, uid: identity.uid, gid: identity.gid }
}

fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}
