//! How many clients there may be, in all and of one kind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use libipc::identity::Identity;

use super::Office;

/// Clients at most.
pub(crate) const CLIENTS_MOST: usize = 256;

/// Those of one user of this host, or of one other host.
pub(crate) const CLIENTS_OF_ONE_MOST: usize = 128;

/// Whose client it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Whose {
    User(Option<u32>),
    Host(IpAddr),
}

/// The clients that there are.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<HashMap<Whose, usize>>);

/// The place of a client, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    office: Arc<Office>,
    whose: Whose,
}

impl Crowd {
    /// A place for one more client, if there is one.
    pub(crate) fn enter(office: &Arc<Office>, peer: Option<&Identity>) -> Option<Place> {
        let whose = match peer {
            Some(Identity::Remote(remote)) => Whose::Host(remote.address.to_canonical()),
            Some(Identity::Local(local)) => Whose::User(local.uid),
            None => Whose::User(None),
        };
        office.crowd.take(whose).then(|| Place { office: Arc::clone(office), whose })
    }

    fn take(&self, whose: Whose) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.get(&whose).copied().unwrap_or(0);
        if own >= CLIENTS_OF_ONE_MOST || counts.values().sum::<usize>() >= CLIENTS_MOST {
            return false;
        }
        counts.insert(whose, own + 1);
        true
    }

    fn give_back(&self, whose: Whose) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&whose) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&whose);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.office.crowd.give_back(self.whose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_all_places_and_all_together_no_more_than_there_are() {
        let crowd = Crowd::default();
        let one = |uid| Whose::User(Some(uid));
        assert!((0..CLIENTS_OF_ONE_MOST).all(|_| crowd.take(one(1))));
        assert!(!crowd.take(one(1)));
        assert!((0..CLIENTS_MOST - CLIENTS_OF_ONE_MOST).all(|_| crowd.take(one(2))));
        assert!(!crowd.take(one(3)));
        crowd.give_back(one(1));
        assert!(crowd.take(one(3)));
        for _ in 0..CLIENTS_MOST {
            crowd.give_back(one(2));
        }
        assert!(crowd.take(one(2)));
    }
}
