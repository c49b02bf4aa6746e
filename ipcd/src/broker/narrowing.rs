//! Connections that may ask for some names only.

use std::sync::Arc;

use libipc::interface::broker::BrokerError;
use libipc::interface::registry::Services;
use libipc::name::ServiceName;
use libipc::network;
use libipc::secret::Secret;
use libipc::varlink;

use super::requests::invalid;
use super::{Broker, Role};
use crate::action::ClientId;

/// Names that a refusal tells.
const NAMES_TOLD_MOST: usize = 32;

/// Names that one connection may be narrowed to. Each is kept as long as the connection, and takes
/// many times the memory that it takes in a request.
const NAMES_MOST: usize = 128;

/// Bytes of them, with where they lead.
const NAMES_BYTES_MOST: usize = 8 * 1024;

/// What a narrowed connection may ask for.
#[derive(Debug)]
pub(super) struct Narrowed {
    /// Each name, with where it leads if whoever narrowed the connection said so. What requests
    /// bring of `IPC_NETWORK` does not count: it would lead to names that are not here.
    entries: Vec<(ServiceName, Option<Secret>)>,
}

impl Narrowed {
    /// Reads entries as `Restrict` has them.
    pub(super) fn read(services: &[String]) -> Result<Self, BrokerError> {
        if services.len() > NAMES_MOST {
            let reason = format!("more than {NAMES_MOST} names");
            return Err(invalid("services", &reason));
        }
        if services.iter().map(String::len).sum::<usize>() > NAMES_BYTES_MOST {
            let reason = format!("more than {NAMES_BYTES_MOST} bytes of names and targets");
            return Err(invalid("services", &reason));
        }
        let entry = |text: &String| {
            let (name, target) = match text.split_once(char::is_whitespace) {
                Some((name, _)) => (name, Some(text.as_str())),
                None => (text.as_str(), None),
            };
            let name = ServiceName::new(name).map_err(|error| invalid("services", &error))?;
            let target = target.map(|text| network::entries_for(&name, text)).transpose();
            let target = target.map_err(|error| invalid("services", &error))?.flatten();
            Ok((name, target))
        };
        Ok(Self { entries: services.iter().map(entry).collect::<Result<_, _>>()? })
    }

    /// The same entries, as [`Narrowed::read`] reads them.
    pub(super) fn written(&self) -> Vec<String> {
        let entry = |(name, network): &(ServiceName, Option<Secret>)| match network {
            Some(network) => network.expose().to_owned(),
            None => name.to_string(),
        };
        self.entries.iter().map(entry).collect()
    }

    /// What both allow, led as this one says.
    fn and(&self, other: &Self) -> Self {
        let both = self.entries.iter().filter(|(name, _)| other.entry(name).is_some());
        Self { entries: both.cloned().collect() }
    }

    fn entry(&self, name: &ServiceName) -> Option<&(ServiceName, Option<Secret>)> {
        self.entries.iter().find(|(known, _)| known == name)
    }

    /// Where a name leads in place of the request's own word; an error if it may not be asked for.
    pub(super) fn network_of(&self, asked: &ServiceName) -> Result<Option<Secret>, BrokerError> {
        if let Some((_, network)) = self.entry(asked) {
            return Ok(network.clone());
        }
        let names = self.entries.iter().map(|(name, _)| name.as_str());
        let told: Vec<_> = names.take(NAMES_TOLD_MOST).collect();
        let more = self.entries.len() - told.len();
        let wanted = told.iter().copied().chain([asked.as_str()]).collect::<Vec<_>>().join(",");
        Err(BrokerError::Denied {
            // Where it leads is nothing that is told to whoever may not ask for it.
            target: String::new(),
            rule: None,
            reason: match (told.as_slice(), more) {
                ([], _) => "this connection is narrowed, and may ask for nothing".to_owned(),
                (told, 0) => format!("this connection is narrowed to {}", told.join(", ")),
                (told, more) => {
                    format!("this connection is narrowed to {}, and {more} more", told.join(", "))
                }
            },
            // A command that leaves some out would take them away.
            cure: (more == 0).then(|| format!("ipc run --only {wanted} -- PROGRAM")),
            retry: false,
        })
    }
}

