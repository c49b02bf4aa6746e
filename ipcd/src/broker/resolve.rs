//! Where a name would lead, and why: the question behind `ipc why`.

use libipc::interface::broker::Resolve;
use libipc::name::ServiceName;
use libipc::secret::Secret;
use libipc::varlink;
use policy::resolved::{Question, QuestionError, Who};

use super::requests::invalid;
use super::{Broker, Moment};
use crate::action::ClientId;
use crate::answer;

impl Broker {
    /// Anybody may ask about himself; about others, those who may administer.
    pub(super) fn resolve(&mut self, client: ClientId, wanted: &Resolve, at: Moment<'_>) {
        let Some(identity) = self.identity(client, at) else { return };
        let asked = match ServiceName::new(&wanted.service) {
            Ok(asked) => asked,
            Err(error) => return self.fail(client, &invalid("service", &error)),
        };
        let itself = answer::who(&identity);
        let who = match (&wanted.subject, &wanted.from) {
            (None, None) => Who::Known(&identity, &itself),
            (Some(_), Some(_)) => {
                let reason = "a question is about a program or about a peer, not about both";
                return self.fail(client, &invalid("from", &reason));
            }
            (Some(subject), None) => Who::Described(subject),
            (None, Some(peer)) => Who::Peer(peer),
        };
        if !matches!(who, Who::Known(..)) && !self.permits(client) {
            return;
        }
        let narrowed = self.clients.get(&client).and_then(|known| known.narrowed.as_deref());
        let network = match narrowed.map(|narrowed| narrowed.network_of(&asked)) {
            None => wanted.network.clone(),
            Some(Ok(network)) => network,
            Some(Err(error)) => return self.fail(client, &error),
        };
        let question = Question {
            asked: &asked,
            network: network.as_ref().map(Secret::expose),
            who,
            service_owner: &|service| self.owner_of(service, at),
            service_reach: &|service| self.reach_of(service, at),
        };
        let config = &self.live.config;
        match policy::resolved::answer(config, &question, at.world.accounts(), self.revision) {
            Ok(answer) => self.reply(client, varlink::reply(&answer, false), None),
            Err(QuestionError::Route(error)) => {
                self.fail(client, &answer::of_route(&error));
            }
            Err(error) => {
                let field = if wanted.from.is_some() { "from" } else { "as" };
                self.fail(client, &invalid(field, &error));
            }
        }
    }
}
