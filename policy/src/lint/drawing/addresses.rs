//! Addresses, as far as networks tell them apart.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cases;
use crate::lint::region::Demand;
use crate::special;

/// One address for each way in which addresses lie in some networks, in ascending order; behind
/// them, as one more case, an address that nobody knows.
pub(super) struct Addresses {
    examples: Vec<Number>,
    special: Vec<bool>,
}

/// An address as a number of its family, IPv4 first.
type Number = (u8, u128);

impl Addresses {
    /// Tells all of `networks` and the special ranges apart.
    pub(super) fn of(networks: impl Iterator<Item = IpNet>) -> Self {
        let ranges = special::ranges().iter().map(|range| range.network).chain(ALWAYS);
        let mut all: Vec<(Number, Number)> = networks.chain(ranges).map(|net| ends(&net)).collect();
        // Networks that lie in others stand behind them.
        all.sort_unstable_by_key(|(first, last)| (*first, Reverse(*last)));
        all.dedup();
        let mut examples = Vec::new();
        for (index, (first, last)) in all.iter().enumerate() {
            let mut free = *first;
            let inside = all.get(index + 1..).unwrap_or_default();
            for (begin, end) in inside.iter().take_while(|(begin, _)| begin <= last) {
                if free < *begin {
                    break;
                }
                free = free.max((end.0, end.1.saturating_add(1)));
            }
            let is_free = free <= *last && (free != *last || !inside.contains(&(free, free)));
            examples.extend(Some(free).filter(|free| is_free && is_canonical(*free)));
        }
        examples.sort_unstable();
        let special = examples.iter().map(|number| special::range_of(address(*number)).is_some());
        Self { special: special.collect(), examples }
    }

    /// How many cases there are, the unknown address included.
    pub(super) fn count(&self) -> usize {
        self.examples.len() + 1
    }

    /// The case of the address that nobody knows.
    pub(super) fn unknown(&self) -> usize {
        self.examples.len()
    }

    /// The known ones, without those that stand for no peer.
    pub(super) fn of_peers(&self, case: usize) -> bool {
        self.examples.get(case).is_none_or(|number| !address(*number).is_unspecified())
    }

    /// Those in `networks`, and, if `unknown` is set, the unknown one.
    pub(super) fn inside(&self, networks: &[IpNet], unknown: bool) -> Demand {
        let ends: Vec<_> = networks.iter().map(ends).collect();
        let is_in =
            |number: &Number| ends.iter().any(|(first, last)| first <= number && number <= last);
        cases(self.count(), |case| self.examples.get(case).map_or(unknown, is_in))
    }

    /// Those in `networks` that a rule which names these lets pass.
    pub(super) fn passing(&self, networks: &[IpNet]) -> Demand {
        let named = networks.iter().map(|network| (ends(network), special::covers(network)));
        let named: Vec<_> = named.collect();
        cases(self.count(), |case| {
            let Some(number) = self.examples.get(case) else { return false };
            let is_special = self.special.get(case).is_some_and(|special| *special);
            named.iter().any(|((first, last), names_special)| {
                first <= number && number <= last && (*names_special || !is_special)
            })
        })
    }

    /// Those that are in no special range, and the unknown one.
    pub(super) fn ordinary(&self) -> Demand {
        cases(self.count(), |case| self.special.get(case).is_none_or(|special| !special))
    }
}

/// All addresses; those that stand for no peer; IPv6 ones that are IPv4 ones in truth.
const ALWAYS: [IpNet; 4] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96)),
];

/// The first and last address of a network.
fn ends(network: &IpNet) -> (Number, Number) {
    (number(network.network()), number(network.broadcast()))
}

fn number(address: IpAddr) -> Number {
    match address {
        IpAddr::V4(address) => (4, u128::from(u32::from(address))),
        IpAddr::V6(address) => (6, u128::from(address)),
    }
}

fn address((family, bits): Number) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if family == 4 => IpAddr::V4(Ipv4Addr::from(bits)),
        _ => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

fn is_canonical(example: Number) -> bool {
    let address = address(example);
    address.to_canonical() == address
}
