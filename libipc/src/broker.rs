//! Asking for a service by name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use sys::ancillary::Wait;
use sys::socket::SocketKind;

use crate::environment::Environment;
use crate::error::ConnectError;
use crate::interface::broker::{BrokerError, CONNECT, Connect, Connected, Handoff, Kind};
use crate::name::ServiceName;
use crate::network;
use crate::rundir::{Instance, RunDirectory};
use crate::secret::Secret;
use crate::stream::Stream;
use crate::varlink::{self, CallFlags};
use crate::wire::{Limits, Progress, Reading, Wire};

/// How long [`connect`] tries.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for a connection to `service`, and waits for it, at most [`TIMEOUT`].
///
/// `IPC_NETWORK`, `IPC_RUNDIR` and the broker decide where the name leads. The stream is a
/// connected, blocking, close-on-exec socket of the caller's; nothing of ipcd has to live on.
///
/// # Errors
///
/// [`ConnectError`]: whose fault it is, whether trying again can help, and the cure.
pub fn connect(service: &str) -> Result<Stream, ConnectError> {
    connect_within(service, TIMEOUT)
}

/// As [`connect`], with a limit for the whole of it: the broker, the way, and the far host.
///
/// # Errors
///
/// As [`connect`].
pub fn connect_within(service: &str, timeout: Duration) -> Result<Stream, ConnectError> {
    let service = ServiceName::new(service).map_err(ConnectError::Name)?;
    Connector::of_process(timeout)?.connect(&service)
}

/// Where and how to ask: what [`connect`] reads from the environment, as a value.
#[derive(Debug)]
pub struct Connector {
    directories: Vec<RunDirectory>,
    named: bool,
    network: Option<Secret>,
    deadline: Instant,
}

impl Connector {
    /// As this process's environment says.
    ///
    /// # Errors
    ///
    /// [`ConnectError::NetworkFile`].
    pub fn of_process(timeout: Duration) -> Result<Self, ConnectError> {
        Self::new(&Environment::of_process(), timeout)
    }

    /// As `environment` says; the time counts from now.
    ///
    /// # Errors
    ///
    /// [`ConnectError::NetworkFile`].
    pub fn new(environment: &Environment, timeout: Duration) -> Result<Self, ConnectError> {
        Ok(Self {
            directories: environment.run_directories(),
            named: environment.rundir.is_some(),
            network: environment.network_text().map_err(ConnectError::NetworkFile)?,
            deadline: Instant::now() + timeout,
        })
    }

    /// Asks for `service`: one's own broker first, then the system's for a name that the first
    /// does not know.
    ///
    /// # Errors
    ///
    /// As [`connect`].
    pub fn connect(&self, service: &ServiceName) -> Result<Stream, ConnectError> {
        let text = self.network.as_ref().map_or("", Secret::expose);
        let network = network::entries_for(service, text).map_err(ConnectError::Network)?;
        let mut unknown = None;
        for directory in self.usable_directories()? {
            match self.ask_one(&directory, service, network.as_ref()) {
                Err(error) if error.is_unknown() => unknown = Some(error),
                result => return result,
            }
        }
        Err(unknown.unwrap_or_else(|| ConnectError::no_broker(&self.directories)))
    }

    /// A named directory has to be sound; a default one that is not is passed over.
    fn usable_directories(&self) -> Result<Vec<RunDirectory>, ConnectError> {
        let uid = nix::unistd::geteuid().as_raw();
        let mut usable = Vec::new();
        for directory in &self.directories {
            match directory.check(uid) {
                Ok(()) => usable.push(directory.clone()),
                Err(error) if self.named => return Err(ConnectError::RunDirectory(error)),
                Err(_) => {}
            }
        }
        Ok(usable)
    }

    fn ask_one(
        &self,
        directory: &RunDirectory,
        service: &ServiceName,
        network: Option<&Secret>,
    ) -> Result<Stream, ConnectError> {
        if directory.has_broker() {
            return self.open(directory)?.connect(service, network, self.deadline);
        }
        if directory.instance() == Instance::System || network.is_some() {
            return Err(ConnectError::NoBroker { path: directory.broker() });
        }
        connect_directly(directory, service, self.deadline)
    }

    /// Connects to the broker; one that is down is tried again until the deadline.
    fn open(&self, directory: &RunDirectory) -> Result<Broker, ConnectError> {
        loop {
            match Broker::open(directory, self.deadline) {
                Err(ConnectError::BrokerDown { .. }) if Instant::now() < self.deadline => {
                    pause(RETRY.min(self.deadline.saturating_duration_since(Instant::now())));
                }
                result => return result,
            }
        }
    }
}

/// How long to wait before a broker that is down is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Waits without a descriptor to wait for: nothing tells when a socket begins to listen.
fn pause(span: Duration) {
    let timeout = PollTimeout::try_from(span).unwrap_or(PollTimeout::ZERO);
    // Interrupted is early, and early is harmless.
    let _interrupted = poll(&mut [], timeout).is_err();
}

