//! The host of a target or rule, in one canonical form.
//!
//! Two spellings of one host must not be two hosts to a rule: `EXAMPLE.com.` is `example.com`,
//! `0x7f.1` and `2130706433` are `127.0.0.1`, and `[::ffff:127.0.0.1]` is that as well. What could
//! be read in two ways is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host in its canonical form.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// A DNS name.
    Name(HostName),
    /// An IPv4 address; also what was written as an IPv4 address mapped into IPv6.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// A DNS name: lower case, ASCII (punycode), without a trailing dot; labels of `a-z 0-9 _ -`, the
/// first not beginning with `-`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Host {
    /// Reads a host as it stands in a URI: a name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    ///
    /// [`HostError`] says what is wrong; none of its texts repeats the host, since a mistyped URI
    /// may have a secret there.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or(HostError::Brackets)?;
            return parse_ipv6(inside);
        }
        if text.matches(':').count() > 1 && text.parse::<Ipv6Addr>().is_ok() {
            return Err(HostError::Ipv6WithoutBrackets);
        }
        refuse_characters(text)?;
        match url::Host::parse(text) {
            Ok(url::Host::Domain(domain)) => parse_name(&domain),
            Ok(url::Host::Ipv4(address)) => Ok(Self::V4(address)),
            Ok(url::Host::Ipv6(address)) => Ok(Self::from(IpAddr::V6(address))),
            Err(_) => Err(HostError::NotAHost),
        }
    }

    /// The address, if the host is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// The name, if the host is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name.as_str()),
            Self::V4(_) | Self::V6(_) => None,
        }
    }

    /// The host without brackets: what a resolver takes.
    #[must_use]
    pub fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::V4(address) => address.to_string(),
            Self::V6(address) => address.to_string(),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

fn parse_ipv6(inside: &str) -> Result<Host, HostError> {
    if inside.contains('%') {
        return Err(HostError::Scope);
    }
    let address: Ipv6Addr = inside.parse().map_err(|_| HostError::NotIpv6)?;
    Ok(Host::from(IpAddr::V6(address)))
}

/// Refuses, before anything decodes or maps it, what no host has. Letters and digits of other
/// scripts pass: they have one ASCII form. Other full stops do not: they would add labels.
fn refuse_characters(text: &str) -> Result<(), HostError> {
    let harmless = |character: char| {
        character.is_ascii_alphanumeric()
            || matches!(character, '.' | '_' | '-')
            || (!character.is_ascii()
                && !character.is_control()
                && !matches!(character, '\u{3002}' | '\u{ff0e}' | '\u{ff61}'))
    };
    match text.chars().find(|character| !harmless(*character)) {
        Some(character) => Err(HostError::Character(character)),
        None => Ok(()),
    }
}

fn parse_name(domain: &str) -> Result<Host, HostError> {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    let strange = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if let Some(character) = name.chars().find(|character| strange(*character)) {
        return Err(HostError::Character(character));
    }
    if name.starts_with('-') {
        return Err(HostError::Hyphen);
    }
    if name.len() > NAME_LENGTH_MOST || name.split('.').any(|label| label.len() > LABEL_LENGTH_MOST)
    {
        return Err(HostError::TooLong);
    }
    if name.split('.').any(str::is_empty) {
        return Err(HostError::EmptyLabel);
    }
    Ok(Host::Name(HostName(name.into())))
}

const NAME_LENGTH_MOST: usize = 253;
const LABEL_LENGTH_MOST: usize = 63;

/// Why a text is not a host. Its author has to change it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HostError {
    /// There is no text.
    Empty,
    /// `[` without `]`.
    Brackets,
    /// What stands in brackets is no IPv6 address.
    NotIpv6,
    /// An IPv6 address with a scope id: it means another host on every machine.
    Scope,
    /// An IPv6 address that could be read as a host and a port.
    Ipv6WithoutBrackets,
    /// A character that no host has.
    Character(char),
    /// A name that a program could take for an option.
    Hyphen,
    /// A name or label longer than DNS allows.
    TooLong,
    /// Two dots in a row, or one at the beginning.
    EmptyLabel,
    /// Neither a name nor an address for another reason, for example `1.2.3.4.5`.
    NotAHost,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the host is missing"),
            Self::Brackets => f.write_str("the host begins with [ and does not end with ]"),
            Self::NotIpv6 => f.write_str("no IPv6 address stands in the brackets"),
            Self::Scope => f.write_str("an IPv6 address has no scope id (%) here"),
            Self::Ipv6WithoutBrackets => f.write_str("an IPv6 address stands in brackets: [::1]"),
            Self::Character(character) => write!(
                f,
                "a host has only letters, digits, - . and _, not '{}' (U+{:04X})",
                character.escape_debug(),
                u32::from(*character)
            ),
            Self::Hyphen => f.write_str("a host does not begin with -"),
            Self::TooLong => write!(
                f,
                "a host has at most {NAME_LENGTH_MOST} characters, and {LABEL_LENGTH_MOST} between dots"
            ),
            Self::EmptyLabel => f.write_str("something is missing between the dots of the host"),
            Self::NotAHost => f.write_str("this is neither a host name nor an address"),
        }
    }
}

