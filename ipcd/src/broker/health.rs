//! How the broker is, in one line, for people who ask the service manager.

use std::fmt;

use super::Broker;

/// What the broker works by. It changes with the configuration alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Health {
    revision: u64,
    is_refused: bool,
}

impl Broker {
    /// How the broker is now.
    pub(crate) fn health(&self) -> Health {
        Health { revision: self.revision, is_refused: self.refused.is_some() }
    }

    /// Whether a client waits for an answer, or has come and not asked yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.clients.values().any(|client| client.request.is_some() || !client.has_asked)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answering by revision {} of the configuration", self.revision)?;
        if self.is_refused {
            f.write_str("; the files have problems since, see ipc status")?;
        }
        Ok(())
    }
}
