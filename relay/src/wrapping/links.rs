//! Links that are not attached yet: whose they are, and what their reports become.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libipc::interface::transport::{
    Arrival, Arrived, Proven, Serve, Told, TransportError, Wrap, Wrapped,
};
use libipc::interface::tunnel::TunnelError;
use libipc::name::ServiceName;
use libipc::poller::Token;
use libipc::varlink;

use super::{EventLoop, Wrapping};
use crate::failure;
use crate::link::{Agreement, Purpose};
use crate::source::source_of;
use crate::workers::{Beginning, LINKS_MOST, Report};

/// Longest time that a connection may take, whatever the caller says.
const WRAP_TIME_MOST: Duration = Duration::from_secs(600);

/// Longest time that a peer may take to prove who it is and to say what it wants.
const SERVE_TIME_MOST: Duration = Duration::from_secs(10);

/// Peers at most that have not said what they want.
pub(super) const PEERS_MOST: usize = 512;

/// Those of one source: an IPv4 address, or an IPv6 network of 64 bits.
pub(super) const PEERS_PER_SOURCE_MOST: usize = 64;

/// A link that is not attached yet.
#[derive(Debug)]
pub(super) struct Known {
    /// Whose call it is; it goes when that caller does. Nobody's: it came to a socket of ours.
    caller: Option<Token>,
    role: Role,
    pub(super) is_agreed: bool,
}

impl Known {
    /// Whether it is that of a peer, about whom the broker has the next word.
    pub(super) fn is_of_peer(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// Who is at the other end, as people know it.
    pub(super) fn far(&self) -> Box<str> {
        match &self.role {
            Role::Client { host } => host.clone(),
            Role::Server { address, .. } => address.to_string().into(),
        }
    }
}

#[derive(Debug)]
enum Role {
    Client { host: Box<str> },
    Server { listener: String, address: SocketAddr, service: Option<ServiceName> },
}

impl Known {
    fn source(&self) -> Option<IpAddr> {
        match &self.role {
            Role::Server { address, .. } => Some(source_of(address.ip())),
            Role::Client { .. } => None,
        }
    }
}

impl<W: Wrapping> EventLoop<W> {
    pub(super) fn wrap(&mut self, token: Token, mut wanted: Wrap, net: OwnedFd, now: Instant) {
        let make = match self.check_room(&net).and_then(|()| self.wrapping.wrap(&mut wanted)) {
            Ok(make) => make,
            Err(error) => return self.fail(token, &error),
        };
        let id = self.next_link();
        let deadline = end_of_wrapping(wanted.deadline_ms, now);
        let role = Role::Client { host: wanted.host.clone().into() };
        let known = Known { caller: Some(token), role, is_agreed: false };
        self.known.insert(id, known);
        let purpose = Purpose::Ask(wanted.hello);
        self.workers.begin(Beginning { id, make, net, purpose, deadline });
    }

    pub(super) fn serve_for(&mut self, token: Token, wanted: &Serve, net: OwnedFd, now: Instant) {
        if let Err(error) = self.begin_serving(Some(token), wanted, net, now) {
            self.fail(token, &error);
        }
    }

    pub(super) fn begin_serving(
        &mut self,
        caller: Option<Token>,
        wanted: &Serve,
        net: OwnedFd,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.check_room(&net)?;
        self.check_peers(wanted.address)?;
        let (make, offered) = self.wrapping.serve(wanted)?;
        let service = match (&wanted.service, offered) {
            (_, Some(service)) => Some(service),
            (Some(service), None) => Some(
                ServiceName::new(service)
                    .map_err(|error| failure::invalid("service", &error.to_string()))?,
            ),
            (None, None) => None,
        };
        let id = self.next_link();
        let deadline = end_of_proving(wanted.deadline_ms, now);
        let purpose = if service.is_some() { Purpose::Serve } else { Purpose::Listen };
        let (listener, address) = (wanted.listener.clone(), wanted.address);
        let role = Role::Server { listener, address, service };
        self.known.insert(id, Known { caller, role, is_agreed: false });
        self.workers.begin(Beginning { id, make, net, purpose, deadline });
        Ok(())
    }

    fn check_room(&self, net: &OwnedFd) -> Result<(), TransportError> {
        if !sys::socket::is_stream(net.as_fd()).unwrap_or(false) {
            return Err(failure::invalid("descriptor", "it is no stream"));
        }
        room_for_link(self.workers.live())
    }

    fn check_peers(&self, address: SocketAddr) -> Result<(), TransportError> {
        let source = source_of(address.ip());
        let unproven = || self.known.values().filter(|known| !known.is_agreed);
        let peers = unproven().filter(|known| known.source().is_some());
        if peers.count() >= PEERS_MOST {
            return Err(failure::busy("peers", PEERS_MOST));
        }
        if unproven().filter(|known| known.source() == Some(source)).count()
            >= PEERS_PER_SOURCE_MOST
        {
            return Err(failure::busy("peers-per-source", PEERS_PER_SOURCE_MOST));
        }
        Ok(())
    }

