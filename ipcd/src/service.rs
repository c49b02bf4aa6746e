//! What the configuration says about a service of this host.

use std::path::Path;

use libipc::name::ServiceName;
use policy::config::Config;

/// The settings of one service; those of a service that is not mentioned are the defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceSettings<'c> {
    /// Where it listens, if at a place of its own choice.
    pub(crate) socket: Option<&'c Path>,
    /// The user to whom its socket belongs.
    pub(crate) owner: Option<u32>,
    /// Whether clients may get its door.
    pub(crate) door: bool,
    /// Whether the broker may connect in the place of clients that can do it in no other way.
    pub(crate) trusts_broker: bool,
}

impl<'c> ServiceSettings<'c> {
    /// The settings of `service`.
    pub(crate) fn of(config: &'c Config, service: &ServiceName) -> Self {
        match config.services.get(service) {
            Some(written) => Self {
                socket: written.socket.as_deref(),
                owner: written.owner,
                door: written.door,
                trusts_broker: written.trusts_broker,
            },
            None => Self { socket: None, owner: None, door: true, trusts_broker: false },
        }
    }

    /// Whether a socket of that owner is the service's: an administrator named its place, or it
    /// belongs to root, to the named owner, or to `also`.
    pub(crate) fn may_belong_to(&self, owner: u32, also: Option<u32>) -> bool {
        self.socket.is_some() || [Some(0), self.owner, also].contains(&Some(owner))
    }
}
