//! Asking for a service by name: which broker, and what if there is none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use sys::socket::SocketKind;

use crate::broker::{Broker, Request};
use crate::environment::Environment;
use crate::error::ConnectError;
use crate::name::ServiceName;
use crate::network;
use crate::rundir::{Instance, RunDirectory};
use crate::secret::Secret;
use crate::stream::Stream;

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
///
/// ```
/// use std::time::Duration;
///
/// use libipc::connector::Connector;
/// use libipc::environment::Environment;
/// use libipc::{Listener, ServiceName};
/// # use libipc::rundir::{Instance, RunDirectory};
/// # let rundir = std::env::temp_dir().join(format!("libipc-connector-{}", std::process::id()));
/// # let directory = RunDirectory::new(rundir.clone(), Instance::Private);
///
/// let name = ServiceName::new("pong").unwrap();
/// # let listener = Listener::bind_in(&directory, &name)?;
/// // Instead of what the process's environment says.
/// let environment = Environment { rundir: Some(rundir.clone()), ..Environment::default() };
/// let mut stream = Connector::new(&environment, Duration::from_secs(10))?.connect(&name)?;
/// # use std::io::Write;
/// stream.write_all(b"ping")?;
/// # drop(listener);
/// # std::fs::remove_dir_all(rundir)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Connector {
    directories: Vec<RunDirectory>,
    named: bool,
    network: Option<Secret>,
    /// A broker's socket that was inherited, for programs that may open none.
    inherited: Option<OwnedFd>,
    waits: bool,
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
            inherited: environment.broker_fd.and_then(inherited_broker),
            waits: false,
            deadline: Instant::now() + timeout,
        })
    }

    /// Waits for a service that is not there yet, until the deadline.
    #[must_use]
    pub fn wait_for_service(self) -> Self {
        Self { waits: true, ..self }
    }

    /// Asks for `service`: one's own broker first, then the system's for a name that the first
    /// does not know.
    ///
    /// # Errors
    ///
    /// As [`connect`].
    pub fn connect(&self, service: &ServiceName) -> Result<Stream, ConnectError> {
        let network = self.network(service)?;
        if let Some(inherited) = &self.inherited {
            let request = self.request(service, network.as_ref());
            let asked = Broker::ask_through(inherited.as_fd(), &request, self.deadline);
            return asked.map_err(of_inherited)?.stream_of_answer(&request, self.deadline);
        }
        let mut unknown = None;
        for directory in self.usable_directories()? {
            match self.ask_one(&directory, service, network.as_ref()) {
                Err(error) if error.is_unknown() => unknown = Some(error),
                result => return result,
            }
        }
        Err(unknown.unwrap_or_else(|| ConnectError::no_broker(&self.directories)))
    }

    /// A connection to keep, by way of the broker's socket that this process has inherited, if it
    /// has one. It is of no use as what another program inherits: nobody listens behind it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::InheritedGone`], and the kernel's.
    pub fn inherited(&self) -> Result<Option<Broker>, ConnectError> {
        let through = |one: &OwnedFd| Broker::through(one.as_fd()).map_err(of_inherited);
        self.inherited.as_ref().map(through).transpose()
    }

    /// A connection to keep, to the broker that is asked first.
    ///
    /// # Errors
    ///
    /// [`ConnectError::NoBroker`], [`ConnectError::BrokerDown`] and what makes a directory unsound.
    pub fn broker(&self) -> Result<Broker, ConnectError> {
        let directories = self.usable_directories()?;
        match directories.iter().find(|directory| directory.has_broker()) {
            Some(directory) => Broker::open_patiently(directory, self.deadline),
            None => Err(ConnectError::no_broker(&self.directories)),
        }
    }

    /// What `IPC_NETWORK` says of a name.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Network`].
    pub fn network(&self, service: &ServiceName) -> Result<Option<Secret>, ConnectError> {
        let text = self.network.as_ref().map_or("", Secret::expose);
        network::entries_for(service, text).map_err(ConnectError::Network)
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
            let request = self.request(service, network);
            let broker = Broker::open_patiently(directory, self.deadline)?;
            return broker.become_stream(&request, self.deadline);
        }
        if directory.instance() == Instance::System || network.is_some() {
            return Err(ConnectError::NoBroker { path: directory.broker() });
        }
        connect_directly(directory, service, self.deadline)
    }

    fn request<'a>(&self, service: &'a ServiceName, network: Option<&'a Secret>) -> Request<'a> {
        Request { service, network, waits: self.waits }
    }
}

/// An inherited connection that is over cannot be opened anew.
fn of_inherited(error: ConnectError) -> ConnectError {
    match error {
        ConnectError::BrokerGone => ConnectError::InheritedGone,
        error => error,
    }
}

/// The broker's socket that this process inherited under that number, if it is one.
fn inherited_broker(number: i32) -> Option<OwnedFd> {
    let socket = sys::inherited::duplicate(number).ok()?;
    let is_stream = sys::socket::is_unix(socket.as_fd()).unwrap_or(false)
        && sys::socket::is_stream(socket.as_fd()).unwrap_or(false);
    let place = sys::socket::peer_path(socket.as_fd()).ok().flatten();
    let is_broker = place.is_some_and(|path| path.file_name().is_some_and(|name| name == "ipc"));
    Some(socket).filter(|_| is_stream && is_broker)
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
            Ok(socket) => return Ok(Stream::local(socket)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(ConnectError::Service { service: service.clone(), error });
            }
        }
    }
    Err(ConnectError::NoBroker { path: directory.broker() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::identity::Identity;
    use crate::listener::Listener;

    #[test]
    fn without_a_broker_the_service_is_known_by_name_as_it_is_by_its_path() {
        let place = tempfile::tempdir().unwrap();
        let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
        let name = ServiceName::new("pong").unwrap();
        let _listener = Listener::bind_in(&directory, &name).unwrap();
        let rundir = Some(place.path().join("ipc"));
        let environment = Environment { rundir, ..Environment::default() };
        let by_name = Connector::new(&environment, TIMEOUT).unwrap().connect(&name).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let by_path = Address::Path(directory.service(&name)).connect(deadline).unwrap();
        let Some(Identity::Local(service)) = by_name.peer() else { panic!("{:?}", by_name.peer()) };
        assert_eq!(service.pid, Some(std::process::id()));
        assert_eq!(by_name.peer(), by_path.peer());
    }
}
