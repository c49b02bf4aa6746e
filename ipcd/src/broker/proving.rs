//! Logins that programs of this host bring, where rules ask whom somebody has logged in as: they
//! are verified here before it is decided where the program may go.

use std::sync::Arc;

use libipc::interface::authenticator::{VERIFY, Verify};
use libipc::secret::Secret;
use libipc::varlink::{self, CallFlags};
use policy::rule::Source;
use policy::target::Target;

use super::logins::{NotProven, late, read};
use super::quota::Full;
use super::requests::{Request, State};
use super::{Broker, Caller, Moment, busy};
use crate::action::{Action, Answer, CallId, ClientId};

/// The part of all logins that programs of one user may have verified at the same time.
const SHARE_OF_ONE: usize = 8;

impl Broker {
    /// A client asks anew: whom it has logged in as was about what it asked for before.
    pub(super) fn forget_logins(&mut self, client: ClientId) {
        let known = self.clients.get_mut(&client);
        if let Some(known) = known.filter(|known| !known.identity.logins.is_empty()) {
            Arc::make_mut(&mut known.identity).logins.clear();
        }
    }

    /// Goes on with a request that has just been decided: by way of its login, if there is one and
    /// rules ask about it.
    pub(super) fn prove_or_go_on(&mut self, client: ClientId, at: Moment<'_>) {
        let asks = self.live.asks_about_logins;
        let login = self.request(client).filter(|_| asks).and_then(|request| request.login());
        let Some((user, secret)) = login else { return self.go_on(client, at) };
        if let Err(not_proven) = self.prove(client, user, secret, at) {
            self.end_with(client, &not_proven.error, at);
        }
    }

    fn prove(
        &mut self,
        client: ClientId,
        user: Secret,
        secret: Secret,
        at: Moment<'_>,
    ) -> Result<(), NotProven> {
        let service = self.verifier()?;
        let uid = self.clients.get(&client).and_then(|known| known.identity.uid);
        self.check_share(uid)?;
        let peer = uid.map_or_else(|| "uid:unknown".to_owned(), |uid| format!("uid:{uid}"));
        let message = varlink::call(VERIFY, &Verify { user, secret, peer }, CallFlags::default());
        let call = self.next_call(Caller::Proof { client, service: service.clone() });
        let limit = self.live.config.limits.login_timeout;
        let Some(request) = self.request(client) else { return Ok(()) };
        let timeout = limit.min(request.deadline.saturating_duration_since(at.now));
        request.state = State::Proving { call };
        self.logins.insert((at.now + timeout, call));
        self.actions.push(Action::Ask { call, service, message, timeout });
        Ok(())
    }

    /// No user takes all places.
    fn check_share(&self, uid: Option<u32>) -> Result<(), NotProven> {
        let of_user = |call: &CallId| match self.calls.get(call) {
            Some(Caller::Proof { client, .. }) => {
                self.clients.get(client).is_some_and(|known| known.identity.uid == uid)
            }
            _ => false,
        };
        let used = self.logins.iter().filter(|(_, call)| of_user(call)).count();
        room_for_one_more(used, self.live.config.limits.logins)
            .map_err(|full| NotProven { error: busy(full), retry: true })
    }

    /// The authentication service answered about a client's login, or will not.
    pub(super) fn proven(
        &mut self,
        call: CallId,
        (client, service): (ClientId, &libipc::name::ServiceName),
        answer: &Answer,
        at: Moment<'_>,
    ) {
        self.logins.retain(|(_, known)| *known != call);
        if let Some(request) = self.request(client) {
            request.state = State::New;
        }
        match read(answer, service) {
            Ok(names) => {
                let logins = names.iter().filter_map(|name| name.strip_prefix("login:"));
                let logins = logins.map(ToOwned::to_owned).collect();
                if let Some(known) = self.clients.get_mut(&client) {
                    Arc::make_mut(&mut known.identity).logins = logins;
                }
                self.try_again(client, at);
            }
            Err(not_proven) => self.end_with(client, &not_proven.error, at),
        }
    }

    /// A client's login was not verified in time.
    pub(super) fn proof_is_late(
        &mut self,
        client: ClientId,
        service: &libipc::name::ServiceName,
        at: Moment<'_>,
    ) {
        let Some(request) = self.request(client) else { return };
        request.state = State::New;
        let error = late(service, request.waited(at.now)).error;
        self.end_with(client, &error, at);
    }
}

impl Request {
    /// The first login that the client itself has written into a target of its own: one that an
    /// administrator has written into a redirect is not the client's.
    fn login(&self) -> Option<(Secret, Secret)> {
        self.candidates.iter().find_map(|candidate| {
            let Target::Remote(remote) = &candidate.target else { return None };
            let is_clients = candidate.hops.last().is_some_and(|hop| hop.source == Source::Client);
            let user = remote.user.clone().filter(|_| is_clients)?;
            let secret = remote.secret.clone();
            Some((user, secret.unwrap_or_else(|| Secret::new(String::new()))))
        })
    }
}

/// Whether a user of whom `used` logins are being verified may have one more, where there may be
/// `all` at the same time.
fn room_for_one_more(used: usize, all: usize) -> Result<(), Full> {
    let most = (all / SHARE_OF_ONE).max(1);
    if used < most { Ok(()) } else { Err(Full { limit: "logins", most }) }
}

#[cfg(test)]
mod tests {
    use libipc::interface::broker::BrokerError;

    use super::*;

    #[test]
    fn programs_of_one_user_have_an_eighth_of_the_places_for_logins_and_no_more() {
        assert_eq!(room_for_one_more(7, 64), Ok(()));
        let full = room_for_one_more(8, 64).unwrap_err();
        let told = BrokerError::Busy { limit: "logins".to_owned(), most: 8, retry: true };
        assert_eq!(busy(full), told);
        for few in [1, 8, 15] {
            assert_eq!(room_for_one_more(0, few), Ok(()), "one of {few}");
            assert!(room_for_one_more(1, few).is_err(), "and no second one of {few}");
        }
        assert!(room_for_one_more(1, 16).is_ok());
    }
}
