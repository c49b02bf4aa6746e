//! Where a name would lead, and why: the question behind `ipc why`.

use libipc::interface::broker::Resolve;
use libipc::name::ServiceName;
use libipc::secret::Secret;
use libipc::varlink;
use policy::resolved::resolved;
use policy::route::Asker;

use super::requests::invalid;
use super::{Broker, Moment};
use crate::action::ClientId;
use crate::answer;

impl Broker {
    pub(super) fn resolve(&mut self, client: ClientId, wanted: &Resolve, at: Moment<'_>) {
        let Some(identity) = self.identity(client, at) else { return };
        if wanted.subject.is_some() || wanted.from.is_some() {
            let reason = "asking about others is not in this version";
            return self.fail(client, &invalid("as", &reason));
        }
        let asked = match ServiceName::new(&wanted.service) {
            Ok(asked) => asked,
            Err(error) => return self.fail(client, &invalid("service", &error)),
        };
        let narrowed = self.clients.get(&client).and_then(|known| known.narrowed.as_deref());
        let network = match narrowed.map(|narrowed| narrowed.network_of(&asked)) {
            None => wanted.network.clone(),
            Some(Ok(network)) => network,
            Some(Err(error)) => return self.fail(client, &error),
        };
        let request = policy::decide::Request {
            asked: &asked,
            network: network.as_ref().map(Secret::expose),
            asker: Asker::Local(&identity),
            service_owner: &|service| self.owner_of(service, at),
        };
        match policy::decide::explain(&self.live.config, &request) {
            Ok(explanation) => {
                let who = answer::who(&identity);
                let reply = resolved(&asked, who, self.revision, &explanation);
                self.reply(client, varlink::reply(&reply, false), None);
            }
            Err(error) => self.fail(client, &answer::of_route(&asked, &error)),
        }
    }
}
