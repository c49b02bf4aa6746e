//! Which daemons there are to carry connections.

use std::time::Instant;

use libipc::interface::transport::Told;
use libipc::poller::{Interest, Token};

use super::{Daemon, EventLoop, LOOK_AGAIN, Source};
use crate::action::Event;
use crate::channel::{self, Channel, Heard};

impl EventLoop<'_> {
    /// Takes the daemons of the configuration; those that listen already go on.
    pub(super) fn know_daemons(&mut self, now: Instant) {
        for name in self.broker.live().daemons() {
            if !self.daemons.iter().any(|daemon| daemon.name == name) {
                self.daemons.push(Daemon { name, listening: false, retry: now });
            }
        }
    }

    pub(super) fn look_for_daemons(&mut self, now: Instant) {
        for index in 0..self.daemons.len() {
            let Some(daemon) = self.daemons.get_mut(index) else { continue };
            if daemon.listening || daemon.retry > now {
                continue;
            }
            daemon.retry = now + LOOK_AGAIN;
            let path = self.transports.join(&daemon.name);
            let Ok(channel) = Channel::listen(&path) else { continue };
            let token = self.next_token();
            if self.poller.add(&channel, token, Interest::READ).is_ok() {
                self.sources.insert(token, Source::Listen(index, channel));
                if let Some(daemon) = self.daemons.get_mut(index) {
                    daemon.listening = true;
                }
                self.tell_transports();
            }
        }
    }

    /// Reads what a daemon tells of peers.
    pub(super) fn serve_listen(&mut self, token: Token, index: usize, now: Instant) {
        loop {
            let Some(Source::Listen(_, channel)) = self.sources.get_mut(&token) else { return };
            match channel.read() {
                Heard::Nothing => return,
                Heard::Over => {
                    self.forget(token);
                    if let Some(daemon) = self.daemons.get_mut(index) {
                        daemon.listening = false;
                        daemon.retry = now + LOOK_AGAIN;
                    }
                    return self.tell_transports();
                }
                Heard::Message(message) => {
                    let Some(daemon) = self.daemons.get(index) else { return };
                    let daemon = daemon.name.clone();
                    let event = match channel::read_reply(&message.bytes) {
                        Some(Told::Arrived { arrival }) => Event::Arrived { daemon, arrival },
                        Some(Told::Ended { ended }) => Event::RelayEnded { daemon, id: ended },
                        None => continue,
                    };
                    self.report(event, now);
                }
            }
        }
    }

    pub(super) fn tell_transports(&mut self) {
        let listening = self.daemons.iter().filter(|daemon| daemon.listening);
        self.broker.set_transports(listening.map(|daemon| daemon.name.clone()).collect());
    }
}
