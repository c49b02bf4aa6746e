//! Who calls a daemon, and the answers that wait until they are collected.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use libipc::poller::{Interest, Poller, Token};
use libipc::varlink::Bytes;

use crate::server::{Caller, Heard};

/// Callers at most: the broker makes one connection per call. Further ones wait in the socket.
pub const CALLERS_MOST: usize = 4096;

/// The callers of one daemon, each watched under its token for what it says, and for room as long
/// as an answer waits for that. Never blocks.
#[derive(Default)]
pub struct Callers(HashMap<Token, Calling>);

struct Calling {
    caller: Caller,
    /// Whether an answer waits for the caller to collect.
    waits: bool,
}

/// A caller cannot be served any more: it is to be forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gone;

impl Callers {
    /// Whether no more of them are taken in.
    #[must_use]
    pub fn are_full(&self) -> bool {
        self.0.len() >= CALLERS_MOST
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the token of one.
    #[must_use]
    pub fn has(&self, token: Token) -> bool {
        self.0.contains_key(&token)
    }

    /// All their tokens.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        self.0.keys().copied().collect()
    }

    /// Takes one in, and watches it. False if the kernel cannot: its connection is closed then.
    pub fn add(&mut self, poller: &Poller, token: Token, caller: Caller) -> bool {
        let is_watched = poller.add(&caller, token, Interest::READ).is_ok();
        if is_watched {
            self.0.insert(token, Calling { caller, waits: false });
        }
        is_watched
    }

    /// Sends what waits for room.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn flush(&mut self, poller: &Poller, token: Token) -> Result<(), Gone> {
        let Some(calling) = self.0.get_mut(&token) else { return Ok(()) };
        calling.caller.flush().map_err(|_| Gone)?;
        calling.watch(poller, token)
    }

    /// What one says next.
    pub fn read(&mut self, token: Token) -> Heard {
        self.0.get_mut(&token).map_or(Heard::Nothing, |calling| calling.caller.read())
    }

    /// Answers one that is there still, with a descriptor of its own if there is one.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn answer(
        &mut self,
        poller: &Poller,
        token: Token,
        message: Bytes,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), Gone> {
        let Some(calling) = self.0.get_mut(&token) else { return Ok(()) };
        calling.caller.answer(message, descriptor).map_err(|_| Gone)?;
        calling.watch(poller, token)
    }

    /// Closes the connection of one. True if there is room again where there was none.
    pub fn remove(&mut self, poller: &Poller, token: Token) -> bool {
        let were_full = self.are_full();
        let Some(calling) = self.0.remove(&token) else { return false };
        let _unwatched = poller.remove(&calling.caller).is_ok();
        were_full
    }
}

impl Calling {
    fn watch(&mut self, poller: &Poller, token: Token) -> Result<(), Gone> {
        let waits = self.caller.has_outgoing();
        if waits == self.waits {
            return Ok(());
        }
        self.waits = waits;
        let interest = if waits { Interest::BOTH } else { Interest::READ };
        poller.change(&self.caller, token, interest).map_err(|_| Gone)
    }
}
