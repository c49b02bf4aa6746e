//! Who watches decisions as they are made. Each is told all that it wants to know; one that does
//! not read is not waited for, and told later how many it has missed.

use std::collections::HashMap;

use libipc::identity::LocalIdentity;
use libipc::interface::Identity;
use libipc::interface::control::{Decision, Monitor, Verdict};
use libipc::varlink::{self, Bytes};
use policy::pattern::Pattern;

use crate::action::ClientId;
use crate::decision;

/// All who watch.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    watching: HashMap<ClientId, Watching>,
}

#[derive(Debug)]
struct Watching {
    wanted: Wanted,
    /// It has not yet read what it was told: nothing more is sent.
    is_behind: bool,
    missed: u64,
}

/// What one of them wants to know.
#[derive(Debug)]
struct Wanted {
    services: Vec<Pattern>,
    denied: bool,
    uid: Option<u32>,
}

impl Monitors {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.watching.len()
    }

    /// One more.
    pub(crate) fn begin(&mut self, client: ClientId, wanted: &Monitor) {
        let services = wanted.services.iter().flatten().map(|name| Pattern::new(name)).collect();
        let denied = wanted.denied.unwrap_or_default();
        let wanted = Wanted { services, denied, uid: wanted.uid };
        self.watching.insert(client, Watching { wanted, is_behind: false, missed: 0 });
    }

    /// What one that begins to watch is told first: from now on it hears everything.
    pub(crate) fn begun(revision: u64) -> Bytes {
        varlink::reply(&Decision { revision, ..notice(0, "listening") }, true)
    }

    /// It went away.
    pub(crate) fn end(&mut self, client: ClientId) {
        self.watching.remove(&client);
    }

    /// Whether nobody watches.
    pub(crate) fn is_empty(&self) -> bool {
        self.watching.is_empty()
    }

    /// What each of them is to be told about a decision.
    pub(crate) fn tell(&mut self, decision: &Decision) -> Vec<(ClientId, Bytes)> {
        let mut told = Vec::new();
        for (client, watching) in &mut self.watching {
            if !watching.wanted.is_about(decision) {
                continue;
            }
            if watching.is_behind {
                watching.missed += 1;
            } else {
                told.push((*client, varlink::reply(decision, true)));
            }
        }
        told
    }

    /// What it was told did not fit: it is left alone until it has read that.
    pub(crate) fn fell_behind(&mut self, client: ClientId) {
        if let Some(watching) = self.watching.get_mut(&client) {
            watching.is_behind = true;
        }
    }

    /// It has read everything; what it is to be told now: how much it has missed.
    pub(crate) fn caught_up(&mut self, client: ClientId) -> Option<Bytes> {
        let watching = self.watching.get_mut(&client)?;
        watching.is_behind = false;
        let missed = std::mem::take(&mut watching.missed);
        (missed > 0).then(|| varlink::reply(&notice(missed, MISSED), true))
    }
}

impl Wanted {
    fn is_about(&self, decision: &Decision) -> bool {
        let uid = match &decision.who {
            Identity::Local(local) => local.uid,
            Identity::Remote(_) => None,
        };
        let is_named = |pattern: &Pattern| pattern.matches(&decision.service);
        (self.services.is_empty() || self.services.iter().any(is_named))
            && (!self.denied || decision.verdict.is_some_and(Verdict::refuses_or_would))
            && self.uid.is_none_or(|wanted| uid == Some(wanted))
    }
}

/// Why decisions were left out.
const MISSED: &str = "decisions were left out: this monitor did not read fast enough";

/// Something that is about no decision.
fn notice(missed: u64, reason: &str) -> Decision {
    let nobody = Identity::Local(LocalIdentity::default());
    Decision {
        client: String::new(),
        reason: reason.to_owned(),
        missed: Some(missed),
        ..decision::about(nobody, None, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(service: &str, verdict: Verdict, uid: u32) -> Decision {
        let who = LocalIdentity { uid: Some(uid), ..LocalIdentity::default() };
        let decision = decision::about(Identity::Local(who), None, 1);
        Decision { service: service.to_owned(), verdict: Some(verdict), ..decision }
    }

    #[test]
    fn each_is_told_what_it_wants_to_know_and_nothing_else() {
        let cases = [
            (Monitor::default(), 4),
            (Monitor { denied: Some(true), ..Monitor::default() }, 2),
            (Monitor { uid: Some(7), ..Monitor::default() }, 1),
            (Monitor { services: Some(vec!["db*".into()]), ..Monitor::default() }, 2),
            (Monitor { services: Some(vec!["db".into(), "x".into()]), ..Monitor::default() }, 2),
        ];
        let decisions = [
            decided("db", Verdict::Allowed, 1),
            decided("db-2", Verdict::Permissive, 1),
            decided("x", Verdict::Busy, 1),
            decided("y", Verdict::Allowed, 7),
        ];
        for (wanted, expected) in cases {
            let mut monitors = Monitors::default();
            monitors.begin(ClientId(1), &wanted);
            let told: usize = decisions.iter().map(|one| monitors.tell(one).len()).sum();
            assert_eq!(told, expected, "{wanted:?}");
        }
    }

    #[test]
    fn one_that_does_not_read_is_told_exactly_how_much_it_has_missed() {
        let mut monitors = Monitors::default();
        monitors.begin(ClientId(1), &Monitor::default());
        monitors.begin(ClientId(2), &Monitor::default());
        monitors.fell_behind(ClientId(1));
        for _ in 0..1000 {
            let told = monitors.tell(&decided("x", Verdict::Denied, 1));
            assert_eq!(told.len(), 1, "the other one goes on");
        }
        let notice = monitors.caught_up(ClientId(1)).unwrap();
        let text = String::from_utf8(notice.to_vec()).unwrap();
        assert!(text.contains("\"missed\":1000"), "{text}");
        let why = "decisions were left out: this monitor did not read fast enough";
        assert!(text.contains(why), "{text}");
        assert!(monitors.caught_up(ClientId(1)).is_none());
        assert_eq!(monitors.tell(&decided("x", Verdict::Denied, 1)).len(), 2);
        monitors.end(ClientId(1));
        assert_eq!(monitors.len(), 1);
    }
}
