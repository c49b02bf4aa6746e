//! How long clients may take: to finish a request, and to collect what they were given.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::action::ClientId;

/// Each client's deadlines. The first deadline of a kind stands: doing a little more does not move
/// it.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    clients: HashMap<ClientId, Deadlines>,
    order: BTreeSet<(Instant, ClientId)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Deadlines {
    request: Option<Instant>,
    collect: Option<Instant>,
}

impl Deadlines {
    fn first(self) -> Option<Instant> {
        self.request.into_iter().chain(self.collect).min()
    }
}

impl Patience {
    /// A request has begun, and is to be whole by `when`.
    pub(crate) fn began(&mut self, client: ClientId, when: Instant) {
        self.change(client, |deadlines| deadlines.request = deadlines.request.or(Some(when)));
    }

    /// A request is whole.
    pub(crate) fn finished(&mut self, client: ClientId) {
        self.change(client, |deadlines| deadlines.request = None);
    }

    /// Something was sent, and is to be collected by `when`.
    pub(crate) fn handed_over(&mut self, client: ClientId, when: Instant) {
        self.change(client, |deadlines| deadlines.collect = deadlines.collect.or(Some(when)));
    }

    /// Everything was collected.
    pub(crate) fn collected(&mut self, client: ClientId) {
        self.change(client, |deadlines| deadlines.collect = None);
    }

    /// The client is gone.
    pub(crate) fn left(&mut self, client: ClientId) {
        self.change(client, |deadlines| *deadlines = Deadlines::default());
    }

    /// Whether nothing but collecting is waited for.
    pub(crate) fn is_only_uncollected(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|deadlines| deadlines.request.is_none())
    }

    /// The first deadline of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(when, _)| *when)
    }

    /// The clients whose time is over.
    pub(crate) fn over(&self, now: Instant) -> Vec<ClientId> {
        self.order.iter().take_while(|(when, _)| *when <= now).map(|(_, client)| *client).collect()
    }

    fn change(&mut self, client: ClientId, how: impl FnOnce(&mut Deadlines)) {
        let before = self.clients.get(&client).copied().unwrap_or_default();
        let mut after = before;
        how(&mut after);
        if before.first() != after.first() {
            if let Some(when) = before.first() {
                self.order.remove(&(when, client));
            }
            if let Some(when) = after.first() {
                self.order.insert((when, client));
            }
        }
        if after.first().is_some() {
            self.clients.insert(client, after);
        } else {
            self.clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn doing_a_little_more_does_not_move_a_deadline() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let client = ClientId(1);
        let mut patience = Patience::default();
        patience.began(client, now);
        patience.began(client, later);
        assert_eq!(patience.over(now), [client]);
        patience.finished(client);
        assert!(patience.over(later).is_empty());
        assert_eq!(patience.next(), None);
    }

    #[test]
    fn both_kinds_are_kept_apart_and_leaving_ends_them() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let client = ClientId(1);
        let mut patience = Patience::default();
        patience.handed_over(client, later);
        assert!(patience.is_only_uncollected(client));
        patience.began(client, now);
        assert!(!patience.is_only_uncollected(client));
        assert_eq!(patience.next(), Some(now));
        patience.finished(client);
        assert_eq!(patience.next(), Some(later));
        patience.left(client);
        assert_eq!(patience.next(), None);
    }
}
