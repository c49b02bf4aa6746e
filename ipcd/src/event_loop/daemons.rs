//! Which daemons there are to carry connections.

use std::time::{Duration, Instant};

use libipc::interface::transport::Told;
use libipc::poller::{Interest, Token};
use libipc::varlink::Bytes;

use super::{Daemon, EventLoop, Source};
use crate::action::Event;
use crate::channel::{self, Channel, Heard};

/// How long at least, and at most, until a daemon that is not there is looked for again: in between
/// a tenth of the time that it has not been there. So one that restarts is found soon, and one that
/// is not installed costs nothing.
const REST_LEAST: Duration = Duration::from_millis(100);
const REST_MOST: Duration = Duration::from_secs(1);

impl Daemon {
    fn new(name: String, now: Instant) -> Self {
        Self { name, finishing: None, listening: false, absent_since: now, retry: now }
    }

    /// It was there until now.
    pub(super) fn is_gone(&mut self, now: Instant) {
        self.listening = false;
        self.absent_since = now;
        self.is_absent(now);
    }

    /// When it is looked for next. One that has left its place to another generation never is.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.listening && self.finishing.is_none()).then_some(self.retry)
    }

    fn is_absent(&mut self, now: Instant) {
        let absent = now.saturating_duration_since(self.absent_since);
        self.retry = now + (absent / 10).clamp(REST_LEAST, REST_MOST);
    }
}

impl EventLoop<'_> {
    /// Takes the daemons of the configuration; those that listen already go on.
    pub(super) fn know_daemons(&mut self, now: Instant) {
        for name in self.broker.live().daemons() {
            let is_known = |one: &Daemon| one.name == name && one.finishing.is_none();
            if !self.daemons.iter().any(is_known) {
                self.add_daemon(Daemon::new(name, now));
            }
        }
    }

    /// In the place of one that has finished, if there is such a place.
    fn add_daemon(&mut self, daemon: Daemon) {
        let is_over = |one: &&mut Daemon| one.finishing.is_some() && !one.listening;
        match self.daemons.iter_mut().find(is_over) {
            Some(place) => *place = daemon,
            None => self.daemons.push(daemon),
        }
    }

    /// A daemon leaves its place to another generation of itself, which is asked for peers from now
    /// on. What goes through it is still told by it.
    fn finishes(&mut self, index: usize, generation: u64, now: Instant) {
        let Some(daemon) = self.daemons.get_mut(index) else { return };
        if daemon.finishing.replace(generation).is_none() {
            let next = Daemon::new(daemon.name.clone(), now);
            self.add_daemon(next);
            self.look_for_daemons(now);
        }
        self.tell_transports();
    }

    pub(super) fn look_for_daemons(&mut self, now: Instant) {
        for index in 0..self.daemons.len() {
            let Some(daemon) = self.daemons.get_mut(index) else { continue };
            if daemon.next_look().is_none_or(|when| when > now) {
                continue;
            }
            daemon.is_absent(now);
            let path = self.transports.join(&daemon.name);
            let Ok(channel) = Channel::listen(&path) else { continue };
            let token = self.next_token();
            let interest = if channel.has_outgoing() { Interest::BOTH } else { Interest::READ };
            if self.poller.add(&channel, token, interest).is_ok() {
                self.sources.insert(token, Source::Listen(index, channel));
                if let Some(daemon) = self.daemons.get_mut(index) {
                    daemon.listening = true;
                }
                self.tell_transports();
            }
        }
    }

    /// Calls a daemon that accepts nobody any more, behind its own question about peers.
    pub(super) fn tell_finishing(&mut self, name: &str, generation: u64, message: Bytes) {
        let is_it = |one: &Daemon| one.name == name && one.finishing == Some(generation);
        let Some(wanted) = self.daemons.iter().position(|one| one.listening && is_it(one)) else {
            return;
        };
        let found = self.sources.iter_mut().find_map(|(token, source)| match source {
            Source::Listen(index, channel) if *index == wanted => Some((*token, channel)),
            _ => None,
        });
        let Some((token, channel)) = found else { return };
        // Where it is gone, its relays are too.
        if channel.send(message, None) && channel.has_outgoing() {
            self.watch(token, Interest::BOTH);
        }
    }

    /// Reads what a daemon tells of peers.
    pub(super) fn serve_listen(&mut self, token: Token, index: usize, now: Instant) {
        if let Some(Source::Listen(_, channel)) = self.sources.get_mut(&token)
            && channel.has_outgoing()
            && channel.flush()
        {
            self.watch(token, Interest::READ);
        }
        loop {
            let Some(Source::Listen(_, channel)) = self.sources.get_mut(&token) else { return };
            match channel.read() {
                Heard::Nothing => return,
                Heard::Over => {
                    self.forget(token);
                    if let Some(daemon) = self.daemons.get_mut(index) {
                        daemon.is_gone(now);
                    }
                    return self.tell_transports();
                }
                Heard::Message(message) => {
                    let Some(daemon) = self.daemons.get(index) else { return };
                    let daemon = daemon.name.clone();
                    let event = match channel::read_reply(&message.bytes) {
                        Some(Told::Arrived { arrival }) => Event::Arrived { daemon, arrival },
                        Some(Told::Ended { ended }) => Event::RelayEnded { daemon, id: ended },
                        Some(Told::Finishing { finishing }) => {
                            self.finishes(index, finishing, now);
                            continue;
                        }
                        None => continue,
                    };
                    self.report(event, now);
                }
            }
        }
    }

    pub(super) fn tell_transports(&mut self) {
        let listening = self.daemons.iter().filter(|daemon| daemon.listening);
        let (finishing, serving): (Vec<_>, Vec<_>) =
            listening.partition(|daemon| daemon.finishing.is_some());
        let generation = |one: &Daemon| Some((one.name.clone(), one.finishing?));
        let finishing = finishing.into_iter().filter_map(generation).collect();
        let serving = serving.into_iter().map(|daemon| daemon.name.clone()).collect();
        self.broker.set_transports(serving, finishing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_daemon_is_not_there_the_less_often_it_is_looked_for() {
        let start = Instant::now();
        let mut daemon = Daemon::new("tcp".to_owned(), start);
        assert_eq!(daemon.retry, start, "it is looked for at once");
        let mut rest_after = |absent: u64| {
            let now = start + Duration::from_millis(absent);
            daemon.is_absent(now);
            daemon.retry.saturating_duration_since(now).as_millis()
        };
        assert_eq!(
            [0, 500, 5_000, 10_000, 100_000].map(&mut rest_after),
            [100, 100, 500, 1_000, 1_000]
        );
        let now = start + Duration::from_secs(100);
        daemon.is_gone(now);
        assert_eq!(daemon.next_look(), Some(now + REST_LEAST));
    }

    #[test]
    fn nobody_looks_for_what_is_there_or_has_finished() {
        let now = Instant::now();
        let mut daemon = Daemon::new("tls".to_owned(), now);
        assert_eq!(daemon.next_look(), Some(now));
        daemon.listening = true;
        assert_eq!(daemon.next_look(), None);
        daemon.finishing = Some(1);
        assert_eq!(daemon.next_look(), None);
        daemon.is_gone(now);
        assert_eq!(daemon.next_look(), None, "another generation has its place");
    }
}
