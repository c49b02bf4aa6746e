//! Callers, and the answers to their calls.

use std::os::fd::OwnedFd;
use std::time::Instant;

use libipc::interface::transport::{Empty, TransportError};
use libipc::poller::{Interest, Token};
use libipc::varlink::{self, Bytes};

use super::{ACCEPT_BATCH, EventLoop, Wrapping};
use crate::server::{Caller, Heard, Request};

/// Callers at most: the broker makes one connection per call. Further ones wait in the socket.
pub(super) const CALLERS_MOST: usize = 4096;

/// A caller.
pub(super) struct Calling {
    caller: Caller,
    /// Whether an answer waits for the caller to collect.
    waits: bool,
}

impl<W: Wrapping> EventLoop<W> {
    pub(super) fn accept_callers(&mut self, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if self.callers.len() >= CALLERS_MOST {
                return self.watch_server(Interest::NONE);
            }
            let Some(server) = &self.server else { return };
            match server.accept() {
                Ok(Some(caller)) => {
                    let token = self.next_token();
                    if self.poller.add(&caller, token, Interest::READ).is_ok() {
                        self.callers.insert(token, Calling { caller, waits: false });
                        self.serve_caller(token, now);
                    }
                }
                Ok(None) => return,
                Err(_) => return self.rest(now),
            }
        }
    }

    pub(super) fn serve_caller(&mut self, token: Token, now: Instant) {
        if let Some(calling) = self.callers.get_mut(&token)
            && calling.caller.flush().is_err()
        {
            return self.forget_caller(token);
        }
        self.watch_caller(token);
        loop {
            let Some(calling) = self.callers.get_mut(&token) else { return };
            match calling.caller.read() {
                Heard::Nothing => return,
                Heard::Over => return self.forget_caller(token),
                Heard::Request(request) => self.carry_out(token, request, now),
            }
        }
    }

    fn carry_out(&mut self, token: Token, request: Request, now: Instant) {
        match request {
            Request::Dial(_) => self.answer(token, request.unserved(), None),
            Request::Wrap(wanted, net) => self.wrap(token, *wanted, net, now),
            Request::Serve(wanted, net) => self.serve_for(token, &wanted, net, now),
            Request::Listen => self.told = Some(token),
            Request::Attach(agreed, descriptor) => self.attach(token, agreed, descriptor),
            Request::Refuse(refuse) => {
                let known = self.known.remove(&refuse.id).is_some();
                if known {
                    self.workers.refuse(refuse.id, refuse.refusal());
                }
                self.answer_about(token, refuse.id, known);
            }
            Request::Close { agreed, oneway } => {
                let known = self.forget_link(agreed.id);
                if !oneway {
                    self.answer_about(token, agreed.id, known);
                }
            }
        }
    }

    fn answer_about(&mut self, token: Token, id: u64, known: bool) {
        if known {
            self.answer(token, varlink::reply(&Empty {}, false), None);
        } else {
            self.fail(token, &TransportError::UnknownId { id });
        }
    }

    pub(super) fn answer(&mut self, token: Token, message: Bytes, descriptor: Option<OwnedFd>) {
        let Some(calling) = self.callers.get_mut(&token) else { return };
        if calling.caller.answer(message, descriptor).is_err() {
            return self.forget_caller(token);
        }
        self.watch_caller(token);
    }

    pub(super) fn fail(&mut self, token: Token, error: &TransportError) {
        self.answer(token, varlink::error(error), None);
    }

    /// Watches a caller for room too, as long as an answer waits for that.
    fn watch_caller(&mut self, token: Token) {
        let Some(calling) = self.callers.get_mut(&token) else { return };
        let waits = calling.caller.has_outgoing();
        if waits == calling.waits {
            return;
        }
        calling.waits = waits;
        let interest = if waits { Interest::BOTH } else { Interest::READ };
        if self.poller.change(&calling.caller, token, interest).is_err() {
            self.forget_caller(token);
        }
    }

    /// A caller is gone: what was being done for it is given up.
    pub(super) fn forget_caller(&mut self, token: Token) {
        self.forget_links_of(token);
        if let Some(calling) = self.callers.remove(&token) {
            let _unwatched = self.poller.remove(&calling.caller).is_ok();
            if self.callers.len() + 1 == CALLERS_MOST && self.resume.is_none() {
                self.watch_server(Interest::READ);
            }
        }
        if self.told == Some(token) {
            self.told = None;
        }
    }
}
