//! The second step: what was agreed goes on, to the broker or through a relay.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libipc::interface::transport::{Agreed, Empty, Told, TransportError};
use libipc::poller::Token;
use libipc::varlink;
use relay::failure;
use relay::pump::RELAYS_MOST;
use relay::service::connect;

use super::EventLoop;
use crate::peer::Phase;

/// Connections that are kept for a second step, at most.
pub(super) const KEPT_MOST: usize = 1024;

/// How long a connection is kept.
const KEPT_TIME: Duration = Duration::from_secs(10);

/// A connection that was made and is kept for a second step.
#[derive(Debug)]
pub(super) struct Kept {
    socket: OwnedFd,
    /// Whose call made it; it goes when that caller does.
    caller: Token,
    deadline: Instant,
}

impl EventLoop {
    /// Keeps a connection for `caller`; its id. `None` if too many are kept.
    pub(super) fn keep(&mut self, socket: OwnedFd, caller: Token, now: Instant) -> Option<u64> {
        if self.kept.len() >= KEPT_MOST {
            return None;
        }
        let token = self.next_token();
        let deadline = now + KEPT_TIME;
        self.timers.insert((deadline, token));
        self.kept.insert(token, Kept { socket, caller, deadline });
        Some(token.0)
    }

    pub(super) fn forget_kept(&mut self, token: Token) -> Option<OwnedFd> {
        let kept = self.kept.remove(&token)?;
        self.timers.remove(&(kept.deadline, token));
        Some(kept.socket)
    }

    pub(super) fn forget_kept_of(&mut self, caller: Token) {
        let kept = self.kept.iter().filter(|(_, kept)| kept.caller == caller);
        let tokens: Vec<_> = kept.map(|(token, _)| *token).collect();
        for token in tokens {
            self.forget_kept(token);
        }
    }

    /// The broker said yes: the service is connected to, a peer is told, and bytes may move.
    pub(super) fn attach(
        &mut self,
        caller: Token,
        agreed: Agreed,
        descriptor: Option<OwnedFd>,
        now: Instant,
    ) {
        let token = Token(agreed.id);
        if !self.is_reported(token) && !self.kept.contains_key(&token) {
            return self.fail(caller, &TransportError::UnknownId { id: agreed.id });
        }
        let service = match self.service(descriptor) {
            Ok(service) => service,
            Err(error) => {
                self.turn_away(token, now);
                return self.fail(caller, &error);
            }
        };
        let Some(socket) = self.take_agreed(token) else {
            let reason = "the peer is gone".to_owned();
            return self.fail(caller, &TransportError::Unreachable { reason, retry: false });
        };
        let answer = varlink::reply(&Empty {}, false);
        let Some(service) = service else {
            return match sys::socket::set_blocking(socket.as_fd(), true) {
                Ok(()) => self.answer(caller, answer, Some(socket)),
                Err(error) => self.fail(caller, &failure::unreachable(&error)),
            };
        };
        // Pieces pass as they come. What is no TCP connection any more is found out by relaying.
        let _broken = sys::tcp::set_nodelay(socket.as_fd()).is_err();
        match self.pumps.add(agreed.id, socket, service) {
            Ok(()) => {
                self.relayed.insert(agreed.id);
                self.answer(caller, answer, None);
            }
            Err(_) => self.fail(caller, &failure::busy("relays", RELAYS_MOST)),
        }
    }

    /// Ends what is relayed under that number. False if nothing is.
    pub(super) fn end_relay(&mut self, id: u64) -> bool {
        let is_known = self.relayed.contains(&id);
        if is_known {
            self.pumps.end(id);
        }
        is_known
    }

    /// Tells the broker of relays that are over.
    pub(super) fn tell_ends(&mut self) {
        while let Some(id) = self.pumps.ended() {
            self.relayed.remove(&id);
            if let Some(told) = self.told {
                self.answer(told, varlink::reply(&Told::Ended { ended: id }, true), None);
            }
        }
    }

    fn is_reported(&self, token: Token) -> bool {
        self.peers.get(&token).is_some_and(|peer| matches!(peer.phase, Phase::Reported))
    }

    /// The connection to the service, if there is to be a relay to one. Whatever can fail does so
    /// before a peer has heard yes.
    fn service(&self, descriptor: Option<OwnedFd>) -> Result<Option<OwnedFd>, TransportError> {
        if descriptor.is_some() && self.pumps.live() >= RELAYS_MOST {
            return Err(failure::busy("relays", RELAYS_MOST));
        }
        descriptor.map(connect).transpose().map_err(|error| failure::unreachable(&error))
    }

    /// The socket of what was agreed, after a peer has been told yes. `None` if it is gone.
    fn take_agreed(&mut self, token: Token) -> Option<OwnedFd> {
        if let Some(kept) = self.forget_kept(token) {
            return Some(kept);
        }
        let peer = self.forget_peer(token)?;
        peer.say_yes().then_some(peer.socket)
    }

    fn turn_away(&mut self, token: Token, now: Instant) {
        if !self.refuse_peer(token, true, now) {
            self.forget_kept(token);
        }
    }
}
