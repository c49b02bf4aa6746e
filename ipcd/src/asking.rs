//! One question of the broker itself: a connection to the service, then a single call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use libipc::interface::broker::{CONNECT, Connect, Connected, Handoff};
use libipc::name::ServiceName;
use libipc::poller::Interest;
use libipc::varlink::{self, Bytes, CallFlags};
use libipc::wire::Message;

use crate::channel::{Channel, Heard, read_reply};

/// A question, as far as it is.
#[derive(Debug)]
pub(crate) struct Asking {
    channel: Channel,
    /// What the service is asked, until there is a connection to it.
    question: Option<Bytes>,
}

/// How it goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// Something has to come first. The connection to the service is another socket than the one
    /// before, which is this.
    Waits {
        /// The socket that stood for the question.
        moved: Option<Channel>,
    },
    /// The message that ends it: the service's answer, or the broker's why there is none. Nothing
    /// if the connection ended.
    Over(Option<Bytes>),
}

impl Asking {
    /// Asks the broker, at the other end of `socket`, for `service`. `question` is for that.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn begin(
        socket: OwnedFd,
        service: &ServiceName,
        timeout: Duration,
        question: Bytes,
    ) -> io::Result<Self> {
        let connect = Connect {
            service: service.to_string(),
            network: None,
            timeout_ms: u64::try_from(timeout.as_millis()).ok(),
            wait: None,
            take: vec![Handoff::Upgrade, Handoff::Descriptor, Handoff::Door],
        };
        let flags = CallFlags { upgrade: true, ..CallFlags::default() };
        let channel = Channel::over(socket, varlink::call(CONNECT, &connect, flags), None)?;
        Ok(Self { channel, question: Some(question) })
    }

    /// What has to become ready for it to go on.
    pub(crate) fn interest(&self) -> Interest {
        if self.channel.has_outgoing() { Interest::BOTH } else { Interest::READ }
    }

    /// Does what can be done now.
    pub(crate) fn advance(&mut self) -> Next {
        if self.channel.has_outgoing() {
            self.channel.flush();
        }
        match self.channel.read() {
            Heard::Nothing => Next::Waits { moved: None },
            Heard::Over => Next::Over(None),
            Heard::Message(message) => match self.question.take() {
                None => Next::Over(Some(message.bytes)),
                Some(question) => self.connected(message, question),
            },
        }
    }

    /// The broker has answered: the question goes to the service.
    fn connected(&mut self, message: Message, question: Bytes) -> Next {
        let Some(connected) = read_reply::<Connected>(&message.bytes) else {
            return Next::Over(Some(message.bytes));
        };
        let descriptor = message.descriptors.into_iter().next();
        let socket = match (connected.handoff, descriptor) {
            (Handoff::Upgrade, None) => {
                let sent = self.channel.send(question, None);
                return if sent { Next::Waits { moved: None } } else { Next::Over(None) };
            }
            (Handoff::Door, Some(door)) => sys::door::connect_now(door.as_fd()).ok(),
            (Handoff::Descriptor, Some(socket)) => Some(socket),
            _ => None,
        };
        match socket.and_then(|socket| Channel::over(socket, question, None).ok()) {
            Some(channel) => {
                let before = std::mem::replace(&mut self.channel, channel);
                Next::Waits { moved: Some(before) }
            }
            None => Next::Over(None),
        }
    }
}

impl AsFd for Asking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
