//! The way to another host: its turn, its time, and the first daemon of the stack, which dials.

use std::time::Duration;

use libipc::interface::broker::{BrokerError, Handoff};
use libipc::interface::transport::{DIAL, Dial};
use libipc::varlink::{self, CallFlags};
use policy::decide::Candidate;
use policy::query::Verdict;
use policy::target::{RemoteTarget, Target};

use super::quota::Turn;
use super::requests::{Outcome, State};
use super::stack::{self, Stage};
use super::{Broker, Caller, Moment, busy, milliseconds};
use crate::action::{Action, ClientId};
use crate::answer;

/// Our own guard behind the time that a daemon was given.
pub(super) const GUARD: Duration = Duration::from_millis(200);

impl Broker {
    pub(super) fn dial(
        &mut self,
        client: ClientId,
        candidate: &Candidate,
        remote: &RemoteTarget,
        at: Moment<'_>,
    ) -> Outcome {
        let stack = self.live.config.schemes().stack(&remote.scheme).unwrap_or_default();
        let missing = stack.iter().find(|daemon| !at.world.has_transport(daemon));
        if let Some(missing) = missing {
            return Outcome::Failed(answer::transport_missing(candidate, missing));
        }
        let Some(known) = self.clients.get(&client) else { return Outcome::Done };
        let takes = known.request.as_ref().map(|request| request.take.as_slice());
        let may = [Handoff::Descriptor, Handoff::Upgrade];
        if !takes.unwrap_or_default().iter().any(|take| may.contains(take)) {
            return Outcome::Failed(answer::no_handoff(candidate, &may));
        }
        let user = known.identity.uid;
        let budget = (self.live.config.limits.new_targets_per_user, at.now);
        let visited = self.targets.visit(user, &remote.host.bare(), remote.port, budget);
        if let Err(full) = visited {
            return Outcome::Failed(busy(full));
        }
        match self.quota.dial(user, client, self.most()) {
            Err(full) => Outcome::Failed(busy(full)),
            Ok(Turn::Now) => {
                self.start_dial(client, at);
                Outcome::Waiting
            }
            Ok(Turn::Later) => {
                let Some(request) = self.request(client) else { return Outcome::Done };
                let until = request.deadline;
                request.state = State::Queued { until };
                self.timers.insert((until, client));
                Outcome::Waiting
            }
        }
    }

    /// Calls the daemon for the current candidate. The place for it is taken already.
    fn start_dial(&mut self, client: ClientId, at: Moment<'_>) {
        let schemes = self.live.config.schemes().clone();
        let Some(request) = self.request(client) else { return };
        let Some(candidate) = request.candidates.get(request.current).cloned() else { return };
        let (Target::Remote(remote), Verdict::Allow { addresses, .. }) =
            (&candidate.target, &candidate.verdict)
        else {
            return;
        };
        let share = request.share_of_time(at.now);
        let stack = schemes.stack(&remote.scheme).unwrap_or_default();
        let Some(daemon) = stack.first() else { return };
        let is_kept = stack.len() == 1 && self.gives_itself(client);
        let parameters = Dial {
            host: remote.host.bare(),
            port: remote.port,
            addresses: answer::addresses(addresses, schemes.dials_addresses(&remote.scheme)),
            options: remote.options_for(daemon, true),
            hello: if stack.len() == 1 { stack::hello_for(remote) } else { None },
            keep: is_kept.then_some(true),
            deadline_ms: milliseconds(share).max(1),
        };
        let message = varlink::call(DIAL, &parameters, CallFlags::default());
        let call = self.call(daemon, message, None, Caller::Client(client));
        let until = at.now + share + GUARD;
        if let Some(request) = self.request(client) {
            request.state = State::Dialling { call, until, stage: Stage::Dial };
        }
        self.timers.insert((until, client));
    }

    /// The current candidate, or the wait for its turn, took too long.
    pub(super) fn timed_out(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(request) = self.request(client) else { return };
        let waited = request.waited(at.now);
        let target = request.candidates.get(request.current).map(|one| one.target.to_string());
        let target = target.unwrap_or_default();
        match request.state {
            State::Waiting { until, .. } if until <= at.now => self.waited_in_vain(client, at),
            State::Queued { until } if until <= at.now => {
                let user = self.clients.get(&client).and_then(|known| known.identity.uid);
                self.quota.stop_waiting(user, client);
                let error = BrokerError::TimedOut { target, waited_ms: milliseconds(waited) };
                self.end_with(client, &error, at);
            }
            State::Dialling { call, until, .. } if until <= at.now => {
                self.calls.remove(&call);
                self.actions.push(Action::Cancel { call });
                self.release(client, at);
                let error = BrokerError::TimedOut { target, waited_ms: milliseconds(waited) };
                self.failed(client, error, at);
            }
            _ => {}
        }
    }

    /// Gives the place of the current dial back, and starts the next of that user.
    pub(super) fn release(&mut self, client: ClientId, at: Moment<'_>) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        let user = known.identity.uid;
        let Some(request) = known.request.as_mut() else { return };
        let State::Dialling { until, .. } = request.state else { return };
        request.state = State::New;
        self.timers.remove(&(until, client));
        while let Some(next) = self.quota.dialled(user) {
            let waiting = self.request(next).map(|request| match request.state {
                State::Queued { until } => Some(until),
                _ => None,
            });
            let Some(Some(until)) = waiting else { continue };
            self.timers.remove(&(until, next));
            if !self.is_outdated(next) {
                return self.start_dial(next, at);
            }
            // Decided before a reload: it is asked anew, and its turn is somebody else's.
            if let Some(request) = self.request(next) {
                request.state = State::New;
            }
            self.go_on(next, at);
        }
    }
}
