//! The text of a SUBJECT.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Account, Proof, Subject};
use crate::accounts::{Accounts, NotAnId, is_account_name, parse_id};
use crate::address::{AddressError, parse_network, single};
use crate::host::{Host, HostError};
use crate::pattern::Pattern;
use crate::peer::Kind;

impl Subject {
    /// Reads one SUBJECT, and looks its account up.
    ///
    /// # Errors
    ///
    /// [`SubjectError`] says what the author has to change.
    pub fn parse(text: &str, accounts: &dyn Accounts) -> Result<Self, SubjectError> {
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        let (kind, value) = text.split_once(':').ok_or_else(|| unknown(text))?;
        match kind {
            "user" => Ok(Self::User(account(value, |name| accounts.uid(name))?)),
            "group" => Ok(Self::Group(account(value, |name| accounts.gid(name))?)),
            "unit" => Ok(Self::Unit(unit(value, accounts)?)),
            "user-unit" => Ok(Self::UserUnit(unit(value, accounts)?)),
            "socket" => Ok(Self::Socket(socket(value)?)),
            "net" => Ok(Self::Network(network(value)?)),
            _ => match Kind::of_name(kind) {
                Some(kind) => Ok(Self::Proof(Proof { kind, value: proof(kind, value)? })),
                None => Err(unknown(kind)),
            },
        }
    }
}

fn unknown(text: &str) -> SubjectError {
    SubjectError::Unknown(text.chars().take(64).collect())
}

fn account(text: &str, look_up: impl Fn(&str) -> Option<u32>) -> Result<Account, SubjectError> {
    let id = match parse_id(text) {
        Some(id) => Some(id?),
        None if is_account_name(text) => look_up(text).filter(|id| *id != u32::MAX),
        None => return Err(SubjectError::Account),
    };
    Ok(Account { text: text.into(), id })
}

/// A unit's whole name, as the manager has it: with its type behind the last dot.
fn unit(text: &str, accounts: &dyn Accounts) -> Result<Pattern, SubjectError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*".contains(c);
    if text.is_empty() || text.len() > LENGTH_MOST || !text.chars().all(fits) {
        return Err(SubjectError::Unit);
    }
    if !text.contains(['.', '*']) {
        return Err(SubjectError::UnitType(text.into()));
    }
    if accounts.tells_units() { Ok(Pattern::of_units(text)) } else { Err(SubjectError::NoUnits) }
}

/// Bytes of the longest name of a unit, of a socket (both systemd's limit), and of what is proven.
const LENGTH_MOST: usize = 255;

fn socket(text: &str) -> Result<Box<str>, SubjectError> {
    let fits = |c: char| c.is_ascii_graphic() && !":\"#".contains(c);
    if text.is_empty() || text.len() > LENGTH_MOST || !text.chars().all(fits) {
        return Err(SubjectError::Socket);
    }
    Ok(text.into())
}

fn network(text: &str) -> Result<IpNet, SubjectError> {
    let bare: Option<IpAddr> = text.trim_matches(['[', ']']).parse().ok();
    if let Some(address) = bare {
        return Ok(single(address));
    }
    let bracketed = format!("[{text}]");
    let is_bare_ipv6 = text.contains(':') && !text.starts_with('[');
    Ok(parse_network(if is_bare_ipv6 { &bracketed } else { text })?)
}

fn proof(kind: Kind, text: &str) -> Result<Pattern, SubjectError> {
    match kind {
        Kind::Dns => dns(text),
        Kind::Uri => {
            let named = text.split_once("://").is_some_and(|(scheme, rest)| {
                text.len() <= LENGTH_MOST
                    && !scheme.contains('*')
                    && is_word(scheme)
                    && is_word(&rest.replace('*', "x"))
            });
            if named { Ok(Pattern::new(text)) } else { Err(SubjectError::Uri) }
        }
        Kind::Pin => {
            let digest = text.strip_prefix("sha256-").filter(|digest| digest.len() == DIGEST);
            let fits = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
            let fits = digest.is_some_and(|digest| digest.chars().all(fits));
            if fits { Ok(Pattern::new(text)) } else { Err(SubjectError::Pin) }
        }
        Kind::Key | Kind::Login if is_word(text) => Ok(Pattern::new(text)),
        Kind::Key | Kind::Login => Err(SubjectError::Word(kind)),
    }
}

