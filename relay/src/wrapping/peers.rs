//! Peers that come to sockets which the service manager opened for us.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use libipc::interface::transport::Serve;
use libipc::poller::Token;

use super::{ACCEPT_BATCH, EventLoop, FIRST_LISTENER, HERE, Wrapping};
use crate::source::is_shortage;

/// Time for a peer to prove who it is and to say what it wants.
const SERVE_TIME: Duration = Duration::from_secs(10);

impl<W: Wrapping> EventLoop<W> {
    pub(super) fn accept_peers(&mut self, token: Token, now: Instant) {
        let index = usize::try_from(token.0 - FIRST_LISTENER).unwrap_or(usize::MAX);
        for _ in 0..ACCEPT_BATCH {
            let Some(listener) = self.listeners.get(index) else { return };
            let name = listener.name.clone();
            let net = match sys::socket::accept(listener.socket.as_fd()) {
                Ok(Some(net)) => net,
                Ok(None) => return,
                Err(error) if is_shortage(&error) => return self.rest(now),
                // One connection that went wrong is nobody else's business.
                Err(_) => continue,
            };
            let address = sys::socket::peer_address(net.as_fd()).ok().flatten().unwrap_or(HERE);
            let deadline_ms = u64::try_from(SERVE_TIME.as_millis()).unwrap_or(u64::MAX);
            let wanted = Serve { listener: name, address, service: None, deadline_ms };
            if let Err(error) = self.begin_serving(None, &wanted, net, now) {
                self.turned_away.tell(&wanted.listener, address, &error);
            }
        }
    }
}
