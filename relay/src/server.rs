//! A transport daemon's end of `org.ipcd.Transport`: its socket, its callers, their calls.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::Path;

use daemon::account::BROKER;
use libipc::identity::Identity;
use libipc::interface::ServiceError;
use libipc::interface::introspection::{self, Description, GetDescription, Info};
use libipc::interface::transport::{
    ATTACH, Agreed, CLOSE, DIAL, Dial, LISTEN, REFUSE, Refuse, SERVE, Serve, TEXT, TransportError,
    WRAP, Wrap,
};
use libipc::listener::{ListenError, Listener};
use libipc::rundir::{Instance, RunDirectory};
use libipc::varlink::{self, Bytes, Call};
use libipc::wire::{Limits, Message, Progress, Reading, Wire};
use serde::Deserialize;
use sys::ancillary::Wait;

/// Bytes of answers that a caller may leave uncollected. A busy broker finds all arrivals of a
/// full table, at no more than 512 bytes each.
pub const UNCOLLECTED_BYTES_MOST: usize = 512 * 1024;

/// Bytes of one call. The broker's may bring what its rules say of 10,000 networks.
pub const CALL_BYTES_MOST: usize = 4 * 1024 * 1024;

/// The socket on which the broker calls a transport daemon.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    owner: u32,
}

impl Server {
    /// Takes the place `name` among the transport daemons of `directory`.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; in particular if a living daemon has the place.
    pub fn bind(directory: &RunDirectory, name: &str) -> Result<Self, ListenError> {
        let place = directory.transports();
        if directory.instance() != Instance::System {
            for path in [directory.path(), &place] {
                match std::fs::DirBuilder::new().mode(0o700).create(path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(ListenError::System { path: path.to_owned(), error });
                    }
                    _ => {}
                }
            }
        }
        let uid = nix::unistd::geteuid().as_raw();
        directory.check(uid).map_err(ListenError::RunDirectory)?;
        let path = place.join(name);
        let listener = Listener::bind_at(&path, 0o600, &directory.lock())?;
        if directory.instance() == Instance::System {
            give_to_broker(&path)
                .map_err(|error| ListenError::System { path: path.clone(), error })?;
        }
        let owner = std::fs::symlink_metadata(&path)
            .map_err(|error| ListenError::System { path, error })?
            .uid();
        Ok(Self { listener, owner })
    }

    /// Serves on the socket that a service manager bound at this daemon's place.
    ///
    /// # Errors
    ///
    /// [`ListenError::NotListening`] if it is not a listening Unix socket with a path, else the
    /// kernel's.
    pub fn from_socket(socket: OwnedFd) -> Result<Self, ListenError> {
        let Ok(Some(path)) = sys::socket::local_path(socket.as_fd()) else {
            return Err(ListenError::NotListening);
        };
        let owner = std::fs::symlink_metadata(&path)
            .map_err(|error| ListenError::System { path, error })?
            .uid();
        Ok(Self { listener: Listener::from_socket(socket)?, owner })
    }

    /// Accepts a caller, if one is there. Only root and the owner of the socket may call; others
    /// are closed at once.
    ///
    /// # Errors
    ///
    /// The kernel's; out of descriptors: wait a moment.
    pub fn accept(&self) -> io::Result<Option<Caller>> {
        while let Some(stream) = self.listener.try_accept()? {
            let uid = match stream.peer() {
                Some(Identity::Local(peer)) => peer.uid,
                _ => None,
            };
            if may_call(uid, self.owner) {
                return Ok(Some(Caller::new(stream.into())));
            }
        }
        Ok(None)
    }
}

