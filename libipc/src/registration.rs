//! A service that has registered with the broker, and its clients as they come.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use sys::ancillary::Wait;

use crate::broker::Broker;
use crate::error::ConnectError;
use crate::interface::broker::BrokerError;
use crate::interface::registry::{Ended, REGISTER, Register, Registered};
use crate::listener::ListenError;
use crate::name::ServiceName;
use crate::poller::{Interest, Poller, Token};
use crate::rundir::RunDirectory;
use crate::stream::Stream;
use crate::varlink::{self, CallFlags};
use crate::wire::{Limits, Message, Progress, Reading, Wire};

/// How long the broker may take to answer a first registration.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How soon a broker that went away is looked for again, at first and at last.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// Clients that are remembered before those that are gone are looked for.
const SWEEP_FIRST: usize = 64;

/// A name that is served by registration. A broker that restarts is registered with again; the
/// descriptor to wait for stays the same.
#[derive(Debug)]
pub(crate) struct Registration {
    /// Readable when there is something to do: a message, or another attempt.
    poller: Poller,
    timer: TimerFd,
    directory: RunDirectory,
    name: ServiceName,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Link,
    pause: Duration,
    clients: Clients,
}

#[derive(Debug)]
enum Link {
    Up(Wire),
    /// The broker is gone: tried again when the timer says so.
    Down,
    /// Another process has the name for good.
    Replaced,
}

/// The connections that were accepted, by the broker's numbers, as long as somebody has them.
#[derive(Debug, Default)]
struct Clients {
    sockets: HashMap<u64, Weak<UnixStream>>,
    sweep_at: usize,
}

/// What a message of the broker says.
enum Told {
    /// Nothing that the service would see.
    Nothing,
    Client(Box<Stream>),
    /// The broker ends the registration.
    Ended(ListenError),
    /// It is none that a broker sends.
    Nonsense,
}

impl Registration {
    /// Registers `name`, and waits for the broker's word on it.
    ///
    /// # Errors
    ///
    /// [`ListenError::Refused`], [`ListenError::NoAnswer`].
    pub(crate) fn new(directory: &RunDirectory, name: &ServiceName) -> Result<Self, ListenError> {
        let deadline = Instant::now() + TIMEOUT;
        let no_answer = |error| ListenError::NoAnswer { service: name.clone(), error };
        let mut broker = Broker::open_patiently(directory, deadline).map_err(no_answer)?;
        let flags = CallFlags { more: true, ..CallFlags::default() };
        let register = Register { service: name.to_string() };
        let message = broker.call_with(REGISTER, &register, flags, deadline).map_err(no_answer)?;
        if let Told::Ended(error) = read(message, name, &mut Clients::default()) {
            return Err(error);
        }
        let socket = broker.into_socket();
        let system = |error| no_answer(ConnectError::System(error));
        sys::socket::set_blocking(socket.as_fd(), false).map_err(system)?;
        let wire = Wire::new(socket, Reading::Eager, Limits::default());
        Self::with(wire, directory, name).map_err(system)
    }

