//! Someone who watches the decisions of a broker, over its real socket.

use std::time::Instant;

use ipcd_tests::{Host, PATIENCE};
use libipc::Broker;
use libipc::interface::control::{Decision, MONITOR, Monitor};
use libipc::rundir::{Instance, RunDirectory};
use libipc::varlink;

/// Hears every decision from the moment that it exists.
pub(crate) struct Watching(Broker);

impl Watching {
    /// Everything that a host's broker decides.
    pub(crate) fn all(host: &Host) -> Self {
        Self::of(host, &Monitor::default())
    }

    /// What is wanted of it.
    pub(crate) fn of(host: &Host, wanted: &Monitor) -> Self {
        let directory = RunDirectory::new(host.rundir(), Instance::Private);
        let deadline = Instant::now() + PATIENCE;
        let mut broker = Broker::open(&directory, deadline).expect("the broker answers");
        let begun = broker.subscribe(MONITOR, wanted, deadline).expect("it lets us watch");
        let begun = read(&begun);
        assert!(begun.verdict.is_none() && begun.missed == Some(0), "{begun:?}");
        Self(broker)
    }

    /// The next decision, or notice of missed ones.
    pub(crate) fn next(&mut self) -> Decision {
        let deadline = Some(Instant::now() + PATIENCE);
        read(&self.0.next_reply(deadline).expect("the broker tells"))
    }

    /// As many as that.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Decision> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn read(message: &[u8]) -> Decision {
    let reply = varlink::read_reply(message).expect("a reply");
    assert!(reply.error.is_none(), "{}", String::from_utf8_lossy(message));
    varlink::read_parameters(reply.parameters).expect("a decision")
}
