//! A connection to the broker.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use sys::ancillary::Wait;
use sys::socket::SocketKind;

use crate::error::ConnectError;
use crate::interface::broker::{BrokerError, CONNECT, Connect, Connected, Handoff, Kind};
use crate::interface::registry::{RESTRICT, Services};
use crate::name::ServiceName;
use crate::rundir::RunDirectory;
use crate::secret::Secret;
use crate::stream::Stream;
use crate::varlink::{self, CallFlags};
use crate::wire::{Limits, Message, Progress, Reading, Wire, WireError};

mod adoption;

/// A kept connection to one broker, for many calls.
///
/// Calls are answered in order. It belongs to the process that made it: a child after `fork` is
/// refused. After any error but [`ConnectError::Broker`] it is of no further use.
///
/// ```
/// use std::time::{Duration, Instant};
/// use libipc::{Broker, ServiceName};
/// use libipc::rundir::RunDirectory;
/// # if let Some(directory) = Some(RunDirectory::system()).filter(RunDirectory::has_broker) {
/// let deadline = Instant::now() + Duration::from_secs(10);
/// let mut broker = Broker::open(&directory, deadline)?;
/// let answer = broker.connect(&ServiceName::new("pongd").unwrap(), None, deadline);
/// # let _answered_or_denied = answer.is_ok();
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    wire: Wire,
    closed: bool,
    /// A name that was last had by a connection of its own: the next time it is so at once.
    upgraded: Option<ServiceName>,
    /// The socket's time-outs, as they were set last.
    waits: Waits,
}

/// Time-outs of a socket; none is set at its beginning.
#[derive(Debug, Default)]
struct Waits {
    receiving: Option<Duration>,
    sending: Option<Duration>,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) service: &'a ServiceName,
    pub(crate) network: Option<&'a Secret>,
    /// For a service that is not there yet.
    pub(crate) waits: bool,
}

impl Request<'_> {
    fn parameters(self, take: Vec<Handoff>, deadline: Instant) -> Connect {
        let left = deadline.saturating_duration_since(Instant::now());
        Connect {
            service: self.service.to_string(),
            network: self.network.cloned(),
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
            wait: self.waits.then_some(true),
            take,
        }
    }

    /// The call by which the connection itself may become the stream.
    fn upgrading(self, deadline: Instant) -> varlink::Bytes {
        let take = vec![Handoff::Upgrade, Handoff::Door, Handoff::Descriptor];
        let flags = CallFlags { upgrade: true, ..CallFlags::default() };
        varlink::call(CONNECT, &self.parameters(take, deadline), flags)
    }
}

impl Broker {
    /// Connects to the broker of `directory`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BrokerDown`] if nobody answers there.
    pub fn open(directory: &RunDirectory, deadline: Instant) -> Result<Self, ConnectError> {
        Self::open_for(directory, Reading::Eager, deadline)
    }

    /// As [`Broker::open`], for a connection that may become the stream: nothing behind an answer is
    /// read.
    pub(crate) fn open_exact(
        directory: &RunDirectory,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        Self::open_for(directory, Reading::Exact, deadline)
    }

    /// As [`Broker::open_exact`]; a broker that is down is tried again until the deadline.
    pub(crate) fn open_patiently(
        directory: &RunDirectory,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        loop {
            match Self::open_exact(directory, deadline) {
                Err(ConnectError::BrokerDown { .. }) if Instant::now() < deadline => {
                    pause(RETRY.min(deadline.saturating_duration_since(Instant::now())));
                }
                result => return result,
            }
        }
    }

    fn open_for(
        directory: &RunDirectory,
        reading: Reading,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        let path = directory.broker();
        let socket = sys::socket::connect_unix(&path, SocketKind::Stream, Some(deadline))
            .map_err(|error| ConnectError::BrokerDown { path, error })?;
        Ok(Self::over(socket, reading))
    }

    fn over(socket: OwnedFd, reading: Reading) -> Self {
        let limits = Limits { message_bytes: 1 << 20, ..Limits::default() };
        let wire = Wire::new(socket, reading, limits);
        Self { wire, closed: false, upgraded: None, waits: Waits::default() }
    }

    /// Asks for `service` and waits for it until `deadline`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Broker`] with the broker's answer; the connection is still good then.
    pub fn connect(
        &mut self,
        service: &ServiceName,
        network: Option<&Secret>,
        deadline: Instant,
    ) -> Result<Stream, ConnectError> {
        let request = Request { service, network, waits: false };
        if self.upgraded.as_ref() == Some(service) {
            return self.upgrade_another(&request, deadline);
        }
        let parameters = request.parameters(vec![Handoff::Door, Handoff::Descriptor], deadline);
        let message = self.call_with(CONNECT, &parameters, CallFlags::default(), deadline)?;
        match read_answer(message) {
            Ok((answer, Some(descriptor))) => take_over(service, &answer, descriptor, deadline),
            Ok((_, None)) => Err(ConnectError::NoDescriptor),
            Err(ConnectError::Broker(error)) if error.would_upgrade() => {
                self.upgrade_another(&request, deadline)
            }
            Err(error) => Err(error),
        }
    }

