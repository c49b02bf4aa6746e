//! Where peers come from, and what a machine runs out of.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

/// Who counts as one and the same: an IPv4 address, or an IPv6 network of 64 bits, for whoever has
/// one address of that has them all.
#[must_use]
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        four @ IpAddr::V4(_) => four,
    }
}

/// Whether the machine is out of descriptors or memory, which passes.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_is_an_address_or_a_network_of_64_bits() {
        let same = |one: &str, other: &str| {
            source_of(one.parse().unwrap()) == source_of(other.parse().unwrap())
        };
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }
}
