//! The services that have registered.

use std::collections::HashMap;

use libipc::name::ServiceName;

use crate::action::ClientId;

/// A service that is there now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Registration {
    /// The connection on which it registered.
    pub(super) client: ClientId,
    /// Its user.
    pub(super) owner: Option<u32>,
    /// Its process.
    pub(super) pid: Option<u32>,
    /// The number of the client that it got last.
    pub(super) last_id: u64,
}

/// A service that is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Late {
    /// Which process it was.
    pub(super) pid: Option<u32>,
}

/// Names whose service is gone, of which so many are remembered.
const GONE_MOST: usize = 1024;

/// Who serves which name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    services: HashMap<ServiceName, Registration>,
    /// Names that were served, and by whom last.
    gone: HashMap<ServiceName, Late>,
}

impl Registry {
    /// The service of a name.
    pub(super) fn get(&self, name: &ServiceName) -> Option<&Registration> {
        self.services.get(name)
    }

    /// All names that somebody serves now.
    pub(super) fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    /// Whoever served a name last, if nobody does now.
    pub(super) fn late(&self, name: &ServiceName) -> Option<Late> {
        self.gone.get(name).copied()
    }

    /// Enters a service. The answer is the one whose place it took.
    pub(super) fn enter(
        &mut self,
        name: ServiceName,
        registration: Registration,
    ) -> Option<Registration> {
        self.gone.remove(&name);
        self.services.insert(name, registration)
    }

    /// The next number for a client of that service.
    pub(super) fn next_id(&mut self, name: &ServiceName) -> u64 {
        let Some(registration) = self.services.get_mut(name) else { return 0 };
        registration.last_id += 1;
        registration.last_id
    }

    /// Strikes out what `client` registered under that name, unless another one has it now. True
    /// if the name is free.
    pub(super) fn strike(&mut self, name: &ServiceName, client: ClientId) -> bool {
        let Some(registration) = self.services.get(name).copied() else { return false };
        if registration.client != client {
            return false;
        }
        self.services.remove(name);
        if self.gone.len() < GONE_MOST {
            self.gone.insert(name.clone(), Late { pid: registration.pid });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(client: u64) -> Registration {
        Registration { client: ClientId(client), owner: Some(1), pid: Some(9), last_id: 0 }
    }

    #[test]
    fn a_successor_keeps_the_name_when_the_old_one_leaves() {
        let name = ServiceName::new("db").unwrap();
        let mut registry = Registry::default();
        assert!(registry.enter(name.clone(), registration(1)).is_none());
        assert_eq!(registry.enter(name.clone(), registration(2)), Some(registration(1)));
        assert!(!registry.strike(&name, ClientId(1)));
        assert_eq!(registry.next_id(&name), 1);
        assert!(registry.strike(&name, ClientId(2)));
        assert_eq!(registry.late(&name), Some(Late { pid: Some(9) }));
        registry.enter(name.clone(), registration(3));
        assert_eq!(registry.late(&name), None);
    }

    #[test]
    fn names_that_are_gone_are_bounded() {
        let mut registry = Registry::default();
        for number in 0..GONE_MOST + 10 {
            let name = ServiceName::new(&format!("n{number}")).unwrap();
            registry.enter(name.clone(), registration(1));
            registry.strike(&name, ClientId(1));
        }
        assert_eq!(registry.gone.len(), GONE_MOST);
    }
}
