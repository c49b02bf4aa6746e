//! Who takes part: a pair of relays, and the way in.

use std::error::Error;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libipc::ServiceName;
use libipc::connector::Connector;
use libipc::environment::Environment;

use crate::place::Place;
use crate::{ipcd, others};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Connections in a row before anything is measured.
const WARM_UP: usize = 32;

/// A running pair of relays.
pub(crate) struct Contestant {
    pub(crate) processes: Vec<Child>,
    entry: Entry,
}

/// The way in.
#[derive(Clone)]
pub(crate) enum Entry {
    /// A socket at a path.
    Path(PathBuf),
    /// A name.
    Name(Environment),
}

impl Contestant {
    /// Starts it; nothing if it is not installed. `direct` is no relay at all.
    pub(crate) fn start(name: &str, place: &Place) -> Result<Option<Self>, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = match name {
            "direct" => Some((Vec::new(), Entry::Path(place.service()))),
            "ipcd" => Some(ipcd::start(place, port)?),
            other => others::start(other, place, port)?,
        };
        let Some((processes, entry)) = started else {
            println!("{name} is not installed: left out");
            return Ok(None);
        };
        let contestant = Self { processes, entry };
        let end = Instant::now() + PATIENCE;
        // What each thread does but once is no part of what is measured.
        while !(0..WARM_UP).all(|_| contestant.answers().is_ok()) {
            if Instant::now() > end {
                return Err(format!("{name} does not answer").into());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(Some(contestant))
    }

    pub(crate) fn entry(&self) -> Entry {
        self.entry.clone()
    }

    fn answers(&self) -> Result<(), Box<dyn Error>> {
        crate::measure::one_question(&mut self.entry.connect()?)
    }
}

impl Entry {
    /// A connection to the service.
    pub(crate) fn connect(&self) -> Result<UnixStream, Box<dyn Error>> {
        match self {
            Self::Path(path) => Ok(UnixStream::connect(path)?),
            Self::Name(environment) => {
                let name = ServiceName::new("bench")?;
                let stream = Connector::new(environment, PATIENCE)?.connect(&name)?;
                Ok(UnixStream::from(OwnedFd::from(stream)))
            }
        }
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ended = process.kill().is_err();
            let _reaped = process.wait().is_err();
        }
    }
}

/// Starts a program that says nothing.
pub(crate) fn spawn(command: &mut Command) -> Result<Child, Box<dyn Error>> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}
