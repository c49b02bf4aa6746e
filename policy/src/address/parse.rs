//! The text of an ADDRESS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Address, AddressError, Host, Hosts, LOCALHOST, Pattern, Place, Ports, Schemes, default_port,
    is_scheme, single,
};
use crate::rule::Direction;
use crate::target::parse_port;

impl Place {
    /// Reads one ADDRESS of a rule of `direction`. `None` is "anything", in direction `local`.
    ///
    /// # Errors
    ///
    /// [`AddressError`] says what the rule's author has to change.
    pub fn parse(
        text: &str,
        direction: Direction,
        schemes: &Schemes,
    ) -> Result<Option<Self>, AddressError> {
        match text {
            "" => return Err(AddressError::Empty),
            _ if text.contains("//") => return Err(AddressError::Uri),
            _ => {}
        }
        let (scheme, rest) = text.split_once(':').map_or((text, None), |(a, b)| (a, Some(b)));
        if direction == Direction::Local {
            return parse_local(scheme, rest);
        }
        if scheme == "unix" {
            return Err(AddressError::UnixElsewhere);
        }
        let scheme = parse_scheme(scheme, schemes)?;
        let (hosts, ports) = split_ports(rest.unwrap_or("*"))?;
        let hosts = parse_hosts(hosts)?;
        let ports = match ports {
            Some(_) if direction == Direction::In => return Err(AddressError::PortOfPeer),
            Some(ports) => parse_ports(ports)?,
            None if hosts == Hosts::Any => Ports::Any,
            None => Ports::Default,
        };
        let address = Address { scheme, hosts, ports };
        check_scheme(&address, direction, schemes)?;
        Ok(Some(Self::Remote(address)))
    }
}

fn parse_local(scheme: &str, rest: Option<&str>) -> Result<Option<Place>, AddressError> {
    match (scheme, rest) {
        (scheme, None | Some("*" | "any")) if is_any(scheme) || scheme == "unix" => Ok(None),
        ("unix", Some(name)) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-*".contains(c);
            match name.chars().find(|character| !fits(*character)) {
                Some(character) => Err(AddressError::UnixName(character)),
                None if name.is_empty() => Err(AddressError::Empty),
                None => Ok(Some(Place::Local(Pattern::new(name)))),
            }
        }
        _ => Err(AddressError::NotUnix),
    }
}

fn is_any(text: &str) -> bool {
    matches!(text, "*" | "any")
}

fn parse_scheme(text: &str, schemes: &Schemes) -> Result<Option<Box<str>>, AddressError> {
    if is_any(text) {
        return Ok(None);
    }
    if is_scheme(text) && schemes.stack(text).is_some() {
        return Ok(Some(text.into()));
    }
    let known: Vec<_> = schemes.names().collect();
    let shown: String = text.chars().take(64).collect();
    Err(AddressError::UnknownScheme { scheme: shown.into(), known: known.join(", ").into() })
}

/// Cuts `HOSTS[:PORTS]`; an IPv6 address or network stands in brackets.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(crate::host::HostError::Brackets)? + 1;
        let (hosts, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((hosts, Some(ports))),
            None if rest.is_empty() => Ok((hosts, None)),
            None => Err(AddressError::Prefix),
        };
    }
    let colons = text.matches(':').count();
    let fits = |c: char| c.is_ascii_hexdigit() || ":./".contains(c);
    if (text.contains("::") || colons > 2) && text.chars().all(fits) {
        return Err(AddressError::Bare);
    }
    Ok(match text.split_once(':') {
        Some((hosts, ports)) => (hosts, Some(ports)),
        None => (text, None),
    })
}

fn parse_hosts(text: &str) -> Result<Hosts, AddressError> {
    if is_any(text) {
        return Ok(Hosts::Any);
    }
    if let Some(below) = text.strip_prefix("*.") {
        return match Host::parse(below) {
            Ok(Host::Name(name)) => Ok(Hosts::Below(name)),
            Ok(_) => Err(AddressError::Wildcard),
            Err(_) if below.contains('*') => Err(AddressError::Wildcard),
            Err(error) => Err(error.into()),
        };
    }
    if text.contains('*') {
        return Err(AddressError::Wildcard);
    }
    if text.contains('/') {
        return parse_network(text).map(Hosts::Network);
    }
    Ok(match Host::parse(text)? {
        Host::Name(name) if name.as_str() == LOCALHOST => Hosts::Localhost,
        Host::Name(name) => Hosts::Name(name),
        Host::V4(address) => Hosts::Network(single(IpAddr::V4(address))),
        Host::V6(address) => Hosts::Network(single(IpAddr::V6(address))),
    })
}

/// Reads `10.0.0.0/8` or `[2001:db8::/32]`. A network of mapped addresses is the IPv4 network.
///
/// # Errors
///
/// [`AddressError::Prefix`] for what is no network, [`AddressError::HostBits`] for one that says
/// more than its length.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, AddressError> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let (address, length) = inside.unwrap_or(text).split_once('/').ok_or(AddressError::Prefix)?;
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: u8 = length.parse().ok().filter(|_| digits).ok_or(AddressError::Prefix)?;
    let network = if inside.is_some() {
        let address: Ipv6Addr = address.parse().map_err(|_| AddressError::Prefix)?;
        mapped(address, length).or_else(|| Ipv6Net::new(address, length).ok().map(IpNet::V6))
    } else {
        let address: Ipv4Addr = address.parse().map_err(|_| AddressError::Prefix)?;
        Ipv4Net::new(address, length).ok().map(IpNet::V4)
    };
    let network = network.ok_or(AddressError::Prefix)?;
    if network == network.trunc() { Ok(network) } else { Err(AddressError::HostBits(network)) }
}

fn mapped(address: Ipv6Addr, length: u8) -> Option<IpNet> {
    let network = Ipv4Net::new(address.to_ipv4_mapped()?, length.checked_sub(96)?).ok()?;
    Some(IpNet::V4(network))
}

fn parse_ports(text: &str) -> Result<Ports, AddressError> {
    if is_any(text) {
        return Ok(Ports::Any);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = parse_port(first).zip(parse_port(last));
    let (first, last) = ports.ok_or(AddressError::Port)?;
    if first > last { Err(AddressError::PortOrder) } else { Ok(Ports::Range(first, last)) }
}

fn check_scheme(
    address: &Address,
    direction: Direction,
    schemes: &Schemes,
) -> Result<(), AddressError> {
    let Some(scheme) = &address.scheme else { return Ok(()) };
    let needs_port = direction == Direction::Out && address.ports == Ports::Default;
    if needs_port && default_port(scheme).is_none() {
        return Err(AddressError::NoPort(scheme.clone()));
    }
    if !address.hosts.networks().is_empty() && !schemes.dials_addresses(scheme) {
        return Err(AddressError::NoAddresses(scheme.clone()));
    }
    Ok(())
}
