//! Logins that peers bring: the authentication service verifies them before policy is asked.
//!
//! The broker asks that service as its own client, so that rules and redirects hold for this too,
//! and forgets the secret as soon as it is on its way.

use std::time::{Duration, Instant};

use libipc::interface::Identity;
use libipc::interface::authenticator::{AuthenticatorError, VERIFY, Verified, Verify};
use libipc::interface::broker::BrokerError;
use libipc::interface::transport::Arrival;
use libipc::name::ServiceName;
use libipc::secret::Secret;
use libipc::varlink::{self, CallFlags};
use policy::peer::login_names;

use super::arrivals::{Bringer, Peer};
use super::quota::Full;
use super::{Broker, Caller, Moment, busy, milliseconds};
use crate::action::{Action, Answer, CallId};
use crate::channel::read_reply;
use crate::decision;

/// A user and a secret, as a peer has said them.
pub(super) struct Login {
    user: Secret,
    secret: Secret,
}

impl Login {
    /// Takes the login out of what a daemon told, if there is one.
    pub(super) fn take(arrival: &mut Arrival) -> Option<Self> {
        let (user, secret) = (arrival.user.take(), arrival.secret.take());
        user.zip(secret).map(|(user, secret)| Self { user, secret })
    }
}

/// A peer whose login is being verified. The login itself is not kept.
#[derive(Debug)]
pub(super) struct Verifying {
    from: Bringer,
    arrival: Arrival,
    peer: Peer,
    service: ServiceName,
    started: Instant,
}

/// Why a peer that brought a login gets nothing.
pub(super) struct NotProven {
    pub(super) error: BrokerError,
    /// Whether the same login may be accepted later.
    pub(super) retry: bool,
}

impl Broker {
    /// Has a peer's login verified; policy is asked when that is done.
    pub(super) fn verify(
        &mut self,
        mut from: Bringer,
        (arrival, peer): (Arrival, Peer),
        login: Login,
        at: Moment<'_>,
    ) {
        let service = match self.verifier() {
            Ok(service) => service,
            Err(reason) => return self.not_proven((&from, arrival.id), peer, &reason, at),
        };
        let Login { user, secret } = login;
        let parameters = Verify { user, secret, peer: peer.identity.address.to_string() };
        let message = varlink::call(VERIFY, &parameters, CallFlags::default());
        let limit = self.live.config.limits.login_timeout;
        let before = from.via;
        let held = before.map(|_| self.next_call(Caller::Nobody));
        from.via = held;
        let verifying =
            Verifying { from, arrival, peer, service: service.clone(), started: at.now };
        let call = self.next_call(Caller::Login(Box::new(verifying)));
        if let (Some(before), Some(held)) = (before, held) {
            self.calls.insert(held, Caller::Held { login: call });
            self.actions.push(Action::Hold { before, call: held });
        }
        self.logins.insert((at.now + limit, call));
        self.actions.push(Action::Ask { call, service, message, timeout: limit });
    }

    /// The service that verifies logins, if one more may be verified.
    pub(super) fn verifier(&self) -> Result<ServiceName, NotProven> {
        let Some(service) = self.live.config.authentication.clone() else {
            let reason = "it brought a login, and nothing verifies logins here: write the name of \
                          a service that does, [authentication] service = \"authd\", in ipcd.toml"
                .to_owned();
            let error = BrokerError::Unauthenticated { reason };
            return Err(NotProven { error, retry: false });
        };
        let most = self.live.config.limits.logins;
        if self.logins.len() >= most {
            let error = busy(Full { limit: "logins", most });
            return Err(NotProven { error, retry: true });
        }
        Ok(service)
    }

