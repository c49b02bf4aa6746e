//! A connection to the broker by way of another one, which others use too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use sys::ancillary::Wait;
use sys::socket::SocketKind;

use super::{Broker, Request};
use crate::error::ConnectError;
use crate::interface::registry::ADOPT;
use crate::interface::transport::Empty;
use crate::varlink::{self, CallFlags};
use crate::wire::{Reading, WireError};

impl Broker {
    /// A connection of this process's own, by way of a broker's socket that others use too: they
    /// write one message each to that, and never read from it.
    pub(crate) fn through(broker: BorrowedFd<'_>) -> Result<Self, ConnectError> {
        let (own, brokers) = Self::pair().map_err(ConnectError::System)?;
        adopt(broker, brokers)?;
        Ok(own)
    }

    /// As [`Broker::through`], with a request that lies there when the broker gets its end, so that
    /// it need not wait for one. [`Broker::stream_of_answer`] goes on.
    pub(crate) fn ask_through(
        broker: BorrowedFd<'_>,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        let (mut own, brokers) = Self::pair().map_err(ConnectError::System)?;
        let left = own.queue(request.upgrading(deadline), deadline)?;
        let _whole = own.wire.flush(Wait::Never).map_err(ConnectError::of_wire)?;
        adopt(broker, brokers)?;
        own.send_queued(left)?;
        Ok(own)
    }

    /// A connection, and the end of it that is to be the broker's.
    fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, brokers) = sys::socket::unix_pair(SocketKind::Stream)?;
        // What is written before the broker has that end is to tell who wrote it.
        sys::credentials::pass_credentials(brokers.as_fd(), true)?;
        Ok((Self::over(own, Reading::Exact), brokers))
    }
}

/// Gives a broker its end of a connection.
fn adopt(broker: BorrowedFd<'_>, brokers: OwnedFd) -> Result<(), ConnectError> {
    let flags = CallFlags { oneway: true, ..CallFlags::default() };
    let message = varlink::call(ADOPT, &Empty {}, flags);
    sys::ancillary::send(broker, &message, &[brokers.as_fd()], Wait::Block)
        .map_err(|error| ConnectError::of_wire(WireError::System(error)))?;
    // The broker has it now; a copy here would keep the connection from ending.
    drop(brokers);
    Ok(())
}