/// A private instance without a broker: the service itself is asked.
fn connect_directly(
    directory: &RunDirectory,
    service: &ServiceName,
    deadline: Instant,
) -> Result<Stream, ConnectError> {
    let places = [Some(directory.service(service)), directory.old_service(service)];
    for path in places.into_iter().flatten() {
        match sys::socket::connect_unix(&path, SocketKind::Stream, Some(deadline)) {
            Ok(socket) => return Ok(Stream::new(socket, None)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(ConnectError::Service { service: service.clone(), error });
            }
        }
    }
    Err(ConnectError::NoBroker { path: directory.broker() })
}

/// A kept connection to one broker, for many calls.
///
/// Calls are answered in order. It belongs to the process that made it: a child after `fork` is
/// refused. After any error but [`ConnectError::Broker`] it is of no further use.
#[derive(Debug)]
pub struct Broker {
    wire: Wire,
    closed: bool,
}

impl Broker {
    /// Connects to the broker of `directory`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BrokerDown`] if nobody answers there.
    pub fn open(directory: &RunDirectory, deadline: Instant) -> Result<Self, ConnectError> {
        let path = directory.broker();
        let socket = sys::socket::connect_unix(&path, SocketKind::Stream, Some(deadline))
            .map_err(|error| ConnectError::BrokerDown { path, error })?;
        let limits = Limits { message_bytes: 1 << 20, ..Limits::default() };
        Ok(Self { wire: Wire::new(socket, Reading::Eager, limits), closed: false })
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
        let left = deadline.saturating_duration_since(Instant::now());
        let request = Connect {
            service: service.to_string(),
            network: network.cloned(),
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
            wait: None,
            take: vec![Handoff::Door, Handoff::Descriptor],
        };
        let message = self.call_raw(CONNECT, &request, deadline)?;
        let reply = varlink::read_reply(&message.bytes).map_err(ConnectError::Malformed)?;
        if reply.error.is_some() {
            return Err(read_error(&message.bytes));
        }
        let answer: Connected =
            varlink::read_parameters(reply.parameters).map_err(ConnectError::Malformed)?;
        let descriptor =
            message.descriptors.into_iter().next().ok_or(ConnectError::NoDescriptor)?;
        take_over(service, &answer, descriptor, deadline)
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
        Ok(self.call_raw(method, parameters, deadline)?.bytes)
    }

    fn call_raw<P: serde::Serialize>(
        &mut self,
        method: &str,
        parameters: &P,
        deadline: Instant,
    ) -> Result<crate::wire::Message, ConnectError> {
        if self.closed {
            return Err(ConnectError::BrokerGone);
        }
        self.closed = true;
        let bytes = varlink::call(method, parameters, CallFlags::default());
        self.wire.queue(bytes, None).map_err(ConnectError::Wire)?;
        self.bound_waits(deadline)?;
        match self.wire.flush(Wait::Block).map_err(ConnectError::of_wire) {
            // A broker that closes before it has read has said why.
            Ok(true) | Err(ConnectError::BrokerGone) => {}
            Ok(false) => return Err(ConnectError::TimedOut),
            Err(error) => return Err(error),
        }
        loop {
            if let Some(message) = self.wire.take().map_err(ConnectError::Wire)? {
                self.closed = false;
                return Ok(message);
            }
            match self.wire.receive(Wait::Block).map_err(ConnectError::of_wire)? {
                Progress::Some => {}
                Progress::Blocked => return Err(ConnectError::TimedOut),
                Progress::Ended => return Err(ConnectError::BrokerGone),
            }
        }
    }

    /// Blocking calls end a little after the deadline, so that the broker's own words about it
    /// arrive.
    fn bound_waits(&self, deadline: Instant) -> Result<(), ConnectError> {
        let left = deadline.saturating_duration_since(Instant::now()) + GRACE;
        let socket = self.wire.as_fd();
        sys::socket::set_receive_timeout(socket, Some(left))
            .and_then(|()| sys::socket::set_send_timeout(socket, Some(left)))
            .map_err(ConnectError::System)
    }
}

/// How long after the deadline the broker's answer is still awaited.
const GRACE: Duration = Duration::from_millis(250);

fn read_error(message: &[u8]) -> ConnectError {
    match serde_json::from_slice::<BrokerError>(message) {
        Ok(error) => ConnectError::Broker(Box::new(error)),
        Err(_) => ConnectError::UnknownError,
    }
}

fn take_over(
    service: &ServiceName,
    answer: &Connected,
    descriptor: OwnedFd,
    deadline: Instant,
) -> Result<Stream, ConnectError> {
    let is_door = sys::door::is_path(descriptor.as_fd()).map_err(ConnectError::System)?;
    if answer.kind != Kind::Stream {
        return Err(ConnectError::NotAStream);
    }
    match (answer.handoff, is_door) {
        (Handoff::Descriptor, false) => Ok(Stream::new(descriptor, None)),
        (Handoff::Door, true) => {
            let socket = sys::door::connect(descriptor.as_fd(), SocketKind::Stream, Some(deadline))
                .map_err(|error| ConnectError::Service { service: service.clone(), error })?;
            Ok(Stream::new(socket, None))
        }
        _ => Err(ConnectError::NoDescriptor),
    }
}
