//! TCP ports of loopback for tests that run at the same time.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports that are given out: the kernel chooses none of them for a connection, or for somebody who
/// does not care which one it is (`net.ipv4.ip_local_port_range`).
const PORTS: Range<u32> = 10_000..32_000;

/// How far apart test programs begin that run at the same time.
const PORTS_OF_A_PROGRAM: u32 = 64;

/// A TCP port of loopback where nobody listens, and nobody does unless the caller has it done.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(PORTS_OF_A_PROGRAM);
    PORTS
        .map(|_| first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)))
        .filter_map(|number| u16::try_from(PORTS.start + number % (PORTS.end - PORTS.start)).ok())
        .find(|port| !is_taken(*port))
        .expect("a free port")
}

fn is_taken(port: u16) -> bool {
    let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    all.iter().any(|address| {
        let bound = TcpListener::bind((*address, port));
        bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    })
}