    pub(super) fn take_reports(&mut self) {
        while let Some(report) = self.workers.report() {
            match report {
                Report::Agreed(id, agreement) => self.agreed(id, agreement),
                Report::Failed(id, error) => self.failed(id, &error),
                Report::Gone(id) => self.gone(id),
            }
        }
    }

    fn agreed(&mut self, id: u64, agreement: Agreement) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.is_agreed = true;
        let caller = known.caller;
        let identity = Proven { names: agreement.names };
        let message = match &known.role {
            Role::Client { .. } => varlink::reply(&Wrapped { id, identity }, false),
            Role::Server { listener, address, service } => {
                let asked = agreement.asked.as_ref();
                let login = asked.and_then(|asked| asked.login.clone());
                let (user, secret) = login.map(|login| (login.user, login.secret)).unzip();
                let arrival = Arrival {
                    id,
                    scheme: self.wrapping.scheme().to_owned(),
                    listener: listener.clone(),
                    address: SocketAddr::new(address.ip().to_canonical(), address.port()),
                    service: asked
                        .map(|asked| &asked.service)
                        .or(service.as_ref())
                        .map(ToString::to_string),
                    hops: asked.map(|asked| asked.hops),
                    identity,
                    user,
                    secret,
                };
                varlink::reply(&Arrived { arrival }, caller.is_none())
            }
        };
        if let Some(token) = caller.or(self.told) {
            self.answer(token, message, None);
        } else {
            self.known.remove(&id);
            self.workers.refuse(id, TunnelError::no(true));
        }
    }

    /// A link is over. Of one that was attached the broker is told.
    fn gone(&mut self, id: u64) {
        self.known.remove(&id);
        if self.relaying.remove(&id).is_some()
            && let Some(told) = self.told
        {
            self.answer(told, varlink::reply(&Told::Ended { ended: id }, true), None);
        }
    }

    fn failed(&mut self, id: u64, error: &TransportError) {
        if let Some(far) = self.relaying.get(&id) {
            return self.turned_away.tell_broken(far, error);
        }
        let Some(known) = self.known.remove(&id) else { return };
        if let Role::Server { listener, address, .. } = &known.role {
            self.turned_away.tell(listener, *address, error);
        }
        if let Some(token) = known.caller {
            self.fail(token, error);
        }
    }

    /// Ends a link. False if there is none.
    pub(super) fn forget_link(&mut self, id: u64) -> bool {
        let known = self.known.remove(&id).is_some() || self.relaying.contains_key(&id);
        if known {
            self.workers.drop_link(id);
        }
        known
    }

    pub(super) fn forget_links_of(&mut self, caller: Token) {
        let theirs = self.known.iter().filter(|(_, known)| known.caller == Some(caller));
        let ids: Vec<_> = theirs.map(|(id, _)| *id).collect();
        for id in ids {
            self.forget_link(id);
        }
    }
}

/// Whether there may be one more beside `live` links.
fn room_for_link(live: usize) -> Result<(), TransportError> {
    if live < LINKS_MOST { Ok(()) } else { Err(failure::busy("relays", LINKS_MOST)) }
}

/// When a connection has to be agreed for which the caller gives so many milliseconds.
fn end_of_wrapping(asked_ms: u64, now: Instant) -> Instant {
    now + Duration::from_millis(asked_ms).min(WRAP_TIME_MOST)
}

/// When a peer has to have proven who it is.
fn end_of_proving(asked_ms: u64, now: Instant) -> Instant {
    now + Duration::from_millis(asked_ms).min(SERVE_TIME_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_links_as_the_limit_and_one_more_is_told_so() {
        assert_eq!(room_for_link(9_999), Ok(()));
        let full = TransportError::Busy { limit: "relays".to_owned(), most: 10_000 };
        assert_eq!(room_for_link(10_000), Err(full));
    }

    #[test]
    fn wrapping_lasts_ten_minutes_and_proving_ten_seconds_whatever_the_caller_says() {
        let now = Instant::now();
        let times = |end: fn(u64, Instant) -> Instant, asked: [u64; 4]| {
            asked.map(|asked| (end(asked, now) - now).as_millis())
        };
        let wrapping = times(end_of_wrapping, [599_999, 600_000, 600_001, u64::MAX]);
        assert_eq!(wrapping, [599_999, 600_000, 600_000, 600_000]);
        let proving = times(end_of_proving, [9_999, 10_000, 10_001, u64::MAX]);
        assert_eq!(proving, [9_999, 10_000, 10_000, 10_000]);
    }
}
