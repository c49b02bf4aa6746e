//! What outlives a broker: connections that the service manager keeps for the next one.
//!
//! A service that registers keeps its connection, whether the broker is restarted or crashes.
//! Clients that wait for an answer are kept when it is restarted, with what they have asked for, and
//! connections that may ask for a few names only: whoever inherited one can have no other.
//! The kernel tells anew who they are; what else has to be known is written beside them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use libipc::interface::broker::Connect;
use libipc::name::ServiceName;
use serde::{Deserialize, Serialize};
use sys::inherited::Inherited;
use zeroize::Zeroizing;

/// What names of kept descriptors begin with. No way in has such a name.
const PREFIX: &str = "kept.";

/// What follows where a service has registered: its name behind that.
const SERVICE: &str = "kept.service.";

/// Clients, not services.
pub(crate) const CLIENTS: &str = "kept.clients";

/// What they have asked for.
pub(crate) const REQUESTS: &str = "kept.requests";

/// Services that are kept; further ones have to register again.
pub(crate) const SERVICES_MOST: usize = 512;

/// Clients that are kept; further ones have to ask again.
pub(crate) const CLIENTS_MOST: usize = 500;

/// Bytes of what they have asked for.
const REQUEST_BYTES_MOST: usize = 4 * 1024 * 1024;

/// What a client waits for, and what it may wait for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The request, if there is one, with the time that is left for it.
    pub(crate) connect: Option<Connect>,
    /// Whether bytes for the service may follow it.
    pub(crate) is_upgrade: bool,
    /// The named socket that the client came in through.
    pub(crate) socket: Option<String>,
    /// The only names that it may ask for, each perhaps with its target.
    pub(crate) narrowed: Option<Vec<String>>,
}

/// What a kept connection is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// It is that of a service that has registered.
    Service(ServiceName),
    /// It is that of a client.
    Client(Box<Asked>),
}

/// Kept connections, each with its purpose.
pub(crate) type Kept = Vec<(OwnedFd, Purpose)>;

/// The name under which a service's connection is kept.
pub(crate) fn name_of(service: &ServiceName) -> String {
    format!("{SERVICE}{service}")
}

/// Divides what was inherited into kept connections and ways in. What is not a connected Unix
/// stream, or has no purpose, is closed.
pub(crate) fn take(inherited: Vec<Inherited>) -> (Kept, Vec<Inherited>) {
    let (kept, ways): (Vec<_>, Vec<_>) =
        inherited.into_iter().partition(|one| one.name.starts_with(PREFIX));
    let mut requests = HashMap::new();
    let mut connections = Vec::new();
    for Inherited { name, descriptor } in kept {
        if name == REQUESTS {
            requests.extend(read(descriptor).unwrap_or_else(|error| {
                tracing::warn!(event = "not-restored", name = ?name, %error);
                HashMap::new()
            }));
        } else {
            connections.push((name, descriptor));
        }
    }
    let restored = connections.into_iter().filter_map(|(name, socket)| {
        let purpose = is_connection(&socket).then(|| purpose(&name, &socket, &mut requests));
        if let Some(Some(purpose)) = purpose {
            return Some((socket, purpose));
        }
        tracing::warn!(event = "not-restored", name = ?name);
        None
    });
    (restored.collect(), ways)
}

fn purpose(name: &str, socket: &OwnedFd, requests: &mut HashMap<u64, Asked>) -> Option<Purpose> {
    if let Some(service) = name.strip_prefix(SERVICE) {
        return ServiceName::new(service).ok().map(Purpose::Service);
    }
    let cookie = sys::diag::cookie(socket.as_fd()).ok()?;
    let asked = requests.remove(&cookie).filter(|_| name == CLIENTS)?;
    Some(Purpose::Client(Box::new(asked)))
}

fn is_connection(socket: &OwnedFd) -> bool {
    let socket = socket.as_fd();
    let is = |fact: io::Result<bool>| fact.unwrap_or(false);
    is(sys::socket::is_unix(socket))
        && is(sys::socket::is_stream(socket))
        && !is(sys::socket::is_listening(socket))
}

/// Something to write requests on: memory that goes with its last descriptor. To be had before the
/// broker shuts itself in.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn paper() -> io::Result<OwnedFd> {
    sys::memfd::create(0)
}

/// Writes down who has asked for what, by the kernel's number of each connection. What is too long
/// for it is left out.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn write<'a>(
    paper: &OwnedFd,
    asked: impl Iterator<Item = (u64, &'a Asked)>,
) -> io::Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    for one in asked {
        // Requests have secrets, and no buffer that grows leaves them behind.
        let line = Zeroizing::new(serde_json::to_vec(&one)?);
        let mut longer = Zeroizing::new(Vec::with_capacity(text.len() + line.len() + 1));
        if longer.capacity() > REQUEST_BYTES_MOST {
            break;
        }
        longer.extend_from_slice(&text);
        longer.extend_from_slice(&line);
        longer.push(b'\n');
        text = longer;
    }
    File::from(paper.try_clone()?).write_all(&text)
}

fn read(file: OwnedFd) -> io::Result<HashMap<u64, Asked>> {
    let file = File::from(file);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > REQUEST_BYTES_MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = Zeroizing::new(vec![0; length]);
    file.read_exact_at(&mut text, 0)?;
    // Nobody is to find it there any more.
    file.set_len(0)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
