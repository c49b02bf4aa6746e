//! A client that speaks bytes, not the protocol: for everything that a library would not send.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::ancillary::{self, Wait};

use crate::{Host, PATIENCE};

/// The call that makes a connection of what is attached to it.
pub const ADOPT: &[u8] =
    b"{\"method\":\"org.ipcd.Broker.Adopt\",\"parameters\":{},\"oneway\":true}\0";

/// A connection to the broker of a host.
#[derive(Debug)]
pub struct Raw(pub UnixStream);

impl Raw {
    /// Connects, and says nothing.
    #[must_use]
    pub fn to(host: &Host) -> Self {
        Self::at(&host.rundir().join("ipc")).expect("the broker listens")
    }

    /// Connects to a broker's socket at this path, and says nothing.
    ///
    /// # Errors
    ///
    /// The kernel's: nobody listens there.
    pub fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// A connection of this process's own that comes in through this one.
    #[must_use]
    pub fn adopted(&self) -> Self {
        let (own, brokers) = UnixStream::pair().expect("a pair");
        own.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // What is written before the broker has that end is to tell who wrote it.
        sys::credentials::pass_credentials(brokers.as_fd(), true).expect("an option");
        let sent = self.hand(ADOPT, &[brokers.as_fd()]);
        assert_eq!(sent.expect("the broker reads"), ADOPT.len());
        Self(own)
    }

    /// Writes, as far as the broker reads.
    ///
    /// # Errors
    ///
    /// The kernel's: the broker has closed.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Writes with descriptors.
    ///
    /// # Errors
    ///
    /// As [`Raw::say`].
    pub fn hand(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        ancillary::send(self.0.as_fd(), bytes, descriptors, Wait::Block)
    }

    /// Calls a method and leaves the answer where it is.
    ///
    /// # Errors
    ///
    /// As [`Raw::say`].
    pub fn ask(&mut self, method: &str, parameters: &serde_json::Value) -> io::Result<()> {
        let call = serde_json::json!({"method": method, "parameters": parameters});
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        self.say(&bytes)
    }

    /// Asks for a service, by a door or a descriptor, and leaves the answer where it is.
    ///
    /// # Errors
    ///
    /// As [`Raw::say`].
    pub fn ask_for(&mut self, service: &str, network: Option<&str>) -> io::Result<()> {
        let take = ["door", "descriptor"];
        let parameters = serde_json::json!({"service": service, "network": network, "take": take});
        self.ask("org.ipcd.Broker.Connect", &parameters)
    }

    /// The next answer; `None` at the end of the connection. Descriptors are closed.
    #[must_use]
    pub fn answer(&mut self) -> Option<serde_json::Value> {
        let (mut text, mut byte) = (Vec::new(), [0]);
        loop {
            match self.0.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                // A process that was stopped meanwhile reads on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read if read.as_ref().is_ok_and(|count| *count == 0) => return None,
                read => assert_eq!(read.expect("an answer in time"), 1),
            }
            if byte == [0] {
                break;
            }
            text.extend(byte);
        }
        Some(serde_json::from_slice(&text).expect("the broker speaks JSON"))
    }

    /// The short name of the next answer's error, or `"none"`; `"end"` at the end.
    #[must_use]
    pub fn error(&mut self) -> String {
        let Some(answer) = self.answer() else { return "end".to_owned() };
        let error = answer["error"].as_str().unwrap_or("none");
        error.rsplit('.').next().unwrap_or_default().to_owned()
    }

    /// Whether the broker has closed the connection, without reading.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let ready = poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        ready && watched[0].any() == Some(true)
    }
}
