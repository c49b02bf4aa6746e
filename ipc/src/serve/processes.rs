//! The programs that serve connections, one each.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};

use libipc::identity::Identity;
use libipc::{ServiceName, Stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::placing::Placing;

/// What a program is told about its client; what is not known is not there.
const VARIABLES: [&str; 5] =
    ["IPC_PEER", "IPC_PEER_UID", "IPC_PEER_PID", "IPC_PEER_UNIT", "IPC_PEER_NAME"];

/// All programs that run, and how a further one is started.
#[derive(Debug)]
pub(super) struct Processes<'p> {
    program: &'p OsStr,
    arguments: &'p [OsString],
    service: &'p ServiceName,
    placing: Placing,
    children: Vec<Child>,
}

impl<'p> Processes<'p> {
    pub(super) fn new(
        program: &'p OsStr,
        arguments: &'p [OsString],
        service: &'p ServiceName,
        placing: Placing,
    ) -> Self {
        Self { program, arguments, service, placing, children: Vec::new() }
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        self.children.len()
    }

    /// Starts a program for `stream`.
    pub(super) fn start(&mut self, stream: Stream) -> io::Result<()> {
        let mut command = Command::new(self.program);
        command.args(self.arguments).env("IPC_SERVICE", self.service.as_str());
        // What the service manager told this command is not for the program.
        for name in ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"].iter().chain(&VARIABLES) {
            command.env_remove(name);
        }
        command.envs(stream.peer().map(facts).unwrap_or_default());
        command.envs(stream.peer_units().unit.map(|unit| ("IPC_PEER_UNIT", unit)));
        sys::socket::set_blocking(stream.as_fd(), true)?;
        // This command reads its signals instead of being interrupted by them.
        sys::child::with_no_signal_blocked(&mut command);
        let child = self.placing.spawn(&mut command, &OwnedFd::from(stream))?;
        self.children.push(child);
        Ok(())
    }

    /// Forgets those that have ended.
    pub(super) fn reap(&mut self) {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Asks all to end.
    pub(super) fn terminate(&self) {
        for child in &self.children {
            if let Ok(pid) = i32::try_from(child.id()) {
                // One that has just ended needs no asking. Not reaped yet, its number is its own.
                let _ended = kill(Pid::from_raw(pid), Signal::SIGTERM).is_err();
            }
        }
    }

    /// Ends those that are left.
    pub(super) fn kill(&mut self) {
        for child in &mut self.children {
            let _ended = child.kill().is_err();
            let _status = child.wait().is_ok();
        }
        self.children.clear();
    }
}

fn facts(peer: &Identity) -> Vec<(&'static str, String)> {
    let facts = match peer {
        Identity::Local(peer) => vec![
            ("IPC_PEER", Some("local".to_owned())),
            ("IPC_PEER_UID", peer.uid.map(|uid| uid.to_string())),
            ("IPC_PEER_PID", peer.pid.map(|pid| pid.to_string())),
        ],
        Identity::Remote(peer) => vec![
            ("IPC_PEER", Some(format!("{}:{}", peer.scheme, peer.address))),
            ("IPC_PEER_NAME", (!peer.names.is_empty()).then(|| peer.names.join(","))),
        ],
    };
    facts.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use libipc::identity::{LocalIdentity, RemoteIdentity};

    #[test]
    fn what_is_not_known_of_a_client_is_not_there() {
        let local = LocalIdentity { uid: Some(7), ..LocalIdentity::default() };
        let expected = [("IPC_PEER", "local".to_owned()), ("IPC_PEER_UID", "7".to_owned())];
        assert_eq!(facts(&Identity::Local(local)), expected);
    }

    #[test]
    fn a_remote_client_is_told_by_its_way_its_address_and_its_proven_names() {
        let (scheme, address) = ("tls".to_owned(), "192.0.2.1".parse().unwrap());
        let names = vec!["dns:a.example".to_owned(), "key:k".to_owned()];
        let expected = [
            ("IPC_PEER", "tls:192.0.2.1".to_owned()),
            ("IPC_PEER_NAME", "dns:a.example,key:k".to_owned()),
        ];
        assert_eq!(facts(&Identity::Remote(RemoteIdentity { scheme, address, names })), expected);
    }
}