    /// The authentication service answered, or will not.
    pub(super) fn login_answered(
        &mut self,
        call: CallId,
        verifying: Verifying,
        answer: &Answer,
        at: Moment<'_>,
    ) {
        self.logins.retain(|(_, known)| *known != call);
        let Verifying { from, arrival, mut peer, service, .. } = verifying;
        if let Some(held) = from.via {
            self.calls.remove(&held);
        }
        match read(answer, &service) {
            Ok(names) => {
                peer.identity.names.extend(names);
                self.judge(&from, &arrival, peer, at);
            }
            Err(reason) => self.not_proven((&from, arrival.id), peer, &reason, at),
        }
    }

    /// The daemon that brought the peer is gone, and the peer with it.
    pub(super) fn login_abandoned(&mut self, login: CallId) {
        if self.calls.remove(&login).is_some() {
            self.logins.retain(|(_, known)| *known != login);
            self.actions.push(Action::Cancel { call: login });
        }
    }

    /// Ends what was not verified in time.
    pub(super) fn give_up_logins(&mut self, at: Moment<'_>) {
        while let Some((when, call)) = self.logins.first().copied() {
            if when > at.now {
                return;
            }
            self.logins.pop_first();
            self.actions.push(Action::Cancel { call });
            let verifying = match self.calls.remove(&call) {
                Some(Caller::Login(verifying)) => verifying,
                Some(Caller::Proof { client, service }) => {
                    self.proof_is_late(client, &service, at);
                    continue;
                }
                _ => continue,
            };
            let Verifying { from, arrival, peer, service, started } = *verifying;
            if let Some(held) = from.via {
                self.calls.remove(&held);
            }
            let waited = at.now.saturating_duration_since(started);
            let reason = late(&service, waited);
            self.not_proven((&from, arrival.id), peer, &reason, at);
        }
    }

    /// When [`Broker::give_up_logins`] has something to do.
    pub(super) fn next_login(&self) -> Option<Instant> {
        self.logins.first().map(|(when, _)| *when)
    }

    /// The log is told why; the peer, that it is the login.
    fn not_proven(
        &mut self,
        (from, id): (&Bringer, u64),
        peer: Peer,
        reason: &NotProven,
        at: Moment<'_>,
    ) {
        let about =
            decision::about(Identity::Remote(peer.identity), Some(&peer.service), self.revision);
        self.note_failed(about, &[], &reason.error, at.now);
        self.refuse_login(from, id, reason.retry, at);
    }
}

/// What the answer proves, each as `login:NAME`.
pub(super) fn read(answer: &Answer, service: &ServiceName) -> Result<Vec<String>, NotProven> {
    let target = || format!("unix:{service}");
    let unreachable = |reason: String| NotProven {
        error: BrokerError::Unreachable { target: target(), reason, retry: true },
        retry: true,
    };
    let Answer::Reply { message, .. } = answer else {
        return Err(unreachable("it went away before it had verified a login".to_owned()));
    };
    match serde_json::from_slice(message) {
        Ok(AuthenticatorError::Rejected {}) => {
            let reason = format!("{service} does not accept its login");
            let error = BrokerError::Unauthenticated { reason };
            return Err(NotProven { error, retry: false });
        }
        Ok(AuthenticatorError::Busy {}) => {
            return Err(unreachable("it verifies as many logins as it can".to_owned()));
        }
        Err(_) => {}
    }
    if let Ok(error) = serde_json::from_slice::<BrokerError>(message) {
        let cure = error.cure().map(|cure| format!("; to allow: {cure}")).unwrap_or_default();
        return Err(unreachable(format!("a login cannot be verified: {error}{cure}")));
    }
    let verified: Option<Verified> = read_reply(message);
    verified.and_then(|verified| login_names(&verified.user, &verified.groups)).ok_or_else(|| {
        let reason = "it does not answer as one that verifies logins".to_owned();
        let error = BrokerError::Protocol { target: target(), reason };
        NotProven { error, retry: true }
    })
}

/// The service did not answer in time.
pub(super) fn late(service: &ServiceName, waited: Duration) -> NotProven {
    let (target, waited_ms) = (format!("unix:{service}"), milliseconds(waited));
    NotProven { error: BrokerError::TimedOut { target, waited_ms }, retry: true }
}
