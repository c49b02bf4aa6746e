//! How long clients may take: to finish a request, and to collect what they were given; and
//! registered services, to take up their clients.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

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
    collect: Option<Collect>,
    inbox: Option<Instant>,
}

/// Something that a client was sent and may not have read yet. The kernel does not tell when it
/// is read, so that has to be looked at.
#[derive(Clone, Copy, Debug)]
struct Collect {
    since: Instant,
    until: Instant,
    /// When a client that asks for more is looked at again.
    look: Option<Instant>,
}

/// Whose time has come, for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Its request is not whole in time.
    Request,
    /// The time to collect is over.
    Collect,
    /// It asks for more before that, and may have collected by now.
    Look,
    /// It has registered a service, and should have taken up a client by now.
    Inbox,
}

/// How soon it is looked again whether a client has collected, at the earliest.
const LOOK_FIRST: Duration = Duration::from_millis(1);

impl Deadlines {
    fn first(self) -> Option<Instant> {
        let collect = self.collect.map(|one| one.look.unwrap_or(one.until).min(one.until));
        self.request.into_iter().chain(collect).chain(self.inbox).min()
    }

    fn due(self, now: Instant) -> Option<Due> {
        if self.request.is_some_and(|when| when <= now) {
            return Some(Due::Request);
        }
        if self.inbox.is_some_and(|when| when <= now) {
            return Some(Due::Inbox);
        }
        let collect = self.collect?;
        if collect.until <= now {
            return Some(Due::Collect);
        }
        collect.look.is_some_and(|when| when <= now).then_some(Due::Look)
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

    /// Something is sent now, and is to be collected by `until`.
    pub(crate) fn handed_over(&mut self, client: ClientId, now: Instant, until: Instant) {
        let new = Collect { since: now, until, look: None };
        self.change(client, |deadlines| deadlines.collect = deadlines.collect.or(Some(new)));
    }

    /// Everything was collected.
    pub(crate) fn collected(&mut self, client: ClientId) {
        self.change(client, |deadlines| deadlines.collect = None);
    }

    /// A client has not collected yet and asks for more: it is looked at again after as long as
    /// it has had so far. So looking costs little, however long it takes.
    pub(crate) fn look_again(&mut self, client: ClientId, now: Instant) {
        self.change(client, |deadlines| {
            if let Some(collect) = &mut deadlines.collect {
                let had = now.saturating_duration_since(collect.since);
                collect.look = Some(now + had.max(LOOK_FIRST));
            }
        });
    }

    /// When a service's inbox is to be looked at, if at all.
    pub(crate) fn inbox(&mut self, client: ClientId, when: Option<Instant>) {
        self.change(client, |deadlines| deadlines.inbox = when);
    }

    /// The client is gone.
    pub(crate) fn left(&mut self, client: ClientId) {
        self.change(client, |deadlines| *deadlines = Deadlines::default());
    }

    /// Whether something was sent that may not have been collected yet.
    pub(crate) fn awaits_collecting(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|deadlines| deadlines.collect.is_some())
    }

    /// The first deadline of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(when, _)| *when)
    }

    /// The clients whose time has come.
    pub(crate) fn over(&self, now: Instant) -> Vec<(ClientId, Due)> {
        let over = self.order.iter().take_while(|(when, _)| *when <= now);
        over.filter_map(|(_, client)| Some((*client, self.clients.get(client)?.due(now)?)))
            .collect()
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
    use super::*;

    #[test]
    fn doing_a_little_more_does_not_move_a_deadline() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let client = ClientId(1);
        let mut patience = Patience::default();
        patience.began(client, now);
        patience.began(client, later);
        assert_eq!(patience.over(now), [(client, Due::Request)]);
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
        patience.handed_over(client, now, later);
        assert!(patience.awaits_collecting(client));
        patience.began(client, now);
        assert_eq!(patience.over(now), [(client, Due::Request)]);
        assert_eq!(patience.next(), Some(now));
        patience.finished(client);
        assert_eq!(patience.next(), Some(later));
        assert_eq!(patience.over(later), [(client, Due::Collect)]);
        patience.left(client);
        assert_eq!(patience.next(), None);
    }

    #[test]
    fn who_asks_before_collecting_is_looked_at_a_few_times_and_no_longer_than_it_may_take() {
        let began = Instant::now();
        let client = ClientId(1);
        let mut patience = Patience::default();
        let until = began + Duration::from_secs(2);
        patience.handed_over(client, began, until);
        patience.look_again(client, began);
        let mut looks = 0;
        loop {
            let now = patience.next().unwrap();
            match patience.over(now).as_slice() {
                [(_, Due::Look)] => patience.look_again(client, now),
                [(_, Due::Collect)] => break assert_eq!(now, until),
                other => panic!("{other:?}"),
            }
            looks += 1;
        }
        assert_eq!(looks, 11, "after 1, 2, 4 ... 1024 milliseconds");
        patience.collected(client);
        assert_eq!(patience.next(), None);
    }
}
