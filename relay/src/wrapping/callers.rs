//! Callers, and the answers to their calls.

use std::os::fd::OwnedFd;
use std::time::Instant;

use libipc::interface::transport::{Empty, TransportError};
use libipc::poller::{Interest, Token};
use libipc::varlink::{self, Bytes};

use super::{ACCEPT_BATCH, EventLoop, Wrapping};
use crate::server::{Heard, Request};

impl<W: Wrapping> EventLoop<W> {
    pub(super) fn accept_callers(&mut self, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if self.callers.are_full() {
                return self.watch_server(Interest::NONE);
            }
            let Some(server) = &self.server else { return };
            match server.accept() {
                Ok(Some(caller)) => {
                    let token = self.next_token();
                    if self.callers.add(&self.poller, token, caller) {
                        self.serve_caller(token, now);
                    }
                }
                Ok(None) => return,
                Err(_) => return self.rest(now),
            }
        }
    }

    pub(super) fn serve_caller(&mut self, token: Token, now: Instant) {
        if self.callers.flush(&self.poller, token).is_err() {
            return self.forget_caller(token);
        }
        loop {
            match self.callers.read(token) {
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
        if self.callers.answer(&self.poller, token, message, descriptor).is_err() {
            self.forget_caller(token);
        }
    }

    pub(super) fn fail(&mut self, token: Token, error: &TransportError) {
        self.answer(token, varlink::error(error), None);
    }

    /// A caller is gone: what was being done for it is given up.
    pub(super) fn forget_caller(&mut self, token: Token) {
        self.forget_links_of(token);
        if self.callers.remove(&self.poller, token) && self.resume.is_none() {
            self.watch_server(Interest::READ);
        }
        if self.told == Some(token) {
            self.told = None;
        }
    }
}
