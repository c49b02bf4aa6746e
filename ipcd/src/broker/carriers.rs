//! Daemons that carry connections: which answer, and which generations of them finish.

use libipc::interface::control::Transport;
use libipc::interface::transport::GENERATION;

use super::Broker;

impl Broker {
    /// Tells which transport daemons answer now, and which generations of them begin nothing new.
    pub(crate) fn set_transports(&mut self, available: Vec<String>, finishing: Vec<(String, u64)>) {
        for (daemon, generation) in self.finishing.iter().filter(|one| !finishing.contains(one)) {
            self.connections.generation_gone(daemon, *generation);
        }
        for gone in self.transports.iter().filter(|known| !available.contains(known)) {
            let of_it = finishing.iter().filter(|(daemon, _)| daemon == gone);
            let but: Vec<u64> = of_it.map(|(_, generation)| *generation).collect();
            self.connections.daemon_gone(gone, &but);
        }
        self.transports = available;
        self.finishing = finishing;
    }

    /// The generation that relays that, if it is finishing.
    pub(super) fn finishing_with(&self, daemon: &str, relay: u64) -> Option<u64> {
        let generation = relay / GENERATION;
        let mut finishing = self.finishing.iter();
        finishing.any(|(name, one)| name == daemon && *one == generation).then_some(generation)
    }

    /// All of them, as administrators see them.
    pub(super) fn carriers(&self) -> Vec<Transport> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let finishing = self.finishing.iter().map(|(daemon, generation)| Transport {
            name: format!("{daemon}, generation {generation}, finishing"),
            available: false,
            relays: count(self.connections.relayed_by_generation(daemon, *generation)),
        });
        let serving = self.live.daemons().into_iter().map(|name| {
            let older = self.finishing.iter().filter(|(daemon, _)| *daemon == name);
            let older: usize =
                older.map(|(by, one)| self.connections.relayed_by_generation(by, *one)).sum();
            Transport {
                available: self.transports.contains(&name),
                relays: count(self.connections.relayed_by(&name) - older),
                name,
            }
        });
        serving.chain(finishing).collect()
    }
}
