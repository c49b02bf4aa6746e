//! Connections that are being made for the broker.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use libipc::interface::transport::{Dial, Dialed, TransportError};
use libipc::poller::{Interest, Token};
use libipc::varlink;
use relay::failure;

use super::EventLoop;
use super::attach::KEPT_MOST;
use crate::dialling::{Asking, Attempt, Dialling, Phase, Progress};
use crate::failure::unresolved;
use crate::options::Options;
use crate::race::{Race, Turn};
use crate::resolver::{Answer, LOOKUPS_MOST, Question};
use crate::select::Allowed;

/// Longest time that a connection may take, whatever the caller says.
const DIAL_TIME_MOST: Duration = Duration::from_secs(600);

impl EventLoop {
    pub(super) fn dial(&mut self, token: Token, wanted: Dial, now: Instant) {
        let options = match check(&wanted) {
            Ok(options) => options,
            Err(error) => return self.fail(token, &error),
        };
        let time = Duration::from_millis(wanted.deadline_ms).min(DIAL_TIME_MOST);
        let host = wanted.host.clone();
        let port = wanted.port;
        let deadline = now + time;
        let lookup = self.next_token();
        let phase = Phase::Resolving;
        let dialling = Dialling { wanted, options, lookup, deadline, phase, last: None };
        self.dials.insert(token, dialling);
        self.timers.insert((deadline, token));
        if let Ok(address) = host.parse::<IpAddr>() {
            self.start_race(token, [SocketAddr::new(address, port)], now);
            return;
        }
        let question = Question { lookup, caller: token, host, port, deadline };
        if self.resolver.ask(question).is_err() {
            self.end_with(token, &failure::busy("lookups", LOOKUPS_MOST));
        }
    }

    /// Names have been resolved.
    pub(super) fn take_answers(&mut self, now: Instant) {
        while let Some(Answer { lookup, caller: token, found }) = self.resolver.answer() {
            if self.dialling(token).is_none_or(|dialling| dialling.lookup != lookup) {
                continue;
            }
            match found {
                Ok(found) => self.start_race(token, found, now),
                Err(error) => self.end_with(token, &unresolved(&error)),
            }
        }
    }

    fn start_race(
        &mut self,
        token: Token,
        found: impl IntoIterator<Item = SocketAddr>,
        now: Instant,
    ) {
        let Some(dialling) = self.dialling(token) else { return };
        let selected = match Allowed::read(&dialling.wanted.addresses) {
            Ok(allowed) => allowed.select(found, is_own),
            Err(network) => {
                let error = failure::invalid("addresses", &format!("{network} is no network"));
                return self.end_with(token, &error);
            }
        };
        match selected {
            Ok(addresses) => {
                dialling.phase = Phase::Racing(Race::new(addresses, now), Vec::new());
                self.go_on(token, now);
            }
            Err(Some(denied)) => {
                let address = denied.address.to_string();
                let error = TransportError::AddressDenied { address, rule: denied.rule };
                self.end_with(token, &error);
            }
            Err(None) => {
                let reason = "its name has no address".to_owned();
                self.end_with(token, &TransportError::Unreachable { reason, retry: true });
            }
        }
    }

    /// Starts attempts whose time has come, and ends what is late.
    pub(super) fn go_on(&mut self, token: Token, now: Instant) {
        loop {
            let Some(dialling) = self.dialling(token) else { return };
            if dialling.deadline <= now {
                return self.end_with(token, &TransportError::TimedOut {});
            }
            let Phase::Racing(race, _) = &mut dialling.phase else { return };
            match race.turn(now) {
                Turn::Start(address) => self.start_attempt(token, address, now),
                Turn::Wait(Some(next)) => {
                    self.timers.insert((next, token));
                    return;
                }
                Turn::Wait(None) => return,
                Turn::Lost => {
                    let error = dialling.last.as_ref().map(failure::unreachable);
                    let error = error.unwrap_or(TransportError::TimedOut {});
                    return self.end_with(token, &error);
                }
            }
        }
    }

    fn start_attempt(&mut self, token: Token, address: SocketAddr, now: Instant) {
        let watched = self.next_token();
        let origin = self.dialling(token).map(|dialling| dialling.options.origin);
        let started = sys::tcp::connect_start(address, origin.unwrap_or_default())
            .and_then(|socket| self.poller.add(&socket, watched, Interest::WRITE).map(|()| socket));
        let Some(dialling) = self.dialling(token) else { return };
        let Phase::Racing(race, attempts) = &mut dialling.phase else { return };
        match started {
            Ok(socket) => {
                attempts.push(Attempt { token: watched, address, socket });
                self.attempts.insert(watched, token);
            }
            Err(error) => {
                race.failed(now);
                dialling.last = Some(error);
            }
        }
    }

