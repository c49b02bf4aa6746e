//! Addresses that only a rule which names them reaches.
//!
//! A name that a client chose may resolve to this very host, to the cloud's metadata address or to
//! a neighbour on the link: then whoever controls that name uses the broker to get where only this
//! host may go. So no rule of the form `*`, and no rule about a name, reaches these ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range that is reached only by a rule that names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// The addresses.
    pub network: IpNet,
    /// What they are: "a loopback address".
    pub what: &'static str,
}

/// The range that `address` lies in, in whatever spelling; `None` for an ordinary address.
#[must_use]
pub fn range_of(address: IpAddr) -> Option<Range> {
    let address = address.to_canonical();
    ranges_of_family(address.is_ipv4()).find(|range| range.network.contains(&address)).copied()
}

/// Whether all of `network` lies in one special range: then a rule with it names what it reaches.
#[must_use]
pub fn covers(network: &IpNet) -> bool {
    let is_ipv4 = matches!(network, IpNet::V4(_));
    ranges_of_family(is_ipv4).any(|range| range.network.contains(network))
}

/// The IPv4 ranges stand first, and are few.
fn ranges_of_family(is_ipv4: bool) -> impl Iterator<Item = &'static Range> {
    let (skip, take) = if is_ipv4 { (0, V4.len()) } else { (V4.len(), usize::MAX) };
    RANGES.iter().skip(skip).take(take)
}

/// All special ranges.
#[must_use]
pub fn ranges() -> &'static [Range] {
    &RANGES
}

const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address";
const MULTICAST: &str = "a multicast address";
const UNSPECIFIED: &str = "an unspecified address, which means this host";
const BROADCAST: &str = "a broadcast address";
const METADATA: &str = "a metadata address of the cloud";
const LOCAL_NAT64: &str = "an address of a local NAT64";

const V4: [(Ipv4Addr, u8, &str); 7] = [
    (Ipv4Addr::UNSPECIFIED, 8, UNSPECIFIED),
    (Ipv4Addr::new(127, 0, 0, 0), 8, LOOPBACK),
    (Ipv4Addr::new(169, 254, 0, 0), 16, LINK_LOCAL),
    (Ipv4Addr::new(224, 0, 0, 0), 4, MULTICAST),
    (Ipv4Addr::BROADCAST, 32, BROADCAST),
    (Ipv4Addr::new(100, 100, 100, 200), 32, METADATA),
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),
];

const V6: [(Ipv6Addr, u8, &str); 7] = [
    (Ipv6Addr::UNSPECIFIED, 128, UNSPECIFIED),
    (Ipv6Addr::LOCALHOST, 128, LOOPBACK),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, LINK_LOCAL),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, MULTICAST),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, LOCAL_NAT64),
];

/// Prefixes of IPv6 addresses that carry an IPv4 address, and how many bits stand before it:
/// compatible, mapped, translated, NAT64, 6to4.
const CARRIERS: [(Ipv6Addr, u8); 5] = [
    (Ipv6Addr::UNSPECIFIED, 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

static RANGES: LazyLock<Vec<Range>> = LazyLock::new(|| {
    let v4 = V4.iter().filter_map(|(address, length, what)| {
        let network = Ipv4Net::new(*address, *length).ok()?;
        Some(Range { network: IpNet::V4(network), what })
    });
    let v6 = V6.iter().filter_map(|(address, length, what)| ipv6_range(*address, *length, what));
    let carried = V4.iter().flat_map(|(address, length, what)| {
        CARRIERS.iter().filter_map(move |(prefix, before)| {
            let bits = u128::from(u32::from(*address)) << (IPV4_HIGHEST - before);
            let carrier = Ipv6Addr::from(u128::from(*prefix) | bits);
            ipv6_range(carrier, before + length, what)
        })
    });
    v4.chain(v6).chain(carried).collect()
});

/// Bits behind an IPv4 address that stands first in an IPv6 address.
const IPV4_HIGHEST: u8 = 96;

fn ipv6_range(address: Ipv6Addr, length: u8, what: &'static str) -> Option<Range> {
    let network = Ipv6Net::new(address, length).ok()?;
    Some(Range { network: IpNet::V6(network), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_row_is_a_range() {
        assert_eq!(ranges().len(), V4.len() + V6.len() + V4.len() * CARRIERS.len());
        for range in ranges() {
            assert_eq!(range.network, range.network.trunc(), "{}", range.network);
        }
    }

    #[test]
    fn special_addresses_are_found_in_every_spelling() {
        for (address, what) in [
            ("127.0.0.1", LOOPBACK),
            ("127.255.255.254", LOOPBACK),
            ("::1", LOOPBACK),
            ("::ffff:127.0.0.1", LOOPBACK),
            ("::127.0.0.1", LOOPBACK),
            ("::ffff:0:127.0.0.1", LOOPBACK),
            ("64:ff9b::7f00:1", LOOPBACK),
            ("2002:7f00:1::", LOOPBACK),
            ("2002:7f00:1::1", LOOPBACK),
            ("169.254.169.254", LINK_LOCAL),
            ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
            ("2002:a9fe:a9fe::", LINK_LOCAL),
            ("fe80::1", LINK_LOCAL),
            ("febf::1", LINK_LOCAL),
            ("fd00:ec2::254", METADATA),
            ("100.100.100.200", METADATA),
            ("0.0.0.0", UNSPECIFIED),
            ("::", UNSPECIFIED),
            ("224.0.0.1", MULTICAST),
            ("239.255.255.255", MULTICAST),
            ("ff02::1", MULTICAST),
            ("255.255.255.255", BROADCAST),
            ("64:ff9b:1::5", LOCAL_NAT64),
        ] {
            let found = range_of(address.parse().unwrap());
            assert_eq!(found.map(|range| range.what), Some(what), "{address}");
        }
    }

    #[test]
    fn private_and_public_addresses_are_ordinary() {
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "126.255.255.255",
            "128.0.0.1",
            "fd00::1",
            "2001:db8::1",
            "64:ff9b::808:808",
            "::ffff:10.0.0.1",
            "fec0::1",
        ] {
            assert_eq!(range_of(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn only_a_network_wholly_inside_a_range_names_it() {
        for (network, expected) in [
            ("127.0.0.1/32", true),
            ("127.0.0.0/8", true),
            ("126.0.0.0/7", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("::1/128", true),
            ("fe80::/10", true),
            ("fe00::/9", false),
            ("10.0.0.0/8", false),
        ] {
            assert_eq!(covers(&network.parse().unwrap()), expected, "{network}");
        }
    }
}
