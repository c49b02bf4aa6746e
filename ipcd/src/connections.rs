//! What was handed over: who has it, under which rule, and who carries the bytes.
//!
//! Nothing here is in the path of a connection, and nothing holds one. So each kind of entry ends
//! by what can be known from afar: what a daemon relays, by its report; what a client or a service
//! holds, at the latest with the process of either. Of the latter a user's oldest entry is
//! forgotten when the limit is reached: a listing is no reason to refuse anybody.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use libipc::interface::Identity;
use libipc::interface::transport::GENERATION;

pub(crate) use entry::{Carried, Entry, Handed, Process};

use crate::action::ClientId;

mod entry;

/// The number of a connection. Never used again for another one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Whose entry it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Holder {
    /// A user's; `None` stands for all whose id is unknown.
    User(Option<u32>),
    /// A peer's on another host: they have one limit together, that of all.
    Elsewhere,
}

/// The table of connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    entries: BTreeMap<ConnectionId, Entry>,
    /// The entry of each right to connect, by who has it to what.
    names: HashMap<(Process, String), ConnectionId>,
    relays: HashMap<(String, u64), ConnectionId>,
    /// What was taken over on each connection where a service registered.
    taken_over: HashMap<ClientId, BTreeSet<ConnectionId>>,
    /// What each holds that no daemon reports on, the oldest first.
    held: HashMap<Holder, BTreeSet<ConnectionId>>,
    held_count: usize,
    /// Relays whose end was reported before their beginning was known here.
    ended_early: VecDeque<(String, u64)>,
    forgotten: u64,
    last: u64,
    /// Up to where processes were looked at last, and when to go on.
    swept: ConnectionId,
    next_sweep: Option<Instant>,
}

/// How many entries there may be of what no daemon reports on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// In all.
    pub(crate) all: usize,
    /// Of one user.
    pub(crate) per_user: usize,
}

/// How often it is looked whether clients' processes live.
const SWEEP_PERIOD: Duration = Duration::from_secs(5);

/// Entries that are looked at in one go.
const SWEEP_BATCH: usize = 128;

/// Ends of unknown relays that are remembered: a daemon's report may overtake its answer.
const ENDED_EARLY_MOST: usize = 1024;

impl Connections {
    /// Notes one more, and its number. A right that the process has already keeps its number.
    pub(crate) fn begin(&mut self, entry: Entry, most: Most, now: Instant) -> ConnectionId {
        if let Some(id) = self.again(&entry) {
            return id;
        }
        self.last += 1;
        let id = ConnectionId(self.last);
        if let Carried::Relayed { daemon, id: relay } = &entry.carried {
            let relay = (daemon.clone(), *relay);
            if let Some(place) = self.ended_early.iter().position(|ended| *ended == relay) {
                self.ended_early.remove(place);
                return id;
            }
            self.relays.insert(relay, id);
        } else {
            self.make_room(entry.holder(), most);
            self.held.entry(entry.holder()).or_default().insert(id);
            self.held_count += 1;
            self.next_sweep.get_or_insert(now + SWEEP_PERIOD);
        }
        if let Some(key) = name_key(&entry) {
            self.names.insert(key, id);
        }
        if let Carried::Registered { registration, .. } = &entry.carried {
            self.taken_over.entry(*registration).or_default().insert(id);
        }
        self.entries.insert(id, entry);
        id
    }

    /// The right is there already: it is under today's rule now.
    fn again(&mut self, entry: &Entry) -> Option<ConnectionId> {
        let id = *self.names.get(&name_key(entry)?)?;
        let known = self.entries.get_mut(&id)?;
        let (opened, times) = (known.opened, known.times + 1);
        *known = Entry { opened, times, ..entry.clone() };
        Some(id)
    }

    /// Forgets the user's oldest entries, so that there is room for one more; at the limit of all,
    /// those of whoever has most.
    fn make_room(&mut self, holder: Holder, most: Most) {
        let of_one = match holder {
            Holder::User(_) => most.per_user.max(1),
            Holder::Elsewhere => most.all.max(1),
        };
        while self.held.get(&holder).is_some_and(|held| held.len() >= of_one) {
            self.forget_oldest(holder);
        }
        while self.held_count >= most.all.max(1) {
            let fullest = self.held.iter().max_by_key(|(_, held)| held.len());
            let Some(fullest) = fullest.map(|(holder, _)| *holder) else { return };
            self.forget_oldest(fullest);
        }
    }

    fn forget_oldest(&mut self, holder: Holder) {
        if let Some(oldest) = self.held.get(&holder).and_then(BTreeSet::first).copied() {
            self.end(oldest);
            self.forgotten += 1;
        }
    }

    /// It is over. `None` if there is none of that number.
    pub(crate) fn end(&mut self, id: ConnectionId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Carried::Relayed { daemon, id: relay } = &entry.carried {
            self.relays.remove(&(daemon.clone(), *relay));
        } else if let Some(held) = self.held.get_mut(&entry.holder()) {
            held.remove(&id);
            self.held_count -= 1;
            if held.is_empty() {
                self.held.remove(&entry.holder());
            }
        }
        if let Some(key) = name_key(&entry) {
            self.names.remove(&key);
        }
        if let Carried::Registered { registration, .. } = &entry.carried
            && let Some(of_service) = self.taken_over.get_mut(registration)
        {
            of_service.remove(&id);
            if of_service.is_empty() {
                self.taken_over.remove(registration);
            }
        }
        Some(entry)
    }

