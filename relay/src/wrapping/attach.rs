//! The second step: what was agreed goes on, to the broker or to a service.

use std::os::fd::OwnedFd;

use libipc::interface::transport::{Agreed, Empty, TransportError};
use libipc::interface::tunnel::TunnelError;
use libipc::poller::Token;
use libipc::varlink;

use super::links::Known;
use super::{EventLoop, Wrapping};
use crate::failure;
use crate::link::PlainSide;
use crate::service::connect;

impl<W: Wrapping> EventLoop<W> {
    /// Without a descriptor the answer has one end of a socket pair.
    pub(super) fn attach(&mut self, token: Token, agreed: Agreed, descriptor: Option<OwnedFd>) {
        let id = agreed.id;
        let agreed = self.known.get(&id).filter(|known| known.is_agreed);
        let Some(far) = agreed.map(Known::far) else {
            return self.fail(token, &TransportError::UnknownId { id });
        };
        let plain = match descriptor {
            Some(descriptor) => {
                connect(descriptor).map(|socket| (PlainSide { socket, is_marked: false }, None))
            }
            None => PlainSide::pair().map(|(side, program)| (side, Some(program))),
        };
        self.known.remove(&id);
        match plain {
            Ok((plain, answer)) => {
                self.relaying.insert(id, far);
                self.workers.attach(id, plain);
                self.answer(token, varlink::reply(&Empty {}, false), answer);
            }
            Err(error) => {
                self.workers.refuse(id, TunnelError::no(true));
                self.fail(token, &failure::unreachable(&error));
            }
        }
    }
}
