//! Which addresses of a host may be tried, and in which order.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use libipc::interface::transport::AddressRule;

/// Addresses of one host that are tried at most.
pub(crate) const ADDRESSES_MOST: usize = 32;

/// The broker's list, read once.
#[derive(Debug)]
pub(crate) struct Allowed(Vec<(IpNet, bool, String)>);

/// No address may be tried: the last one, and what forbade it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Denied {
    pub(crate) address: IpAddr,
    pub(crate) rule: String,
}

impl Allowed {
    /// Reads the list; the network that cannot be read, if there is one.
    pub(crate) fn read(rules: &[AddressRule]) -> Result<Self, String> {
        let read = |rule: &AddressRule| {
            let network = rule.network.parse().map_err(|_| rule.network.clone())?;
            Ok((network, rule.allow, rule.rule.clone()))
        };
        rules.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The addresses that may be tried, in the order in which to do it: the families in turn, the
    /// first one first (RFC 8305, section 4). `is_own` tells addresses of this very host.
    pub(crate) fn select(
        &self,
        found: impl IntoIterator<Item = SocketAddr>,
        is_own: impl Fn(SocketAddr) -> bool,
    ) -> Result<Vec<SocketAddr>, Option<Denied>> {
        let mut denied = None;
        let mut allowed: Vec<SocketAddr> = Vec::new();
        for address in found {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            match self.decide(address, &is_own) {
                Ok(()) if !allowed.contains(&address) => allowed.push(address),
                Ok(()) => {}
                Err(rule) => denied = Some(Denied { address: address.ip(), rule }),
            }
        }
        if allowed.is_empty() {
            return Err(denied);
        }
        // Many addresses of one family leave some room for the other.
        let mut order = interleave(&allowed);
        order.truncate(ADDRESSES_MOST);
        Ok(order)
    }

    /// The first entry that contains the address decides; what is in none is refused. An address
    /// of this host is reached only by an entry that is that address alone, or a network of the
    /// host's own (loopback): no wider rule can have meant it.
    fn decide(
        &self,
        address: SocketAddr,
        is_own: impl Fn(SocketAddr) -> bool,
    ) -> Result<(), String> {
        let entry = self.0.iter().find(|(network, ..)| network.contains(&address.ip()));
        let Some((network, allow, rule)) = entry else {
            return Err("no rule allows this address".to_owned());
        };
        if !allow {
            return Err(rule.clone());
        }
        let ip = address.ip();
        let is_named = network.prefix_len() == network.max_prefix_len()
            || (ip.is_loopback() && network.network().is_loopback());
        if !is_named && (ip.is_loopback() || ip.is_unspecified() || is_own(address)) {
            return Err(format!("an address of this host, which {rule} does not name"));
        }
        Ok(())
    }
}

/// The families in turn, beginning with that of the first address.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_six = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first_is_six);
    let mut order = Vec::with_capacity(addresses.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return order,
            (one, other) => order.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(list: &[(&str, bool)]) -> Allowed {
        let rules: Vec<_> = list
            .iter()
            .map(|(network, allow)| AddressRule {
                network: (*network).to_owned(),
                allow: *allow,
                rule: format!("rule {network}"),
            })
            .collect();
        Allowed::read(&rules).unwrap()
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
    }

    #[test]
    fn the_first_entry_that_contains_an_address_decides() {
        let allowed = rules(&[("10.1.0.0/16", false), ("10.0.0.0/8", true)]);
        let found = addresses(&["10.1.2.3", "10.2.2.3", "192.0.2.1"]);
        assert_eq!(allowed.select(found, |_| false), Ok(addresses(&["10.2.2.3"])));
    }

    #[test]
    fn what_forbids_the_last_one_is_told() {
        let denied = |allowed: Allowed, ip: &str| {
            allowed.select(addresses(&[ip]), |_| false).unwrap_err().unwrap().rule
        };
        assert_eq!(denied(rules(&[]), "192.0.2.1"), "no rule allows this address");
        assert_eq!(denied(rules(&[("127.0.0.0/8", false)]), "127.0.0.1"), "rule 127.0.0.0/8");
        assert_eq!(rules(&[]).select(addresses(&[]), |_| false), Err(None));
    }

    #[test]
    fn mapped_addresses_are_what_they_stand_for() {
        let allowed = rules(&[("127.0.0.0/8", false), ("::/0", true), ("0.0.0.0/0", true)]);
        assert!(allowed.select(addresses(&["::ffff:127.0.0.1"]), |_| false).is_err());
    }

    #[test]
    fn an_address_of_this_host_has_to_be_named() {
        let own = |_| true;
        let found = || addresses(&["192.0.2.1"]);
        let denied = rules(&[("0.0.0.0/0", true)]).select(found(), own).unwrap_err().unwrap();
        assert_eq!(denied.rule, "an address of this host, which rule 0.0.0.0/0 does not name");
        assert!(rules(&[("192.0.2.0/24", true)]).select(found(), own).is_err());
        assert!(rules(&[("192.0.2.1/32", true)]).select(found(), own).is_ok());
        assert!(rules(&[("127.0.0.0/8", true)]).select(addresses(&["127.0.0.1"]), own).is_ok());
        assert!(rules(&[("127.4.0.0/16", true)]).select(addresses(&["127.4.0.1"]), own).is_ok());
    }

    #[test]
    fn a_wide_network_never_leads_to_this_host_however_it_is_spelled() {
        let wide = || rules(&[("0.0.0.0/0", true), ("::/0", true)]);
        for ip in ["127.0.0.1", "127.5.5.5", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
            let denied = wide().select(addresses(&[ip]), |_| false).unwrap_err().unwrap().rule;
            assert!(denied.starts_with("an address of this host"), "{ip}: {denied}");
        }
        assert!(
            rules(&[("126.0.0.0/7", true)]).select(addresses(&["127.0.0.1"]), |_| false).is_err()
        );
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["2001:db8::1", "2001:db8::2", "192.0.2.1", "2001:db8::3"]);
        let order = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]);
        assert_eq!(interleave(&found), order);
    }

    #[test]
    fn as_many_addresses_are_tried_as_the_limit_and_both_families_are_among_them() {
        let allowed = rules(&[("0.0.0.0/0", true), ("::/0", true)]);
        let fours: Vec<_> = (1..=33).map(|number| format!("192.0.2.{number}")).collect();
        let fours = addresses(&fours.iter().map(String::as_str).collect::<Vec<_>>());
        let select =
            |found: &[SocketAddr]| allowed.select(found.iter().copied(), |_| false).unwrap();
        assert_eq!(select(&fours[..32]), fours[..32]);
        assert_eq!(select(&fours), fours[..32], "the others are not");
        let six = addresses(&["2001:db8::1"]);
        let both = select(&[&fours[..], &six].concat());
        assert_eq!((both.len(), both[1]), (32, six[0]));
    }

    proptest! {
        #[test]
        fn nothing_forbidden_is_ever_selected(
            found in prop::collection::vec(any::<std::net::Ipv4Addr>(), 0..20),
            list in prop::collection::vec((any::<std::net::Ipv4Addr>(), 0_u8..=32, any::<bool>()), 0..8),
        ) {
            let rules: Vec<_> = list.iter().map(|(ip, bits, allow)| AddressRule {
                network: format!("{ip}/{bits}"), allow: *allow, rule: String::new(),
            }).collect();
            let allowed = Allowed::read(&rules).unwrap();
            let found = found.into_iter().map(|ip| SocketAddr::new(ip.into(), 80));
            for address in allowed.select(found, |_| false).unwrap_or_default() {
                let first = list.iter().find(|(ip, bits, _)| {
                    IpNet::new((*ip).into(), *bits).unwrap().contains(&address.ip())
                });
                prop_assert!(first.is_some_and(|(_, _, allow)| *allow));
            }
        }
    }
}