    /// This connection is kept: another one, of this process too, becomes the stream.
    fn upgrade_another(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Stream, ConnectError> {
        let asked = Self::ask_through(self.wire.as_fd(), request, deadline)?;
        let stream = asked.stream_of_answer(request, deadline);
        self.upgraded = stream.is_ok().then(|| request.service.clone());
        stream
    }

    /// Asks for a service; this connection itself may become the stream.
    pub(crate) fn become_stream(
        mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Stream, ConnectError> {
        self.send(request.upgrading(deadline), deadline)?;
        self.stream_of_answer(request, deadline)
    }

    /// Waits for the answer to a request by which this connection may become the stream.
    pub(crate) fn stream_of_answer(
        mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Stream, ConnectError> {
        match read_answer(self.receive()?)? {
            (answer, None) if answer.handoff == Handoff::Upgrade => {
                if answer.kind != Kind::Stream {
                    return Err(ConnectError::NotAStream);
                }
                self.bound_receiving(None)
                    .and_then(|()| self.bound_sending(None))
                    .map_err(ConnectError::System)?;
                Ok(Stream::new(self.wire.into_socket(), None).with_target(&answer.target))
            }
            (answer, Some(descriptor)) => take_over(request.service, &answer, descriptor, deadline),
            (_, None) => Err(ConnectError::NoDescriptor),
        }
    }

    /// Lets this connection ask for these names alone, for good. An entry may be `NAME TARGET`, as
    /// in `IPC_NETWORK`: the name then leads there. Whoever inherits the connection is bound by it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Broker`] if an entry cannot be read, or is not allowed already.
    pub fn restrict(&mut self, entries: &[String], deadline: Instant) -> Result<(), ConnectError> {
        let services = Services { services: entries.to_vec() };
        let message = self.call_with(RESTRICT, &services, CallFlags::default(), deadline)?;
        let reply = varlink::read_reply(&message.bytes).map_err(ConnectError::Malformed)?;
        if reply.error.is_some() { Err(read_error(&message.bytes)) } else { Ok(()) }
    }

    /// Gives the connection's socket away, for example to a child as its `IPC_BROKER_FD`.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.wire.into_socket()
    }

    /// Makes any call and waits for its reply, whose bytes are answered.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if there is no reply; errors of the method are in the reply.
    pub fn call<P: serde::Serialize>(
        &mut self,
        method: &str,
        parameters: &P,
        deadline: Instant,
    ) -> Result<varlink::Bytes, ConnectError> {
        Ok(self.call_with(method, parameters, CallFlags::default(), deadline)?.bytes)
    }

    /// Makes a call that is answered more than once, and waits for its first reply, whose bytes
    /// are answered; [`Broker::next_reply`] waits for the further ones. It is good for no other
    /// call after that.
    ///
    /// # Errors
    ///
    /// As [`Broker::call`].
    pub fn subscribe<P: serde::Serialize>(
        &mut self,
        method: &str,
        parameters: &P,
        deadline: Instant,
    ) -> Result<varlink::Bytes, ConnectError> {
        let flags = CallFlags { more: true, ..CallFlags::default() };
        self.send(varlink::call(method, parameters, flags), deadline)?;
        Ok(self.receive()?.bytes)
    }

    /// Waits for the next reply to what was subscribed to: until `deadline`, or without limit.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BrokerGone`] when the broker ends; [`ConnectError::TimedOut`], after which
    /// it may be called again.
    pub fn next_reply(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<varlink::Bytes, ConnectError> {
        let left = deadline.map(|when| when.saturating_duration_since(Instant::now()));
        // The kernel takes zero for no limit.
        let left = left.map(|left| left.max(Duration::from_millis(1)));
        self.bound_receiving(left).map_err(ConnectError::System)?;
        Ok(self.receive()?.bytes)
    }

    /// As [`Broker::call`], with flags, and with what came attached to the reply.
    pub(crate) fn call_with<P: serde::Serialize>(
        &mut self,
        method: &str,
        parameters: &P,
        flags: CallFlags,
        deadline: Instant,
    ) -> Result<Message, ConnectError> {
        self.send(varlink::call(method, parameters, flags), deadline)?;
        let message = self.receive()?;
        self.closed = false;
        Ok(message)
    }

    fn send(&mut self, call: varlink::Bytes, deadline: Instant) -> Result<(), ConnectError> {
        let left = self.queue(call, deadline)?;
        self.send_queued(left)
    }

    /// The time that is left for the call, and no longer than which an answer is waited for.
    fn queue(&mut self, call: varlink::Bytes, deadline: Instant) -> Result<Duration, ConnectError> {
        if self.closed {
            return Err(ConnectError::BrokerGone);
        }
        self.closed = true;
        self.wire.queue(call, None).map_err(ConnectError::Wire)?;
        let left = whole_steps(deadline.saturating_duration_since(Instant::now()) + GRACE);
        self.bound_receiving(Some(left)).map_err(ConnectError::System)?;
        Ok(left)
    }

    fn send_queued(&mut self, left: Duration) -> Result<(), ConnectError> {
        match self.send_all(left).map_err(ConnectError::of_wire) {
            // A broker that closes before it has read has said why.
            Ok(true) | Err(ConnectError::BrokerGone) => Ok(()),
            Ok(false) => Err(ConnectError::TimedOut),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self) -> Result<Message, ConnectError> {
        loop {
            if let Some(message) = self.wire.take().map_err(ConnectError::Wire)? {
                return Ok(message);
            }
            match self.wire.receive(Wait::Block).map_err(ConnectError::of_wire)? {
                Progress::Some => {}
                Progress::Blocked => return Err(ConnectError::TimedOut),
                Progress::Ended => return Err(ConnectError::BrokerGone),
            }
        }
    }

    /// Nearly always there is room for a call, and nothing to bound.
    fn send_all(&mut self, left: Duration) -> Result<bool, WireError> {
        if self.wire.flush(Wait::Never)? {
            return Ok(true);
        }
        self.bound_sending(Some(left)).map_err(WireError::System)?;
        self.wire.flush(Wait::Block)
    }

    fn bound_receiving(&mut self, span: Option<Duration>) -> io::Result<()> {
        if self.waits.receiving != span {
            sys::socket::set_receive_timeout(self.wire.as_fd(), span)?;
            self.waits.receiving = span;
        }
        Ok(())
    }

    fn bound_sending(&mut self, span: Option<Duration>) -> io::Result<()> {
        if self.waits.sending != span {
            sys::socket::set_send_timeout(self.wire.as_fd(), span)?;
            self.waits.sending = span;
        }
        Ok(())
    }
}

/// A span in whole steps, so that calls which have about the same time need no new time-out.
fn whole_steps(span: Duration) -> Duration {
    let steps = span.as_millis().div_ceil(STEP.as_millis());
    STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// How exactly a blocking call ends.
const STEP: Duration = Duration::from_millis(50);

/// How long to wait before a broker that is down is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Waits without a descriptor to wait for: nothing tells when a socket begins to listen.
fn pause(span: Duration) {
    let timeout = PollTimeout::try_from(span).unwrap_or(PollTimeout::ZERO);
    // Interrupted is early, and early is harmless.
    let _interrupted = poll(&mut [], timeout).is_err();
}

/// How long after the deadline the broker's answer is still awaited: blocking calls end a little
/// after it, so that the broker's own words about it arrive.
const GRACE: Duration = Duration::from_millis(250);

fn read_error(message: &[u8]) -> ConnectError {
    match serde_json::from_slice::<BrokerError>(message) {
        Ok(error) => ConnectError::Broker(Box::new(error)),
        Err(_) => ConnectError::UnknownError,
    }
}

fn read_answer(message: Message) -> Result<(Connected, Option<OwnedFd>), ConnectError> {
    let reply = varlink::read_reply(&message.bytes).map_err(ConnectError::Malformed)?;
    if reply.error.is_some() {
        return Err(read_error(&message.bytes));
    }
    let answer = varlink::read_parameters(reply.parameters).map_err(ConnectError::Malformed)?;
    Ok((answer, message.descriptors.into_iter().next()))
}

fn is_path(descriptor: &OwnedFd) -> Result<bool, ConnectError> {
    sys::door::is_path(descriptor.as_fd()).map_err(ConnectError::System)
}

fn take_over(
    service: &ServiceName,
    answer: &Connected,
    descriptor: OwnedFd,
    deadline: Instant,
) -> Result<Stream, ConnectError> {
    if answer.kind != Kind::Stream {
        return Err(ConnectError::NotAStream);
    }
    let socket = match answer.handoff {
        Handoff::Descriptor if !is_path(&descriptor)? => descriptor,
        // Nothing but a door can be connected through.
        Handoff::Door => sys::door::connect(descriptor.as_fd(), SocketKind::Stream, Some(deadline))
            .map_err(|error| ConnectError::Service { service: service.clone(), error })?,
        _ => return Err(ConnectError::NoDescriptor),
    };
    Ok(Stream::new(socket, None).with_target(&answer.target))
}