    /// An attempt is connected or has failed, or the far daemon can be talked to.
    pub(super) fn serve_attempt(&mut self, token: Token, watched: Token, now: Instant) {
        let Some(dialling) = self.dialling(token) else { return };
        match &mut dialling.phase {
            Phase::Racing(race, attempts) => {
                let Some(index) = attempts.iter().position(|one| one.token == watched) else {
                    return;
                };
                let attempt = attempts.swap_remove(index);
                // Connected is who has a peer; until then there is nothing to say.
                let error = match sys::socket::take_error(attempt.socket.as_fd()) {
                    Ok(None) if sys::socket::peer_address(attempt.socket.as_fd()).is_ok() => None,
                    Ok(None) => return attempts.push(attempt),
                    Ok(Some(error)) | Err(error) => Some(error),
                };
                if let Some(error) = error {
                    race.failed(now);
                    dialling.last = Some(error);
                    self.drop_attempt(&attempt);
                    self.go_on(token, now);
                } else {
                    self.won(token, attempt, now);
                }
            }
            Phase::Asking(_) => self.ask_on(token, now),
            Phase::Resolving => {}
        }
    }

    /// An attempt is connected: the others are given up.
    fn won(&mut self, token: Token, attempt: Attempt, now: Instant) {
        let Some(dialling) = self.dialling(token) else { return };
        let hello = dialling.wanted.hello.clone();
        let Phase::Racing(_, losers) = std::mem::replace(&mut dialling.phase, Phase::Resolving)
        else {
            return;
        };
        for loser in &losers {
            self.drop_attempt(loser);
        }
        let Some(hello) = hello else { return self.hand_over(token, attempt, now) };
        let asking = Box::new(Asking::new(attempt, &hello));
        if let Some(dialling) = self.dialling(token) {
            dialling.phase = Phase::Asking(asking);
        }
        self.ask_on(token, now);
    }

    fn ask_on(&mut self, token: Token, now: Instant) {
        let Some(dialling) = self.dialling(token) else { return };
        let Phase::Asking(asking) = &mut dialling.phase else { return };
        let interest = match asking.advance() {
            Ok(Progress::Sending) => Interest::WRITE,
            Ok(Progress::Waiting) => Interest::READ,
            Ok(Progress::Yes) => {
                let phase = std::mem::replace(&mut dialling.phase, Phase::Resolving);
                let Phase::Asking(asking) = phase else { return };
                return self.hand_over(token, asking.attempt, now);
            }
            Err(error) => return self.end_with(token, &error),
        };
        let watched = asking.attempt.token;
        if let Some(Dialling { phase: Phase::Asking(asking), .. }) = self.dials.get(&token) {
            // It is watched, so changing that cannot fail.
            let _watched = self.poller.change(&asking.attempt.socket, watched, interest).is_ok();
        }
    }

    /// The socket is the caller's now, and our copy is closed with the answer; or it is kept.
    fn hand_over(&mut self, token: Token, attempt: Attempt, now: Instant) {
        self.drop_attempt(&attempt);
        let Attempt { address, socket, .. } = attempt;
        let options = self.dialling(token).map(|dialling| dialling.options).unwrap_or_default();
        let wanted = self.dialling(token).map(|dialling| &dialling.wanted);
        let is_kept = wanted.is_some_and(|wanted| wanted.keep == Some(true));
        self.finish(token);
        let prepared = sys::socket::set_blocking(socket.as_fd(), true)
            .and_then(|()| options.apply(socket.as_fd()));
        if let Err(error) = prepared {
            return self.fail(token, &failure::unreachable(&error));
        }
        if !is_kept {
            let message = varlink::reply(&Dialed { address, id: None }, false);
            return self.answer(token, message, Some(socket));
        }
        match self.keep(socket, token, now) {
            Some(id) => {
                let dialed = Dialed { address, id: Some(id) };
                self.answer(token, varlink::reply(&dialed, false), None);
            }
            None => self.fail(token, &failure::busy("kept", KEPT_MOST)),
        }
    }

    fn end_with(&mut self, token: Token, error: &TransportError) {
        self.end_dialling(token);
        self.fail(token, error);
    }

    /// Gives up what is being done for a caller.
    pub(super) fn end_dialling(&mut self, token: Token) {
        let Some(dialling) = self.dialling(token) else { return };
        match std::mem::replace(&mut dialling.phase, Phase::Resolving) {
            Phase::Resolving => {}
            Phase::Racing(_, attempts) => {
                for attempt in &attempts {
                    self.drop_attempt(attempt);
                }
            }
            Phase::Asking(asking) => self.drop_attempt(&asking.attempt),
        }
        self.finish(token);
    }

    fn finish(&mut self, token: Token) {
        if let Some(dialling) = self.dials.remove(&token) {
            self.timers.remove(&(dialling.deadline, token));
        }
    }

    fn drop_attempt(&mut self, attempt: &Attempt) {
        self.attempts.remove(&attempt.token);
        self.unwatch(attempt.socket.as_fd());
    }

    fn dialling(&mut self, token: Token) -> Option<&mut Dialling> {
        self.dials.get_mut(&token)
    }
}

fn check(wanted: &Dial) -> Result<Options, TransportError> {
    if wanted.hello.as_ref().is_some_and(|hello| hello.user.is_some() || hello.secret.is_some()) {
        return Err(failure::invalid("hello", "a login does not travel over bare TCP"));
    }
    if wanted.port == 0 {
        return Err(failure::invalid("port", "there is no port 0"));
    }
    Options::read(&wanted.options)
}

/// Whether an address is this host's own: then it is also where we would come from.
fn is_own(address: SocketAddr) -> bool {
    sys::tcp::source_for(address).is_ok_and(|source| source.ip() == address.ip())
}
