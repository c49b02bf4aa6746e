//! Networks and ranges of ports, found by what lies in them: each is cut into blocks whose numbers
//! begin with the same bits, and looked up once for every length of such a beginning.

use std::net::IpAddr;

use ipnet::IpNet;

use super::postings::Table;
use crate::bits::Bits;

/// Rules by networks.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    table: Table<IpNet>,
    /// Lengths of the prefixes of the networks, of IPv4 and of IPv6.
    lengths: [Vec<u8>; 2],
    /// All rules with a network.
    pub(super) any: Bits,
}

impl Networks {
    /// Takes pairs of a network and the number of a rule.
    pub(super) fn of(pairs: impl Iterator<Item = (IpNet, usize)> + Clone, count: usize) -> Self {
        let mut lengths = [Vec::new(), Vec::new()];
        let mut any = Bits::none(count);
        for (network, rule) in pairs.clone() {
            any.insert(rule);
            let [v4, v6] = &mut lengths;
            let lengths = if network.addr().is_ipv4() { v4 } else { v6 };
            if !lengths.contains(&network.prefix_len()) {
                lengths.push(network.prefix_len());
            }
        }
        let table = Table::of(pairs.map(|(network, rule)| (network.trunc(), rule)), count);
        Self { table, lengths, any }
    }

    /// Adds the rules with a network that contains `address`; without an address, all of them.
    pub(super) fn add_to(&self, address: Option<IpAddr>, rules: &mut Bits) {
        let Some(address) = address else { return rules.add(&self.any) };
        let [v4, v6] = &self.lengths;
        let lengths = if address.is_ipv4() { v4 } else { v6 };
        for network in lengths.iter().filter_map(|length| IpNet::new(address, *length).ok()) {
            self.table.add_to(&network.trunc(), rules);
        }
    }
}

/// Rules by ranges of ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    table: Table<(u32, u32)>,
    sizes: Vec<u32>,
}

impl Ports {
    /// Takes pairs of a range, both ends included, and the number of a rule.
    pub(super) fn of(pairs: impl Iterator<Item = ((u16, u16), usize)>, count: usize) -> Self {
        let mut sizes = Vec::new();
        let mut all = Vec::new();
        for ((first, last), rule) in pairs {
            for (begin, size) in blocks(u32::from(first), u32::from(last)) {
                if !sizes.contains(&size) {
                    sizes.push(size);
                }
                all.push(((begin, size), rule));
            }
        }
        Self { table: Table::of(all, count), sizes }
    }

    /// Adds the rules with a range that `port` is in.
    pub(super) fn add_to(&self, port: u16, rules: &mut Bits) {
        for size in &self.sizes {
            self.table.add_to(&(u32::from(port) / size * size, *size), rules);
        }
    }
}

/// The fewest blocks that make up a range: each begins at a multiple of its size, a power of two.
fn blocks(first: u32, last: u32) -> Vec<(u32, u32)> {
    let mut blocks = Vec::new();
    let mut begin = first;
    while begin <= last {
        let aligned = if begin == 0 { 1 << 16 } else { 1 << begin.trailing_zeros() };
        let fitting = 1 << (last - begin + 1).ilog2();
        let size = fitting.min(aligned);
        blocks.push((begin, size));
        begin += size;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_make_up_their_range() {
        for (first, last) in [(0, 65_535), (1, 1), (1, 65_535), (5, 4), (80, 9_000), (7, 8)] {
            let mut next = first;
            for (begin, size) in blocks(first, last) {
                assert!(begin == next && begin % size == 0 && size.is_power_of_two());
                next = begin + size;
            }
            assert_eq!(next, last + 1, "{first} to {last}");
        }
    }
}
