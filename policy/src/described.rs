//! Somebody whom rules are tried on: in a `[[test]]`, or in a question about somebody else.
//!
//! Whatever a description leaves out is something that no rule names: a user and a unit of whom
//! no line speaks, no further group, no user's unit, the ordinary socket. So a test reads as it is
//! written: `as = { unit = "shop.service" }` is the shop, and nothing else about it matters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use libipc::identity::{LocalIdentity, RemoteIdentity};
use libipc::interface::broker::Subject;

use crate::accounts::{Accounts, NotAnId, is_account_name, parse_id};
use crate::host::{Host, HostError};
use crate::peer::Kind;
use crate::scheme::Schemes;
use crate::subject::{self, SubjectError};

/// The user and group of whom no rule speaks.
pub(crate) const UNNAMED: u32 = u32::MAX - 2;

/// The process of this host that `subject` describes.
///
/// # Errors
///
/// [`DescribedError`] if a name or number in it is none, or is one that `accounts` does not have.
pub fn program(
    subject: &Subject,
    accounts: &dyn Accounts,
) -> Result<LocalIdentity, DescribedError> {
    let Subject { user, groups, unit, user_unit, socket, login } = subject;
    let uid = match user {
        None => UNNAMED,
        Some(name) => id(name, "user", |name| accounts.uid(name))?,
    };
    let gids = match groups {
        None => user.as_ref().map(|name| accounts.groups_of(name)).unwrap_or_default(),
        Some(names) => names
            .iter()
            .map(|name| id(name, "group", |name| accounts.gid(name)))
            .collect::<Result<_, _>>()?,
    };
    for name in unit.iter().chain(user_unit) {
        let is_whole = !name.contains('*');
        if !is_whole || subject::Subject::parse(&format!("unit:{name}"), &AnyUnit).is_err() {
            return Err(DescribedError::Unit);
        }
    }
    Ok(LocalIdentity {
        pid: None,
        uid: Some(uid),
        gid: Some(gids.first().copied().unwrap_or(UNNAMED)),
        groups: Some(gids),
        unit: Some(unit.clone().unwrap_or_default()),
        user_unit: user_unit.clone(),
        socket: socket.clone(),
        logins: login.iter().cloned().collect(),
    })
}

/// A host of whose units everything is known and whose accounts do not matter.
struct AnyUnit;

impl Accounts for AnyUnit {
    fn uid(&self, _name: &str) -> Option<u32> {
        None
    }

    fn gid(&self, _name: &str) -> Option<u32> {
        None
    }
}

fn id(
    text: &str,
    kind: &'static str,
    look_up: impl Fn(&str) -> Option<u32>,
) -> Result<u32, DescribedError> {
    match parse_id(text) {
        Some(id) => Ok(id?),
        None if is_account_name(text) => {
            look_up(text).ok_or_else(|| DescribedError::Missing { kind, name: text.into() })
        }
        None => Err(DescribedError::Account),
    }
}

/// Reads a description as it stands on a command line: `user:www,group:shop,unit:shop.service`.
///
/// # Errors
///
/// [`DescribedError`] if something is of no known kind, or one of a kind is there twice.
pub fn parse_program(text: &str) -> Result<Subject, DescribedError> {
    let mut subject = Subject::default();
    for part in text.split(',') {
        let (kind, value) = part.split_once(':').ok_or(DescribedError::Kind)?;
        let value = value.to_owned();
        let place = match kind {
            "user" => &mut subject.user,
            "unit" => &mut subject.unit,
            "user-unit" => &mut subject.user_unit,
            "socket" => &mut subject.socket,
            "login" => &mut subject.login,
            "group" => {
                subject.groups.get_or_insert_default().push(value);
                continue;
            }
            _ => return Err(DescribedError::Kind),
        };
        if place.replace(value).is_some() {
            return Err(DescribedError::Twice);
        }
    }
    Ok(subject)
}

/// A described process for people: `user www, unit shop.service`.
#[must_use]
pub fn program_text(subject: &Subject) -> String {
    let Subject { user, groups, unit, user_unit, socket, login } = subject;
    let mut facts: Vec<String> = Vec::new();
    facts.extend(user.iter().map(|name| format!("user {name}")));
    facts.extend(groups.iter().flatten().map(|name| format!("group {name}")));
    facts.extend(unit.iter().map(|name| format!("unit {name}")));
    facts.extend(user_unit.iter().map(|name| format!("user unit {name}")));
    facts.extend(socket.iter().map(|name| format!("socket {name}")));
    facts.extend(login.iter().map(|name| format!("login {name}")));
    if facts.is_empty() { "somebody".to_owned() } else { facts.join(", ") }
}