impl Broker {
    /// Narrows a connection for good.
    pub(super) fn restrict(&mut self, client: ClientId, wanted: &Services) {
        let narrowed = match Narrowed::read(&wanted.services) {
            Ok(narrowed) => narrowed,
            Err(error) => return self.fail(client, &error),
        };
        let Some(known) = self.clients.get_mut(&client) else { return };
        let narrowed = match &known.narrowed {
            Some(before) => before.and(&narrowed),
            None => narrowed,
        };
        known.narrowed = Some(Arc::new(narrowed));
        self.reply(client, varlink::reply(&Empty {}, false), None);
    }

    /// Whether a client may do more than ask: neither through a named socket, nor narrowed.
    pub(super) fn may_do_more_than_ask(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|known| {
            known.identity.socket.is_none()
                && known.narrowed.is_none()
                && known.role == Role::Asking
        })
    }
}

/// A reply that says nothing but that all is well.
#[derive(serde::Serialize)]
pub(super) struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(entries: &[&str]) -> Narrowed {
        Narrowed::read(&entries.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    #[test]
    fn a_refusal_tells_so_many_names_and_how_many_more_there_are() {
        let names: Vec<String> = (0..=NAMES_TOLD_MOST).map(|number| format!("s{number}")).collect();
        let refusal = |count: usize| {
            let narrowed = Narrowed::read(&names[..count]).unwrap();
            narrowed.network_of(&name("other")).unwrap_err()
        };
        let all = refusal(NAMES_TOLD_MOST);
        assert!(all.to_string().ends_with("s30, s31") && all.cure().is_some(), "{all}");
        let more = refusal(NAMES_TOLD_MOST + 1);
        assert!(more.to_string().ends_with("s31, and 1 more") && more.cure().is_none(), "{more}");
    }

    #[test]
    fn only_its_names_can_be_asked_for_and_lead_where_it_says() {
        let narrowed = narrowed(&["db tcp://h:1/db", "log"]);
        let network = narrowed.network_of(&name("db")).unwrap().unwrap();
        assert_eq!(network.expose(), "db tcp://h:1/db");
        assert!(narrowed.network_of(&name("log")).unwrap().is_none());
        let said = narrowed.network_of(&name("other")).unwrap_err().to_string();
        assert!(said.contains("this connection is narrowed to db, log"), "{said}");
    }

    #[test]
    fn narrowing_again_never_widens() {
        let both = narrowed(&["a tcp://h:1/a", "b"]).and(&narrowed(&["a tcp://evil:1/a", "c"]));
        assert_eq!(both.network_of(&name("a")).unwrap().unwrap().expose(), "a tcp://h:1/a");
        assert!(both.network_of(&name("b")).is_err());
        assert!(both.network_of(&name("c")).is_err());
        let said = both.and(&narrowed(&[])).network_of(&name("a")).unwrap_err().to_string();
        assert!(said.contains("may ask for nothing"), "{said}");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let entries = ["db tcp://h:1/db", "log"];
        assert_eq!(narrowed(&entries).written(), entries);
    }

    #[test]
    fn a_connection_is_narrowed_to_so_many_names_of_so_many_bytes_and_no_more() {
        let names = |count: usize| vec!["a".to_owned(); count];
        assert!(Narrowed::read(&names(NAMES_MOST)).is_ok());
        let said = Narrowed::read(&names(NAMES_MOST + 1)).unwrap_err().to_string();
        assert!(said.contains("more than 128 names"), "{said}");
        let long = |bytes: usize| vec![format!("a tcp://h:1/a{}", " ".repeat(bytes - 13))];
        assert!(Narrowed::read(&long(NAMES_BYTES_MOST)).is_ok());
        let said = Narrowed::read(&long(NAMES_BYTES_MOST + 1)).unwrap_err().to_string();
        assert!(said.contains("more than 8192 bytes"), "{said}");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let said = Narrowed::read(&["a/b".to_owned()]).unwrap_err().to_string();
        assert!(said.contains("services"), "{said}");
    }
}