impl std::error::Error for HostError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spellings that were found to differ between readers of URIs.
    #[test]
    fn every_spelling_of_a_host_has_one_form() {
        let cases = [
            ("2130706433", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("\u{ff11}\u{ff12}\u{ff17}.0.0.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("[::FFFF:7F00:1]", "127.0.0.1"),
            ("[::]", "[::]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[64:ff9b::7f00:1]", "[64:ff9b::7f00:1]"),
            ("[FE80::1]", "[fe80::1]"),
            ("EXAMPLE.com", "example.com"),
            ("example.com.", "example.com"),
            ("m\u{fc}nchen.de", "xn--mnchen-3ya.de"),
            ("M\u{dc}NCHEN.de", "xn--mnchen-3ya.de"),
            ("_srv.a-b.example", "_srv.a-b.example"),
            ("localhost", "localhost"),
        ];
        for (text, expected) in cases {
            let host = Host::parse(text).unwrap();
            assert_eq!(host.to_string(), expected, "{text:?}");
            assert_eq!(Host::parse(expected).unwrap(), host, "{text:?} again");
        }
        assert_eq!(Host::parse("[::1]").unwrap().bare(), "::1");
        assert_eq!(Host::parse("127.1").unwrap().bare(), "127.0.0.1");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = format!("{}a", "abcdefg.".repeat(32));
        let cases = [
            ("", HostError::Empty),
            ("exa%0ample.com", HostError::Character('%')),
            ("exa%6dple.com", HostError::Character('%')),
            ("exam\nple.com", HostError::Character('\n')),
            ("a\tb.com", HostError::Character('\t')),
            ("a\0b.com", HostError::Character('\0')),
            ("good\\evil", HostError::Character('\\')),
            ("$(id)", HostError::Character('$')),
            ("a;b", HostError::Character(';')),
            ("a b", HostError::Character(' ')),
            ("example.com\u{3002}evil", HostError::Character('\u{3002}')),
            ("-oProxyCommand=x", HostError::Character('=')),
            ("-oX", HostError::Hyphen),
            ("a..b", HostError::EmptyLabel),
            (".a", HostError::EmptyLabel),
            ("a.b..", HostError::EmptyLabel),
            ("::1", HostError::Ipv6WithoutBrackets),
            ("[::1", HostError::Brackets),
            ("[::1%eth0]", HostError::Scope),
            ("[::g]", HostError::NotIpv6),
            ("[127.0.0.1]", HostError::NotIpv6),
            ("1.2.3.4.5", HostError::NotAHost),
            ("256.256.256.256", HostError::NotAHost),
            (long_label.as_str(), HostError::TooLong),
            (long_name.as_str(), HostError::TooLong),
        ];
        for (text, expected) in cases {
            assert_eq!(Host::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn every_reason_is_a_sentence() {
        let cases = [
            (HostError::Empty, "the host is missing"),
            (HostError::Brackets, "the host begins with [ and does not end with ]"),
            (HostError::NotIpv6, "no IPv6 address stands in the brackets"),
            (HostError::Scope, "an IPv6 address has no scope id (%) here"),
            (HostError::Ipv6WithoutBrackets, "an IPv6 address stands in brackets: [::1]"),
            (
                HostError::Character('\n'),
                "a host has only letters, digits, - . and _, not '\\n' (U+000A)",
            ),
            (HostError::Hyphen, "a host does not begin with -"),
            (HostError::TooLong, "a host has at most 253 characters, and 63 between dots"),
            (HostError::EmptyLabel, "something is missing between the dots of the host"),
            (HostError::NotAHost, "this is neither a host name nor an address"),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }
}