    /// A daemon reports that a relay is over.
    pub(crate) fn relay_ended(&mut self, daemon: &str, relay: u64) {
        let relay = (daemon.to_owned(), relay);
        if let Some(id) = self.relays.get(&relay).copied() {
            self.end(id);
        } else {
            self.ended_early.truncate(ENDED_EARLY_MOST - 1);
            self.ended_early.push_front(relay);
        }
    }

    /// The connection on which a service registered is gone, and with it what was taken over there.
    pub(crate) fn registration_gone(&mut self, registration: ClientId) {
        for id in self.taken_over.remove(&registration).unwrap_or_default() {
            self.end(id);
        }
    }

    /// A daemon is gone, and with it what it relayed, `but` for what these generations of it do.
    pub(crate) fn daemon_gone(&mut self, daemon: &str, but: &[u64]) {
        self.ended_early.retain(|(by, _)| by != daemon);
        let relayed = self
            .relays
            .iter()
            .filter(|((by, relay), _)| by == daemon && !but.contains(&(relay / GENERATION)));
        for id in relayed.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.end(id);
        }
    }

    /// A generation of a daemon is gone, and with it what it relayed.
    pub(crate) fn generation_gone(&mut self, daemon: &str, generation: u64) {
        let relayed = self
            .relays
            .iter()
            .filter(|((by, relay), _)| by == daemon && relay / GENERATION == generation);
        for id in relayed.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.end(id);
        }
    }

    /// How many a generation of a daemon relays.
    pub(crate) fn relayed_by_generation(&self, daemon: &str, generation: u64) -> usize {
        let relayed = self
            .relays
            .keys()
            .filter(|(by, relay)| by == daemon && relay / GENERATION == generation);
        relayed.count()
    }

    /// When [`Connections::sweep`] is to be called.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Looks, if it is time, at the next entries, and ends those of processes that are gone.
    pub(crate) fn sweep(&mut self, now: Instant, lives: impl FnMut(&Process, Instant) -> bool) {
        if self.next_sweep.is_none_or(|when| now < when) {
            return;
        }
        let behind = (Bound::Excluded(self.swept), Bound::Unbounded);
        let batch: Vec<_> =
            self.entries.range(behind).map(|(id, _)| *id).take(SWEEP_BATCH).collect();
        let is_last = batch.len() < SWEEP_BATCH;
        self.swept = batch.last().copied().filter(|_| !is_last).unwrap_or(ConnectionId(0));
        self.end_dead(&batch, lives);
        self.next_sweep = (self.held_count > 0).then(|| now + SWEEP_PERIOD);
    }

    /// Looks at all entries, and ends those of processes that are gone.
    pub(crate) fn sweep_all(&mut self, lives: impl FnMut(&Process, Instant) -> bool) {
        let all: Vec<_> = self.entries.keys().copied().collect();
        self.end_dead(&all, lives);
    }

    fn end_dead(&mut self, ids: &[ConnectionId], mut lives: impl FnMut(&Process, Instant) -> bool) {
        // One look per process, at the entry that was made last: then it lived.
        let mut latest: HashMap<Process, Instant> = HashMap::new();
        for entry in ids.iter().filter_map(|id| self.entries.get(id)) {
            if let Some(process) = entry.process() {
                let seen = latest.entry(process).or_insert(entry.opened);
                *seen = (*seen).max(entry.opened);
            }
        }
        let dead: BTreeSet<_> = latest
            .into_iter()
            .filter(|(process, seen)| !lives(process, *seen))
            .map(|(process, _)| process)
            .collect();
        for id in ids {
            let process = self.entries.get(id).and_then(Entry::process);
            if process.is_some_and(|process| dead.contains(&process)) {
                self.end(*id);
            }
        }
    }

    /// The entry of that number.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// All entries behind a number, in their order.
    pub(crate) fn after(
        &self,
        id: ConnectionId,
    ) -> impl Iterator<Item = (ConnectionId, &Entry)> + use<'_> {
        let behind = (Bound::Excluded(id), Bound::Unbounded);
        self.entries.range(behind).map(|(id, entry)| (*id, entry))
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Entry)> + use<'_> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many a daemon relays.
    pub(crate) fn relayed_by(&self, daemon: &str) -> usize {
        self.relays.keys().filter(|(by, _)| by == daemon).count()
    }

    /// How many no daemon reports on.
    pub(crate) fn held(&self) -> usize {
        self.held_count
    }

    /// How many of them the user has who has most, with that user.
    pub(crate) fn held_by_one(&self) -> Option<(Option<u32>, usize)> {
        let of_users = self.held.iter().filter_map(|(holder, held)| match holder {
            Holder::User(user) => Some((*user, held.len())),
            Holder::Elsewhere => None,
        });
        of_users.max_by_key(|(_, count)| *count)
    }

    /// How many were forgotten because a limit was reached.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// What makes a right to connect the same one: whose it is, and to what.
fn name_key(entry: &Entry) -> Option<(Process, String)> {
    if !matches!(entry.carried, Carried::Name) {
        return None;
    }
    let target = entry.target.local()?;
    Some((entry.process()?, format!("{target} {}", entry.service)))
}

impl Entry {
    fn holder(&self) -> Holder {
        match &self.who {
            Identity::Local(local) => Holder::User(local.uid),
            Identity::Remote(_) => Holder::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests;