/// Whether rules can name what is called so.
pub(crate) fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !"*\"#".contains(c);
    !text.is_empty() && text.len() <= LENGTH_MOST && text.chars().all(fits)
}

/// Characters of a SHA-256 digest in base64.
const DIGEST: usize = 44;

/// A name, or `*.NAME`, in the one form in which hosts are compared.
fn dns(text: &str) -> Result<Pattern, SubjectError> {
    let (wild, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    match Host::parse(name) {
        Ok(Host::Name(name)) => Ok(Pattern::new(&format!("{wild}{name}"))),
        Ok(_) => Err(SubjectError::DnsAddress),
        Err(error) => Err(SubjectError::Dns(error)),
    }
}

/// Why a text is not a SUBJECT, or why some are none together.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SubjectError {
    /// No such kind.
    Unknown(Box<str>),
    /// What no user or group is called.
    Account,
    /// A number that no account has.
    Id(NotAnId),
    /// What no unit is called.
    Unit,
    /// A unit's name without its type.
    UnitType(Box<str>),
    /// This host cannot tell in which unit a client is.
    NoUnits,
    /// `user-unit:` without `user:`.
    UserUnitAlone,
    /// What no socket is called.
    Socket,
    /// What stands behind `net:` is no network.
    Network(AddressError),
    /// What stands behind `dns:` is no name.
    Dns(HostError),
    /// What stands behind `dns:` is an address.
    DnsAddress,
    /// What stands behind `uri:` is none.
    Uri,
    /// What stands behind `pin:` is none.
    Pin,
    /// What stands behind `key:` or `login:` is no word.
    Word(Kind),
    /// `anonymous` beside something that is proven.
    AnonymousProof,
}

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(
                f,
                "unknown subject {}; there are user:, group:, unit:, user-unit: and socket: for \
                 programs of this host, dns:, uri:, pin:, key:, login:, net: and anonymous for peers",
                text.escape_debug()
            ),
            Self::Account => f.write_str(
                "no account can have this name: it has A-Z a-z 0-9 . _ - @ + and begins with none \
                 of the last three",
            ),
            Self::Id(error) => error.fmt(f),
            Self::Unit => write!(
                f,
                "a unit has 1 to {LENGTH_MOST} of A-Z a-z 0-9 : - _ . \\ @, and * for any of them"
            ),
            Self::UnitType(text) => write!(f, "a unit is named with its type: {text}.service"),
            Self::NoUnits => f.write_str(
                "on this kernel nobody can tell in which unit a client is: units in rules want \
                 Linux 6.5 or newer; name the user instead",
            ),
            Self::UserUnitAlone => f.write_str(
                "user-unit: stands only beside user:, since every user may call a unit as he likes",
            ),
            Self::Socket => write!(
                f,
                "a socket has the name that systemd gives its descriptor: 1 to {LENGTH_MOST} \
                 printable characters without : # \""
            ),
            Self::Network(error) => error.fmt(f),
            Self::Dns(error) => error.fmt(f),
            Self::DnsAddress => {
                f.write_str("dns: is followed by a name; for an address write net:ADDRESS")
            }
            Self::Uri => write!(
                f,
                "a uri is SCHEME://REST, printable and without blanks, of at most {LENGTH_MOST} \
                 characters; * stands for any of them but : and /"
            ),
            Self::Pin => f.write_str("a pin is sha256- and 44 characters of base64"),
            Self::Word(kind) => write!(
                f,
                "{kind}: is followed by a word of at most {LENGTH_MOST} printable characters \
                 without * # \""
            ),
            Self::AnonymousProof => {
                f.write_str("of an anonymous peer nothing is proven: beside it only net: can stand")
            }
        }
    }
}

impl std::error::Error for SubjectError {}

impl From<NotAnId> for SubjectError {
    fn from(error: NotAnId) -> Self {
        Self::Id(error)
    }
}

impl From<AddressError> for SubjectError {
    fn from(error: AddressError) -> Self {
        Self::Network(error)
    }
}
