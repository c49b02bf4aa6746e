//! A peer on another host, as rules see it: what counts of what is said about it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use libipc::identity::RemoteIdentity;

use crate::fact::Fact;
use crate::scheme::Schemes;
use crate::subject::is_word;

/// A peer with the facts that rules may rely on.
///
/// Names count only if the peer came by a scheme that proves them. The unspecified address is
/// nobody's: it stands for one that is not known.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'p> {
    /// How it came.
    pub scheme: &'p str,
    /// Its address, in canonical form; `None` if it is not known.
    pub address: Option<IpAddr>,
    names: &'p [String],
}

/// Kinds of what a peer can prove.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A DNS name of a verified certificate.
    Dns,
    /// A URI of a verified certificate.
    Uri,
    /// The digest of a public key.
    Pin,
    /// A key that both sides know.
    Key,
    /// A login that was verified.
    Login,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Dns, Self::Uri, Self::Pin, Self::Key, Self::Login];

    /// The word before the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Pin => "pin",
            Self::Key => "key",
            Self::Login => "login",
        }
    }

    /// The kind whose word is `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Peer<'_> {
    /// What it has proven, or else its address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            _ if !self.names.is_empty() => f.write_str(&self.names.join(", ")),
            Some(address) => address.fmt(f),
            None => f.write_str("of an unknown address"),
        }
    }
}

impl<'p> Peer<'p> {
    /// What counts of `identity`.
    #[must_use]
    pub fn of(identity: &'p RemoteIdentity, schemes: &Schemes) -> Self {
        let address = identity.address.to_canonical();
        let proves = schemes.proves_names(&identity.scheme);
        Self {
            scheme: &identity.scheme,
            address: (!address.is_unspecified()).then_some(address),
            names: if proves { &identity.names } else { &[] },
        }
    }

    /// Whether nothing is proven about it but its address.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.names.is_empty()
    }

    /// Everything of `kind` that it has proven.
    pub fn proven(&self, kind: Kind) -> impl Iterator<Item = Cow<'p, str>> + use<'p> {
        let values = self.names.iter().filter_map(move |name| {
            let (word, value) = name.split_once(':')?;
            (word == kind.as_str()).then_some(value)
        });
        // A wildcard in a certificate is the name of no host.
        let values = values.filter(move |value| kind != Kind::Dns || !value.contains('*'));
        values.map(move |value| if kind == Kind::Dns { canonical(value) } else { value.into() })
    }

    /// Whether something of `kind` that it has proven is as `wanted`; unknown if it has proven
    /// nothing of that kind.
    pub fn has_proven(&self, kind: Kind, mut wanted: impl FnMut(&str) -> bool) -> Fact {
        let mut values = self.proven(kind).peekable();
        if values.peek().is_none() {
            return Fact::Unknown;
        }
        Fact::from(values.any(|value| wanted(&value)))
    }

    /// Whether its address is in one of `networks`.
    #[must_use]
    pub fn is_inside(&self, networks: &[IpNet]) -> Fact {
        Fact::known(
            self.address.map(|address| networks.iter().any(|network| network.contains(&address))),
        )
    }
}

/// What somebody has proven who logged in as `user`: `login:USER`, and `login:@GROUP` for each of
/// his `groups`. Nothing if the user can be named in no rule, or only as a group; such a group is
/// left out.
#[must_use]
pub fn login_names(user: &str, groups: &[String]) -> Option<Vec<String>> {
    let is_name = |text: &str| is_word(text) && !text.starts_with('@') && !text.contains(',');
    let groups = groups.iter().filter(|group| is_name(group)).take(LOGIN_GROUPS_MOST);
    let groups = groups.map(|group| format!("{}:@{group}", Kind::Login));
    is_name(user)
        .then(|| std::iter::once(format!("{}:{user}", Kind::Login)).chain(groups).collect())
}

/// Groups of one login that count.
const LOGIN_GROUPS_MOST: usize = 64;

/// The form in which DNS names are compared.
fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_named_as_rules_name_it_or_not_at_all() {
        let groups = ["staff", "", "@staff", "a,b", "a b", "*"].map(ToOwned::to_owned);
        let names = login_names("alice@example.com", &groups);
        assert_eq!(names.unwrap(), ["login:alice@example.com", "login:@staff"]);
        for user in
            ["", "@staff", "a b", "a,b", "a*", "a\"", "a#", "\u{e9}", "a\n", &"a".repeat(256)]
        {
            assert_eq!(login_names(user, &[]), None, "{user}");
        }
        let many: Vec<String> = (0..100).map(|number| format!("g{number}")).collect();
        assert_eq!(login_names("a", &many).unwrap().len(), 1 + LOGIN_GROUPS_MOST);
    }
}
