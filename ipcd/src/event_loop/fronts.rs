//! Fronts come and go with the configuration.

use std::path::Path;

use libipc::listener::ListenError;
use libipc::name::ServiceName;
use libipc::poller::{Interest, Token};

use super::{EventLoop, Source};
use crate::action::Entrance;
use crate::entrance::Way;
use crate::fronts;

impl EventLoop<'_> {
    /// Opens the fronts of the live configuration, and closes those that it no longer has. One that
    /// cannot be opened is nobody else's business.
    pub(super) fn know_fronts(&mut self) {
        let live = std::sync::Arc::clone(self.broker.live());
        let gone: Vec<_> = self
            .entrances
            .iter()
            .filter(|(_, way)| match (&way.place, &way.entrance) {
                (Some(place), Entrance::Front(name)) => {
                    live.fronts.get(place) != Some(name) || !way.is_in_place()
                }
                _ => false,
            })
            .map(|(token, _)| *token)
            .collect();
        for token in gone {
            if let Some(way) = self.entrances.remove(&token) {
                let _unwatched = self.poller.remove(&way.listener).is_ok();
            }
        }
        for (path, name) in &live.fronts {
            let is_open = self.entrances.values().any(|way| way.place.as_ref() == Some(path));
            if !is_open && let Err(error) = self.open_front(path, name) {
                tracing::error!(event = "no-front", ?path, service = name.as_str(), %error);
            }
        }
    }

    /// Whether a client that is gone has said something to its service, which is to hear that: then
    /// its request goes on, and is over at its deadline. Its end is not told again and again.
    pub(super) fn is_heard_out(&mut self, token: Token) -> bool {
        let Some(Source::Client(_, connection, watched)) = self.sources.get_mut(&token) else {
            return false;
        };
        let is_heard_out = connection.has_words_for_a_service();
        if let Some(socket) = connection.socket().filter(|_| is_heard_out && watched.begun) {
            // It is watched, so that cannot fail.
            let _unwatched = self.poller.remove(socket).is_ok();
            watched.begun = false;
        }
        is_heard_out
    }

    fn open_front(&mut self, path: &Path, name: &ServiceName) -> Result<(), ListenError> {
        let system = |error| ListenError::System { path: path.to_owned(), error };
        let listener = fronts::bind(path, &self.directory)?;
        let way = Way::front(listener, name.clone(), path).map_err(system)?;
        let token = self.next_token();
        self.poller.add(&way.listener, token, Interest::READ).map_err(system)?;
        self.entrances.insert(token, way);
        Ok(())
    }
}