/// What root has made for the system's broker is the broker's: it has given up root when it calls.
fn give_to_broker(path: &Path) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    match nix::unistd::User::from_name(BROKER)? {
        Some(account) => lchown(path, Some(account.uid.as_raw()), None),
        None => Ok(()),
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// A caller's connection. It carries one call at a time; closing it cancels the call.
#[derive(Debug)]
pub struct Caller(Wire);

/// A call that a daemon has to answer itself.
#[derive(Debug)]
pub enum Request {
    /// Connect outward.
    Dial(Box<Dial>),
    /// Become the client end of an encapsulation over this stream.
    Wrap(Box<Wrap>, OwnedFd),
    /// Become the server end of an encapsulation over this stream.
    Serve(Box<Serve>, OwnedFd),
    /// Tell of remote peers.
    Listen,
    /// Go on with what was agreed; with a descriptor to relay to, or without.
    Attach(Agreed, Option<OwnedFd>),
    /// Tell a remote peer no.
    Refuse(Refuse),
    /// Give up what was agreed; whoever calls may want no answer.
    Close {
        /// What was agreed.
        agreed: Agreed,
        /// Whether no answer is wanted.
        oneway: bool,
    },
}

impl Request {
    /// What a daemon answers that has no such part in a stack.
    #[must_use]
    pub fn unserved(&self) -> Bytes {
        let method = match self {
            Self::Dial(_) => DIAL,
            Self::Wrap(..) => WRAP,
            Self::Serve(..) => SERVE,
            Self::Listen => LISTEN,
            Self::Attach(..) => ATTACH,
            Self::Refuse(_) => REFUSE,
            Self::Close { .. } => CLOSE,
        };
        varlink::error(&ServiceError::MethodNotImplemented { method: method.to_owned() })
    }
}

/// What reading brought.
#[derive(Debug)]
pub enum Heard {
    /// A call.
    Request(Request),
    /// Nothing whole yet.
    Nothing,
    /// The caller is gone, or broke the rules.
    Over,
}

impl Caller {
    fn new(socket: OwnedFd) -> Self {
        let limits = Limits {
            message_bytes: CALL_BYTES_MOST,
            queue_bytes: UNCOLLECTED_BYTES_MOST,
            ..Limits::default()
        };
        Self(Wire::new(socket, Reading::Eager, limits))
    }

    /// Reads one call. Questions about the interface are answered here.
    pub fn read(&mut self) -> Heard {
        loop {
            match self.0.take() {
                Ok(Some(message)) => match self.understand(message) {
                    Ok(Some(request)) => return Heard::Request(request),
                    Ok(None) => {}
                    Err(Over) => return Heard::Over,
                },
                Ok(None) => match self.0.receive(Wait::Never) {
                    Ok(Progress::Some) => {}
                    Ok(Progress::Blocked) => return Heard::Nothing,
                    Ok(Progress::Ended) | Err(_) => return Heard::Over,
                },
                Err(_) => return Heard::Over,
            }
        }
    }

    /// Answers a call, with or without a descriptor. What the caller does not collect at once
    /// waits: see [`Caller::has_outgoing`].
    ///
    /// # Errors
    ///
    /// [`Over`]: the caller is gone, or leaves more than [`UNCOLLECTED_BYTES_MOST`] uncollected.
    /// Drop it.
    pub fn answer(&mut self, message: Bytes, descriptor: Option<OwnedFd>) -> Result<(), Over> {
        self.0.queue(message, descriptor).map_err(|_| Over)?;
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    ///
    /// [`Over`]: the caller is gone. Drop it.
    pub fn flush(&mut self) -> Result<(), Over> {
        self.0.flush(Wait::Never).map(drop).map_err(|_| Over)
    }

    /// Whether something waits to be sent: watch for room to write, then [`Caller::flush`].
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        self.0.has_outgoing()
    }

    fn understand(&mut self, message: Message) -> Result<Option<Request>, Over> {
        let descriptor = message.descriptors.into_iter().next();
        let call = varlink::read_call(&message.bytes).map_err(|_| Over)?;
        match &*call.method {
            DIAL => self.typed(&call, |dial| Request::Dial(Box::new(dial))),
            WRAP => {
                self.over(&call, descriptor, |wrap, stream| Request::Wrap(Box::new(wrap), stream))
            }
            SERVE => self
                .over(&call, descriptor, |serve, stream| Request::Serve(Box::new(serve), stream)),
            LISTEN => Ok(Some(Request::Listen)),
            ATTACH => self.typed(&call, |agreed| Request::Attach(agreed, descriptor)),
            REFUSE => self.typed(&call, Request::Refuse),
            CLOSE => self.typed(&call, |agreed| Request::Close { agreed, oneway: call.oneway }),
            introspection::GET_INFO => {
                self.answer(varlink::reply(&info(), false), None).map(|()| None)
            }
            introspection::GET_DESCRIPTION => {
                let wanted = varlink::read_parameters::<GetDescription>(call.parameters);
                let message = describe(wanted.map(|wanted| wanted.interface).unwrap_or_default());
                self.answer(message, None).map(|()| None)
            }
            method => {
                let error = ServiceError::MethodNotFound { method: method.to_owned() };
                self.answer(varlink::error(&error), None).map(|()| None)
            }
        }
    }

    /// A call about a stream, which has to come with it.
    fn over<'m, P: Deserialize<'m>>(
        &mut self,
        call: &Call<'m>,
        stream: Option<OwnedFd>,
        request: impl FnOnce(P, OwnedFd) -> Request,
    ) -> Result<Option<Request>, Over> {
        let Some(stream) = stream else {
            let error = TransportError::InvalidRequest {
                field: "descriptor".to_owned(),
                reason: "a stream has to come with this call".to_owned(),
            };
            return self.answer(varlink::error(&error), None).map(|()| None);
        };
        self.typed(call, |parameters| request(parameters, stream))
    }

    fn typed<'m, P: Deserialize<'m>>(
        &mut self,
        call: &Call<'m>,
        request: impl FnOnce(P) -> Request,
    ) -> Result<Option<Request>, Over> {
        match varlink::read_parameters(call.parameters) {
            Ok(parameters) => Ok(Some(request(parameters))),
            Err(error) => {
                let error = TransportError::InvalidRequest {
                    field: "parameters".to_owned(),
                    reason: error.to_string(),
                };
                self.answer(varlink::error(&error), None).map(|()| None)
            }
        }
    }
}

impl AsFd for Caller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A user that the kernel does not know for sure may not.
fn may_call(uid: Option<u32>, owner: u32) -> bool {
    uid.is_some_and(|uid| uid == 0 || uid == owner)
}

/// The connection is of no further use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Over;

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller is gone")
    }
}

impl std::error::Error for Over {}

const INTERFACES: [(&str, &str); 2] =
    [("org.ipcd.Transport", TEXT), (introspection::INTERFACE, introspection::TEXT)];

fn info() -> Info {
    Info {
        vendor: "ipcd".to_owned(),
        product: "ipcd carrier".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: "https://varlink.org".to_owned(),
        interfaces: INTERFACES.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

fn describe(interface: String) -> Bytes {
    match INTERFACES.iter().find(|(name, _)| *name == interface) {
        Some((_, text)) => varlink::reply(&Description { description: (*text).to_owned() }, false),
        None => varlink::error(&ServiceError::InterfaceNotFound { interface }),
    }
}

#[cfg(test)]
mod tests;
