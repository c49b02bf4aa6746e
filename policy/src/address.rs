//! The ADDRESS of a rule: which targets, or which peers, it speaks of.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::host::{Host, HostError, HostName};
use crate::pattern::Pattern;
use crate::scheme::{Schemes, default_port, is_scheme};

mod parse;

pub(crate) use parse::parse_network;

/// One ADDRESS of a rule in the directions `out` and `in`. `Display` is its canonical text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Which schemes; `None` for all.
    pub scheme: Option<Box<str>>,
    /// Which hosts.
    pub hosts: Hosts,
    /// Which ports; in direction `in` of no importance.
    pub ports: Ports,
}

/// The hosts that an [`Address`] speaks of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hosts {
    /// `*`: any, but for the special ranges.
    Any,
    /// A host of this name.
    Name(HostName),
    /// `*.NAME`: one or more labels before the name, not the name itself.
    Below(HostName),
    /// `localhost`: the loopback addresses, and that name.
    Localhost,
    /// The addresses of a network; a single one is a network as well.
    Network(IpNet),
}

/// The ports that an [`Address`] speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ports {
    /// Any.
    Any,
    /// The default port of the target's scheme.
    Default,
    /// From the first to the second, both included.
    Range(u16, u16),
}

impl Address {
    /// Whether targets of `scheme` are meant.
    #[must_use]
    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.scheme.as_deref().is_none_or(|own| own == scheme)
    }

    /// Whether `port` is meant, for a target of `scheme`.
    #[must_use]
    pub fn has_port(&self, scheme: &str, port: u16) -> bool {
        match self.ports {
            Ports::Any => true,
            Ports::Default => default_port(scheme) == Some(port),
            Ports::Range(first, last) => (first..=last).contains(&port),
        }
    }
}

impl Hosts {
    /// Whether the DNS name `name` is meant.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => own.as_str() == name,
            Self::Below(own) => {
                name.strip_suffix(own.as_str()).is_some_and(|before| before.ends_with('.'))
            }
            Self::Localhost => name == LOCALHOST,
            Self::Network(_) => false,
        }
    }

    /// The networks that are meant by address.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        match self {
            Self::Any | Self::Name(_) | Self::Below(_) => &[],
            Self::Localhost => &LOOPBACK,
            Self::Network(network) => std::slice::from_ref(network),
        }
    }

    /// Whether these are hosts that `other` speaks of, too, whatever the name or address.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(_), Self::Name(name)) => self.has_name(name.as_str()),
            (Self::Below(own), Self::Below(name)) => own == name || self.has_name(name.as_str()),
            (Self::Network(own), Self::Network(network)) => own.contains(network),
            _ => self == other,
        }
    }
}

impl Ports {
    /// Whether every port of `other` is one of these.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Range(low, high), Self::Range(first, last)) => low <= first && last <= high,
            _ => self == other,
        }
    }
}

/// The name that means this host.
pub const LOCALHOST: &str = "localhost";

/// The addresses that `localhost` means.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
];

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_deref().unwrap_or("*");
        match (&self.hosts, self.ports) {
            (Hosts::Any, Ports::Any) if self.scheme.is_none() => f.write_str("*"),
            (Hosts::Any, Ports::Any | Ports::Default) => write!(f, "{scheme}:*"),
            (hosts, Ports::Any) => write!(f, "{scheme}:{hosts}:*"),
            (hosts, Ports::Default) => write!(f, "{scheme}:{hosts}"),
            (hosts, Ports::Range(first, last)) if first == last => {
                write!(f, "{scheme}:{hosts}:{first}")
            }
            (hosts, Ports::Range(first, last)) => write!(f, "{scheme}:{hosts}:{first}-{last}"),
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => name.fmt(f),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Localhost => f.write_str(LOCALHOST),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                Host::from(network.addr()).fmt(f)
            }
            Self::Network(IpNet::V4(network)) => network.fmt(f),
            Self::Network(IpNet::V6(network)) => write!(f, "[{network}]"),
        }
    }
}

/// What stands where a rule has an ADDRESS: a place elsewhere, or, in direction `local`, the
/// service of this host that the name leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In directions `out` and `in`.
    Remote(Address),
    /// In direction `local`: `unix` or `unix:NAME`.
    Local(Pattern),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(address) => address.fmt(f),
            Self::Local(pattern) => write!(f, "unix:{pattern}"),
        }
    }
}

/// Why a text is not the ADDRESS of a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AddressError {
    /// Something between two commas is missing.
    Empty,
    /// A URI instead of the form that rules use.
    Uri,
    /// No scheme has such a name.
    UnknownScheme {
        /// The scheme as written.
        scheme: Box<str>,
        /// Those that there are.
        known: Box<str>,
    },
    /// `unix:` in a direction that is about other hosts.
    UnixElsewhere,
    /// Something else than `unix:` in direction `local`.
    NotUnix,
    /// A name behind `unix:` that no service has.
    UnixName(char),
    /// The host is none.
    Host(HostError),
    /// An IPv6 address without brackets.
    Bare,
    /// The length of a network's prefix is none.
    Prefix,
    /// A network with bits behind its prefix.
    HostBits(IpNet),
    /// `*` in a name where it means nothing: only `*.` at the beginning does.
    Wildcard,
    /// The port is no number from 1 to 65535, no `n-m`, and not `*`.
    Port,
    /// A range of ports that ends before it begins.
    PortOrder,
    /// Ports in direction `in`, where only the peer's identity counts.
    PortOfPeer,
    /// No port, for a scheme that has no default one.
    NoPort(Box<str>),
    /// An address or network, for a scheme whose own daemon finds the far end.
    NoAddresses(Box<str>),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an address is missing; lists have no blanks: a,b"),
            Self::Uri => f.write_str("an address in a rule is SCHEME:HOST:PORT, without //"),
            Self::UnknownScheme { scheme, known } => {
                write!(f, "unknown scheme {}; there are {known}", scheme.escape_debug())
            }
            Self::UnixElsewhere => f.write_str("unix is for rules of direction local"),
            Self::NotUnix => f.write_str("a rule of direction local has unix:NAME or no address"),
            Self::UnixName(character) => write!(
                f,
                "unix: is followed by a service name, which has no '{}'",
                character.escape_debug()
            ),
            Self::Host(error) => error.fmt(f),
            Self::Bare => f.write_str(
                "an IPv6 address stands in brackets: tcp:[2001:db8::1]:443",
            ),
            Self::Prefix => f.write_str(
                "a network is 10.0.0.0/8 or [2001:db8::/32], the length at most 32 or 128",
            ),
            Self::HostBits(network) => {
                write!(f, "the network has bits beyond its length; it would be {}", network.trunc())
            }
            Self::Wildcard => f.write_str("in a host, * stands alone or as *. at the beginning"),
            Self::Port => f.write_str("ports are *, a number from 1 to 65535, or two of them: n-m"),
            Self::PortOrder => f.write_str("the range of ports ends before it begins"),
            Self::PortOfPeer => f.write_str(
                "a rule of direction in has no ports: its address is what the peer has proven to be",
            ),
            Self::NoPort(scheme) => {
                write!(f, "{scheme} has no default port: write {scheme}:HOST:PORT")
            }
            Self::NoAddresses(scheme) => write!(
                f,
                "{scheme} finds its way itself, so no rule can speak of addresses with it"
            ),
        }
    }
}

impl std::error::Error for AddressError {}

impl From<HostError> for AddressError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// The network that is exactly `address`.
#[must_use]
pub fn single(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}
