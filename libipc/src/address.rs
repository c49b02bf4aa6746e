//! Where a service is reached: by its name, or at a socket of its own.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

pub use sys::socket::SocketKind;

use crate::connector::Connector;
use crate::error::ConnectError;
use crate::listener::{ListenError, Listener};
use crate::name::{NameError, ServiceName};
use crate::stream::Stream;

/// Where a service is reached.
///
/// Written down, a text with a `/` is a path, one that begins with `@` is an abstract name, and
/// anything else is a service name.
///
/// ```
/// use libipc::Address;
///
/// assert!(matches!("pongd".parse()?, Address::Name(_)));
/// assert!(matches!("./pong.sock".parse()?, Address::Path(_)));
/// assert!(matches!("@pong".parse()?, Address::Abstract(_)));
/// # Ok::<(), libipc::name::NameError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A service name: the broker knows where it leads.
    Name(ServiceName),
    /// A Unix socket in the file system. No broker is asked, no rule applies but the file's mode.
    Path(PathBuf),
    /// A Unix socket without a file. Anybody may take the name and anybody may connect: whoever
    /// answers has to prove who it is in another way.
    Abstract(Vec<u8>),
}

/// Connections that wait to be accepted at most.
const BACKLOG: i32 = 4096;

impl Address {
    /// Connects, at the latest at `deadline`, to a socket of that kind. A broker hands out
    /// streams alone.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect_kind(
        &self,
        kind: SocketKind,
        deadline: Instant,
    ) -> Result<Stream, ConnectError> {
        let socket = match self {
            Self::Name(_) if kind != SocketKind::Stream => return Err(ConnectError::NotAStream),
            Self::Name(name) => {
                let left = deadline.saturating_duration_since(Instant::now());
                return Connector::of_process(left)?.connect(name);
            }
            Self::Path(path) => sys::socket::connect_unix(path, kind, Some(deadline)),
            Self::Abstract(name) => sys::abstract_name::connect(name, kind, deadline),
        };
        match socket {
            Ok(socket) => Ok(Stream::local(socket)),
            Err(error) => Err(ConnectError::Socket { address: self.to_string(), error }),
        }
    }

    /// Connects to a stream, at the latest at `deadline`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect(&self, deadline: Instant) -> Result<Stream, ConnectError> {
        self.connect_kind(SocketKind::Stream, deadline)
    }

    /// Listens for streams: a name as [`Listener::bind`] does; at a path with the mode 0600, under
    /// a lock of the file beside it that ends in `.lock`.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn listen(&self) -> Result<Listener, ListenError> {
        self.listen_kind(SocketKind::Stream, 0o600)
    }

    /// Listens for sockets of that kind. A file gets exactly `mode`.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; a name is served in streams alone.
    pub fn listen_kind(&self, kind: SocketKind, mode: u32) -> Result<Listener, ListenError> {
        let system = |error| ListenError::System { path: PathBuf::from(self.to_string()), error };
        match self {
            Self::Name(_) if kind != SocketKind::Stream => {
                Err(system(io::ErrorKind::InvalidInput.into()))
            }
            Self::Name(name) => Listener::bind(name),
            Self::Path(path) => {
                let mut lock = path.clone().into_os_string();
                lock.push(".lock");
                Listener::bind_kind_at(path, kind, mode, lock.as_ref())
            }
            Self::Abstract(name) => {
                let socket = sys::abstract_name::bind(name, kind, BACKLOG).map_err(system)?;
                Listener::from_socket(socket)
            }
        }
    }
}

impl FromStr for Address {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        match text.strip_prefix('@') {
            Some(name) if !name.is_empty() => Ok(Self::Abstract(name.as_bytes().to_vec())),
            _ => ServiceName::new(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::channel::Channel;
    use crate::connection::Connection;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn each_form_is_told_by_its_look() {
        let cases = [
            ("pongd", Address::Name(ServiceName::new("pongd").unwrap())),
            ("./pongd", Address::Path("./pongd".into())),
            ("/run/x/@y", Address::Path("/run/x/@y".into())),
            ("@pongd", Address::Abstract(b"pongd".to_vec())),
        ];
        for (text, address) in cases {
            assert_eq!(text.parse(), Ok(address.clone()));
            assert_eq!(address.to_string(), text);
        }
        for wrong in ["", "@", "pong d"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn messages_pass_at_a_path_and_under_an_abstract_name() {
        let place = tempfile::tempdir().unwrap();
        let abstract_name = format!("ipcd-address-{}", std::process::id()).into_bytes();
        for address in [Address::Path(place.path().join("s")), Address::Abstract(abstract_name)] {
            let listener = address.listen().unwrap();
            let mut client = Connection::new(address.connect(soon()).unwrap());
            let mut server = Connection::new(listener.accept().unwrap());
            assert!(client.peer().is_some() && server.peer().is_some());
            client.send(Channel::DATA, b"hello").unwrap();
            assert_eq!(&server.receive().unwrap().payload[..], b"hello");
            if let Address::Path(path) = &address {
                let mode = std::fs::metadata(path).unwrap().permissions().mode();
                assert_eq!(mode & 0o7777, 0o600);
            }
            let said = address.listen().unwrap_err().to_string();
            assert!(said.contains("already running here") || said.contains("in use"), "{said}");
            drop(listener);
            let error = address.connect(soon()).unwrap_err();
            assert!(error.retry());
            assert!(error.to_string().starts_with(&format!("{address}: ")), "{error}");
        }
    }

    #[test]
    fn a_path_has_107_bytes_at_most() {
        let place = tempfile::tempdir().unwrap();
        let of_length = |length: usize| {
            let name = length - place.path().as_os_str().len() - 1;
            Address::Path(place.path().join("x".repeat(name)))
        };
        let longest = of_length(107);
        let _listener = longest.listen().unwrap();
        drop(longest.connect(soon()).unwrap());
        let longer = of_length(108);
        for said in [
            longer.listen().unwrap_err().to_string(),
            longer.connect(soon()).unwrap_err().to_string(),
        ] {
            let expected = "the path of a socket has 107 bytes at most, this one has 108";
            assert_eq!(said, format!("{longer}: {expected}"));
        }
    }

    #[test]
    fn a_name_is_served_in_streams_alone() {
        let address: Address = "pongd".parse().unwrap();
        let error = address.connect_kind(SocketKind::SeqPacket, soon()).unwrap_err();
        assert_eq!(error.to_string(), "the service does not speak in streams");
        assert!(address.listen_kind(SocketKind::SeqPacket, 0o600).is_err());
    }
}