    fn with(wire: Wire, directory: &RunDirectory, name: &ServiceName) -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let poller = Poller::new()?;
        poller.add(&timer, Token(0), Interest::READ)?;
        poller.add(&wire, Token(1), Interest::READ)?;
        let state = State { link: Link::Up(wire), pause: RETRY_FIRST, clients: Clients::default() };
        Ok(Self {
            poller,
            timer,
            directory: directory.clone(),
            name: name.clone(),
            state: Mutex::new(state),
        })
    }

    /// The next client, if one is there.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`], for good: another process has the name.
    /// [`io::ErrorKind::PermissionDenied`]: a broker that came back refuses; it is asked again.
    pub(crate) fn try_accept(&self) -> io::Result<Option<Stream>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Link::Down = state.link
                && !self.try_again(&mut state)?
            {
                return Ok(None);
            }
            let wire = match &mut state.link {
                Link::Up(wire) => wire,
                Link::Down => return Ok(None),
                Link::Replaced => {
                    return Err(ListenError::Replaced { service: self.name.clone() }.into());
                }
            };
            match wire.take() {
                Ok(Some(message)) => match read(message, &self.name, &mut state.clients) {
                    Told::Nothing => state.pause = RETRY_FIRST,
                    Told::Client(stream) => return Ok(Some(*stream)),
                    Told::Ended(error) => {
                        let replaced = matches!(error, ListenError::Replaced { .. });
                        self.hang_up(&mut state, replaced)?;
                        return Err(error.into());
                    }
                    Told::Nonsense => self.hang_up(&mut state, false)?,
                },
                Ok(None) => match wire.receive(Wait::Never) {
                    Ok(Progress::Some) => {}
                    Ok(Progress::Blocked) => return Ok(None),
                    Ok(Progress::Ended) | Err(_) => self.hang_up(&mut state, false)?,
                },
                Err(_) => self.hang_up(&mut state, false)?,
            }
        }
    }

    /// The connection to the broker is over.
    fn hang_up(&self, state: &mut State, replaced: bool) -> io::Result<()> {
        if replaced {
            state.link = Link::Replaced;
            // Nobody reads the timer from now on: whoever waits is woken, and so is who comes later.
            let now = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(1)));
            return Ok(self.timer.set(now, TimerSetTimeFlags::empty())?);
        }
        state.link = Link::Down;
        self.rest(state)
    }

    fn rest(&self, state: &mut State) -> io::Result<()> {
        let when = Expiration::OneShot(TimeSpec::from_duration(state.pause));
        state.pause = (state.pause * 2).min(RETRY_LAST);
        Ok(self.timer.set(when, TimerSetTimeFlags::empty())?)
    }

    /// Connects and registers again, if it is time to. True if there is a connection.
    fn try_again(&self, state: &mut State) -> io::Result<bool> {
        match self.timer.wait() {
            Ok(()) => {}
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let Ok(socket) = sys::socket::connect_unix_now(&self.directory.broker()) else {
            self.rest(state)?;
            return Ok(false);
        };
        let mut wire = Wire::new(socket, Reading::Eager, Limits::default());
        let register = Register { service: self.name.to_string() };
        let flags = CallFlags { more: true, ..CallFlags::default() };
        let asked = wire
            .queue(varlink::call(REGISTER, &register, flags), None)
            .and_then(|()| wire.flush(Wait::Never));
        if !matches!(asked, Ok(true)) {
            self.rest(state)?;
            return Ok(false);
        }
        self.poller.add(&wire, Token(1), Interest::READ)?;
        state.link = Link::Up(wire);
        Ok(true)
    }
}

impl AsFd for Registration {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Clients {
    fn remember(&mut self, id: u64, socket: Weak<UnixStream>) {
        if self.sockets.len() >= self.sweep_at {
            self.sockets.retain(|_, socket| socket.strong_count() > 0);
            self.sweep_at = SWEEP_FIRST.max(2 * self.sockets.len());
        }
        self.sockets.insert(id, socket);
    }

    /// The broker wants a connection to end.
    fn end(&mut self, id: u64) {
        if let Some(socket) = self.sockets.remove(&id).and_then(|socket| socket.upgrade()) {
            // One that has ended by itself is no longer connected.
            let _ended = socket.shutdown(Shutdown::Both).is_err();
        }
    }
}

fn read(message: Message, name: &ServiceName, clients: &mut Clients) -> Told {
    let Ok(reply) = varlink::read_reply(&message.bytes) else { return Told::Nonsense };
    if reply.error.is_some() {
        return Told::Ended(read_end(&message.bytes, name));
    }
    let Ok(told) = varlink::read_parameters::<Registered>(reply.parameters) else {
        return Told::Nonsense;
    };
    if let Some(id) = told.closed {
        clients.end(id);
    }
    match (told.id, told.client, message.descriptors.into_iter().next()) {
        (Some(id), Some(client), Some(socket)) => {
            let stream = Stream::new(socket, Some(client.into()));
            clients.remember(id, stream.watched());
            Told::Client(Box::new(stream))
        }
        (None, None, None) => Told::Nothing,
        _ => Told::Nonsense,
    }
}

fn read_end(message: &[u8], name: &ServiceName) -> ListenError {
    let service = name.clone();
    if let Ok(Ended::Replaced { .. }) = serde_json::from_slice(message) {
        return ListenError::Replaced { service };
    }
    match serde_json::from_slice::<BrokerError>(message) {
        Ok(error) => ListenError::Refused { service, error: Box::new(error) },
        Err(_) => ListenError::NoAnswer { service, error: ConnectError::UnknownError },
    }
}
