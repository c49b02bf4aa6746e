//! Clients, each on a thread of its own: one call after the other, and never for long.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libipc::Stream;
use libipc::interface::ServiceError;
use libipc::interface::authenticator::{self, AuthenticatorError, VERIFY, Verify};
use libipc::interface::introspection::{
    self, Description, GET_DESCRIPTION, GET_INFO, GetDescription, Info,
};
use libipc::varlink::{self, Bytes, Call};
use libipc::wire::{Limits, Message, Progress, Reading, Wire};
use sys::ancillary::Wait;

use crate::report::Reports;
use crate::verifier::{Outcome, Verifier};

pub(crate) use self::crowd::Crowd;

mod crowd;

/// How long a client may take for one call, and for reading its answer.
pub(crate) const CALL_TIME: Duration = Duration::from_secs(5);

/// How long a login waits for its turn.
pub(crate) const TURN_TIME: Duration = Duration::from_secs(4);

/// Bytes of the longest call.
pub(crate) const CALL_BYTES_MOST: usize = 32 * 1024;

/// Bytes of a thread's stack: what a hash works on is elsewhere.
const STACK_BYTES: usize = 512 * 1024;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) verifier: Verifier,
    pub(crate) reports: Reports,
    pub(crate) crowd: Crowd,
}

/// Serves one client on a thread of its own; one too many is closed, and may come again.
///
/// # Errors
///
/// The kernel's: no thread left.
pub(crate) fn start(office: &Arc<Office>, stream: Stream) -> io::Result<()> {
    let Some(place) = Crowd::enter(office, stream.peer()) else { return Ok(()) };
    let office = Arc::clone(office);
    let serve = move || {
        // A client that breaks off ends its own connection, and nothing else.
        let _broken = serve(&office, stream).is_err();
        drop(place);
    };
    thread::Builder::new().stack_size(STACK_BYTES).spawn(serve).map(drop)
}

fn serve(office: &Office, stream: Stream) -> io::Result<()> {
    stream.set_write_timeout(Some(CALL_TIME))?;
    let limits = Limits { message_bytes: CALL_BYTES_MOST, descriptors: 0, ..Limits::default() };
    let mut wire = Wire::new(OwnedFd::from(stream), Reading::Eager, limits);
    while let Some(message) = next_call(&mut wire, Instant::now() + CALL_TIME)? {
        let Some(answer) = answer(office, &message, Instant::now()) else { return Ok(()) };
        wire.queue(answer, None).map_err(io::Error::other)?;
        if !wire.flush(Wait::Block).map_err(io::Error::other)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The next call; nothing if the client has left, or the call is not whole in time.
fn next_call(wire: &mut Wire, deadline: Instant) -> io::Result<Option<Message>> {
    loop {
        if let Some(message) = wire.take().map_err(io::Error::other)? {
            return Ok(Some(message));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        sys::socket::set_receive_timeout(wire.as_fd(), Some(left))?;
        if wire.receive(Wait::Block).map_err(io::Error::other)? != Progress::Some {
            return Ok(None);
        }
    }
}

/// The answer to a call that came at `now`; nothing to what is none.
fn answer(office: &Office, message: &Message, now: Instant) -> Option<Bytes> {
    let call = varlink::read_call(&message.bytes).ok()?;
    match &*call.method {
        VERIFY => Some(match varlink::read_parameters::<Verify>(call.parameters) {
            Ok(login) => verify(office, &login, now),
            Err(_) => varlink::error(&ServiceError::InvalidParameter { parameter: String::new() }),
        }),
        _ => Some(describe(&call)),
    }
}

fn verify(office: &Office, login: &Verify, now: Instant) -> Bytes {
    let outcome = office.verifier.verify(login, now + TURN_TIME);
    office.reports.tell(login, &outcome, Instant::now());
    match outcome {
        Outcome::Accepted(verified) => varlink::reply(&verified, false),
        Outcome::Rejected { .. } | Outcome::HeldBack => {
            varlink::error(&AuthenticatorError::Rejected {})
        }
        Outcome::Busy => varlink::error(&AuthenticatorError::Busy {}),
    }
}

/// What any varlink peer may ask.
fn describe(call: &Call<'_>) -> Bytes {
    const INTERFACES: [(&str, &str); 2] = [
        (introspection::INTERFACE, introspection::TEXT),
        (authenticator::INTERFACE, authenticator::TEXT),
    ];
    let (interface, _) = call.method.rsplit_once('.').unwrap_or_default();
    match &*call.method {
        GET_INFO => varlink::reply(
            &Info {
                vendor: "ipcd".into(),
                product: "authd".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                url: "https://varlink.org".into(),
                interfaces: INTERFACES.map(|(name, _)| name.to_owned()).into(),
            },
            false,
        ),
        GET_DESCRIPTION => {
            let wanted = varlink::read_parameters::<GetDescription>(call.parameters);
            let wanted = wanted.map(|wanted| wanted.interface).unwrap_or_default();
            match INTERFACES.iter().find(|(name, _)| *name == wanted) {
                Some((_, text)) => {
                    varlink::reply(&Description { description: (*text).to_owned() }, false)
                }
                None => varlink::error(&ServiceError::InterfaceNotFound { interface: wanted }),
            }
        }
        method if INTERFACES.iter().any(|(name, _)| *name == interface) => {
            varlink::error(&ServiceError::MethodNotFound { method: method.to_owned() })
        }
        _ => varlink::error(&ServiceError::InterfaceNotFound { interface: interface.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
