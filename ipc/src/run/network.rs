//! A network with nothing in it, and the one address there.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::report::Report;

/// Listens on loopback in a network that has nothing else: in this process's own if it is one,
/// otherwise in one that is made for it. What is started from here is in that network too.
///
/// The process may have no other thread yet.
pub(super) fn listener() -> Result<TcpListener, Report> {
    let devices = fs::read_to_string("/proc/self/net/dev");
    if !devices.is_ok_and(|text| is_alone(&text)) {
        leave().map_err(|error| impossible("a network of the program's own", &error))?;
    }
    // Down in a new network, up in those of bubblewrap and systemd.
    sys::loopback::raise().map_err(|error| impossible("the address 127.0.0.1", &error))?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| impossible("a port of 127.0.0.1", &error))
}

/// Whether the devices of a network, as the kernel lists them, are loopback alone.
fn is_alone(devices: &str) -> bool {
    let mut names = devices.lines().filter_map(|line| line.split_once(':'));
    names.all(|(name, _)| name.trim() == "lo")
}

/// Goes into a new network: with the right to do so, or as a user who has that right within a
/// user namespace of his own, in which he is who he was.
fn leave() -> io::Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => {}
        result => return Ok(result?),
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn impossible(what: &str, error: &io::Error) -> Report {
    Report::system("--proxy", format!("{what} is not to be had: {error}")).cure(
        "to do",
        "run it where there is one: unshare --net, bwrap --unshare-net, or a unit with \
         PrivateNetwork=yes that may use AF_INET",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_alone_if_it_has_no_device_but_loopback() {
        let head = "Inter-|   Receive  |  Transmit\n face |bytes    packets\n";
        let lo = "    lo:       0       0    0\n";
        assert!(is_alone(head));
        assert!(is_alone(&format!("{head}{lo}")));
        assert!(!is_alone(&format!("{head}{lo}  eth0:  1 2 3\n")));
        assert!(!is_alone(&format!("{head}  lo0:  1 2 3\n{lo}")));
    }
}
