//! A transport daemon's end of `org.ipcd.Transport`: its socket, its callers, their calls.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use libipc::identity::Identity;
use libipc::interface::ServiceError;
use libipc::interface::introspection::{self, Description, GetDescription, Info};
use libipc::interface::transport::{
    ATTACH, Agreed, CLOSE, DIAL, Dial, LISTEN, REFUSE, Refuse, TEXT, TransportError,
};
use libipc::listener::{ListenError, Listener};
use libipc::rundir::{Instance, RunDirectory};
use libipc::varlink::{self, Bytes, Call};
use libipc::wire::{Limits, Message, Progress, Reading, Wire};
use serde::Deserialize;
use sys::ancillary::Wait;

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
        let owner = std::fs::symlink_metadata(&path)
            .map_err(|error| ListenError::System { path, error })?
            .uid();
        Ok(Self { listener, owner })
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
            if uid.is_some_and(|uid| uid == 0 || uid == self.owner) {
                let wire = Wire::new(stream.into(), Reading::Eager, Limits::default());
                return Ok(Some(Caller(wire)));
            }
        }
        Ok(None)
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
    /// Tell of remote peers.
    Listen,
    /// Go on with what was agreed; with a descriptor to relay to, or without.
    Attach(Agreed, Option<OwnedFd>),
    /// Tell a remote peer no.
    Refuse(Refuse),
    /// Give up what was agreed.
    Close(Agreed),
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

    /// Answers a call, with or without a descriptor.
    ///
    /// # Errors
    ///
    /// [`Over`]: the caller is gone, or does not collect. Drop it.
    pub fn answer(&mut self, message: Bytes, descriptor: Option<OwnedFd>) -> Result<(), Over> {
        self.0.queue(message, descriptor).map_err(|_| Over)?;
        match self.0.flush(Wait::Never) {
            // The broker reads at once or not at all: its socket never fills in between.
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Over),
        }
    }

    fn understand(&mut self, message: Message) -> Result<Option<Request>, Over> {
        let descriptor = message.descriptors.into_iter().next();
        let call = varlink::read_call(&message.bytes).map_err(|_| Over)?;
        match &*call.method {
            DIAL => self.typed(&call, |dial| Request::Dial(Box::new(dial))),
            LISTEN => Ok(Some(Request::Listen)),
            ATTACH => self.typed(&call, |agreed| Request::Attach(agreed, descriptor)),
            REFUSE => self.typed(&call, Request::Refuse),
            CLOSE => self.typed(&call, Request::Close),
            introspection::GET_INFO => {
                self.answer(varlink::reply(&info(), false), None).map(|()| None)
            }
            introspection::GET_DESCRIPTION => {
                let wanted = varlink::read_parameters::<GetDescription>(call.parameters);
                let message = describe(wanted.map(|wanted| wanted.interface).unwrap_or_default());
                self.answer(message, None).map(|()| None)
            }
            method => {
                let method = method.to_owned();
                let error = if method.starts_with("org.ipcd.Transport.") {
                    ServiceError::MethodNotImplemented { method }
                } else {
                    ServiceError::MethodNotFound { method }
                };
                self.answer(varlink::error(&error), None).map(|()| None)
            }
        }
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
        product: "ipcd transport daemon".to_owned(),
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
