//! Remote peers, until they are connected to a service or refused.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use libipc::interface::transport::Told;
use libipc::name::ServiceName;
use libipc::poller::{Interest, Token};
use libipc::varlink;
use relay::source::{is_shortage, source_of};

use super::{ACCEPT_BATCH, EventLoop, FIRST_LISTENER};
use crate::config::Then;
use crate::keepalive::keep_alive;
use crate::peer::{
    BROKER_TIME, DECISION_TIME, Heard, PEERS_MOST, PEERS_PER_ADDRESS_MOST, Peer, Phase,
};

/// What a listener says of whoever comes to it.
struct Listener {
    name: String,
    service: Option<ServiceName>,
    then: Option<Then>,
}

impl EventLoop {
    pub(super) fn accept_peers(&mut self, token: Token, now: Instant) {
        let index = usize::try_from(token.0 - FIRST_LISTENER).unwrap_or(usize::MAX);
        for _ in 0..ACCEPT_BATCH {
            let Some(listener) = self.listeners.0.get(index) else { return };
            match sys::socket::accept(listener.socket.as_fd()) {
                Ok(Some(socket)) => {
                    let listener = Listener {
                        name: listener.name.clone(),
                        service: listener.service.clone(),
                        then: listener.then,
                    };
                    self.take_in(socket, listener, now);
                }
                Ok(None) => return,
                Err(error) if is_shortage(&error) => return self.rest(now),
                // One connection that went wrong is nobody else's business.
                Err(_) => {}
            }
        }
    }

    fn take_in(&mut self, socket: OwnedFd, listener: Listener, now: Instant) {
        let Ok(Some(address)) = sys::socket::peer_address(socket.as_fd()) else { return };
        let source = source_of(address.ip());
        let of_source = self.peers.values().filter(|peer| source_of(peer.address.ip()) == source);
        if self.peers.len() >= PEERS_MOST || of_source.count() >= PEERS_PER_ADDRESS_MOST {
            // Closed: whoever fills the table hears nothing, and others find room sooner.
            return;
        }
        // A peer that is gone already is found out when it is listened to.
        let _gone = keep_alive(socket.as_fd()).is_err();
        let token = self.next_token();
        if self.poller.add(&socket, token, Interest::READ).is_ok() {
            let mut peer = Peer::new(socket, address, listener.name, now);
            peer.is_plain = listener.service.is_some() || listener.then.is_some();
            peer.scheme = listener.then.map_or("tcp", Then::scheme);
            let is_told_at_once = peer.is_plain;
            self.timers.insert((peer.deadline, token));
            self.peers.insert(token, peer);
            if is_told_at_once {
                self.report(token, listener.service.as_ref(), None, now);
            }
        }
    }

    pub(super) fn serve_peer(&mut self, token: Token, now: Instant) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        match peer.listen() {
            Heard::Nothing => {}
            Heard::Asked(asked) => {
                self.report(token, Some(&asked.service), Some(asked.hops), now);
            }
            Heard::Garbage => {
                self.refuse_peer(token, false, now);
            }
            Heard::Gone => drop(self.forget_peer(token)),
        }
    }

    /// Tells the broker. Until it has decided nothing more is read: what follows is the service's.
    fn report(
        &mut self,
        token: Token,
        service: Option<&ServiceName>,
        hops: Option<u32>,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        peer.phase = Phase::Reported;
        let arrival = peer.arrival(token.0, service, hops);
        // Not watched for nothing: a hang-up would be told again and again.
        let _unwatched = self.poller.remove(&peer.socket).is_ok();
        let Some(told) = self.told else {
            // One of us has just been started, and the broker will ask in a moment.
            self.set_deadline(token, now + BROKER_TIME);
            self.untold.insert(token, arrival);
            return;
        };
        self.set_deadline(token, now + DECISION_TIME);
        self.answer(told, varlink::reply(&Told::Arrived { arrival }, true), None);
    }

    /// The broker listens: it is told of those who came before.
    pub(super) fn tell_the_untold(&mut self, now: Instant) {
        let Some(told) = self.told else { return };
        for (token, arrival) in std::mem::take(&mut self.untold) {
            let waits =
                self.peers.get(&token).is_some_and(|peer| matches!(peer.phase, Phase::Reported));
            if waits {
                self.set_deadline(token, now + DECISION_TIME);
                self.answer(told, varlink::reply(&Told::Arrived { arrival }, true), None);
            }
        }
    }

    /// Tells a peer no, and gives it time to hear that. False if there is no such peer.
    pub(super) fn refuse_peer(&mut self, token: Token, retry: bool, now: Instant) -> bool {
        self.untold.remove(&token);
        let Some(peer) = self.peers.get_mut(&token) else { return false };
        let before = peer.deadline;
        if matches!(peer.phase, Phase::Reported) {
            // Was watched before, so watching again cannot fail but for want of memory: then the
            // deadline ends it.
            let _watched = self.poller.add(&peer.socket, token, Interest::READ).is_ok();
        }
        peer.refuse(retry, now);
        let after = peer.deadline;
        self.timers.remove(&(before, token));
        self.timers.insert((after, token));
        true
    }

    pub(super) fn peer_is_late(&mut self, token: Token, now: Instant) {
        let Some(peer) = self.peers.get(&token) else { return };
        match peer.phase {
            // The broker did not decide in time: trying again can help.
            Phase::Reported => {
                self.refuse_peer(token, true, now);
            }
            Phase::Silent(_) | Phase::Parting => drop(self.forget_peer(token)),
        }
    }

    fn set_deadline(&mut self, token: Token, when: Instant) {
        if let Some(peer) = self.peers.get_mut(&token) {
            self.timers.remove(&(peer.deadline, token));
            peer.deadline = when;
            self.timers.insert((when, token));
        }
    }

    pub(super) fn forget_peer(&mut self, token: Token) -> Option<Peer> {
        let peer = self.peers.remove(&token)?;
        self.untold.remove(&token);
        self.timers.remove(&(peer.deadline, token));
        self.unwatch(peer.socket.as_fd());
        Some(peer)
    }
}