/// The peer on another host that `text` describes: `SCHEME:HOST[,KIND:VALUE]…`. A HOST that is a
/// name is proven as `dns:`; of the address nothing is known then.
///
/// # Errors
///
/// [`DescribedError`] if the scheme is unknown, the host is none, or what is said to be proven is
/// of no known kind, or cannot be proven by this scheme.
pub fn peer(text: &str, schemes: &Schemes) -> Result<RemoteIdentity, DescribedError> {
    let mut parts = text.split(',');
    let place = parts.next().unwrap_or_default();
    let (scheme, host) = place.split_once(':').ok_or(DescribedError::Peer)?;
    if schemes.stack(scheme).is_none() {
        return Err(DescribedError::Scheme(schemes.names().collect::<Vec<_>>().join(", ").into()));
    }
    let mut names = Vec::new();
    let mut address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match Host::parse(host).map_err(|error| unusable_host(host, error))? {
        Host::Name(name) => names.push(format!("dns:{name}")),
        Host::V4(known) => address = known.into(),
        Host::V6(known) => address = known.into(),
    }
    for part in parts {
        let (kind, value) = part.split_once(':').ok_or(DescribedError::Proof)?;
        if Kind::of_name(kind).is_none() || value.is_empty() {
            return Err(DescribedError::Proof);
        }
        names.push(part.to_owned());
    }
    if !names.is_empty() && !schemes.proves_names(scheme) {
        return Err(DescribedError::NoProof(scheme.into()));
    }
    Ok(RemoteIdentity { scheme: scheme.to_owned(), address, names })
}

/// Why a peer is not at `host`: often it was written as a target is.
fn unusable_host(host: &str, error: HostError) -> DescribedError {
    match host.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && Host::parse(host).is_ok() => {
            DescribedError::Port(port.into())
        }
        _ => error.into(),
    }
}

/// Accounts that exist because a text names them. `root` is who he always is.
#[derive(Debug, Default)]
pub(crate) struct Invented(RefCell<HashMap<Box<str>, u32>>);

impl Invented {
    fn id(&self, kind: &str, name: &str) -> u32 {
        if name == "root" {
            return 0;
        }
        let mut known = self.0.borrow_mut();
        let next = FIRST_INVENTED + u32::try_from(known.len()).unwrap_or_default();
        *known.entry(format!("{kind}:{name}").into()).or_insert(next)
    }
}

/// Above the ids that any host gives to anybody, and that anybody writes into a rule.
const FIRST_INVENTED: u32 = 0xf000_0000;

impl Accounts for Invented {
    fn uid(&self, name: &str) -> Option<u32> {
        Some(self.id("user", name))
    }

    fn gid(&self, name: &str) -> Option<u32> {
        Some(self.id("group", name))
    }
}

/// Why nobody is described.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DescribedError {
    /// Something of no known kind.
    Kind,
    /// Two of a kind of which there is one.
    Twice,
    /// What no user or group is called.
    Account,
    /// A number that no account has.
    Id(NotAnId),
    /// An account that does not exist.
    Missing {
        /// User or group.
        kind: &'static str,
        /// Its name.
        name: Box<str>,
    },
    /// What no unit is called.
    Unit,
    /// No `SCHEME:HOST`.
    Peer,
    /// No such scheme; there are these.
    Scheme(Box<str>),
    /// No such host.
    Host(HostError),
    /// A port, which is another one each time that a peer comes.
    Port(Box<str>),
    /// What a peer is said to have proven is of no known kind.
    Proof,
    /// Something proven, by a scheme that proves nothing.
    NoProof(Box<str>),
}

impl fmt::Display for DescribedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str(
                "a program is described by user:, group:, unit:, user-unit:, socket: and login:, with \
                 commas between them",
            ),
            Self::Twice => f.write_str("a program has one user, one unit, one socket and one login"),
            Self::Account => SubjectError::Account.fmt(f),
            Self::Id(error) => error.fmt(f),
            Self::Missing { kind, name } => write!(f, "there is no {kind} {name} on this host"),
            Self::Unit => f.write_str(
                "a unit is named as its manager does, with its type and without *: shop.service",
            ),
            Self::Peer => f.write_str(
                "a peer is SCHEME:HOST, for example tls:web1.example.com or tcp:192.0.2.7, and \
                 behind it, with commas, what else it has proven",
            ),
            Self::Scheme(known) => write!(f, "there is no such scheme; there are {known}"),
            Self::Host(error) => error.fmt(f),
            Self::Port(port) => write!(f, "a peer has no port: leave out `:{port}`"),
            Self::Proof => f.write_str(
                "what a peer has proven is dns:NAME, uri:NAME, pin:sha256-…, key:NAME or \
                 login:NAME",
            ),
            Self::NoProof(scheme) => {
                write!(f, "over {scheme} a peer proves nothing but its address")
            }
        }
    }
}

impl std::error::Error for DescribedError {}

impl From<NotAnId> for DescribedError {
    fn from(error: NotAnId) -> Self {
        Self::Id(error)
    }
}

impl From<HostError> for DescribedError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

#[cfg(test)]
mod tests;
