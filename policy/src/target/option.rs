//! Options of a target: `?name=value&…`.

use std::fmt;
use std::net::IpAddr;

use libipc::secret::Secret;

use crate::scheme::Schemes;
use crate::target::Author;

/// One option that there is.
struct Known {
    name: &'static str,
    /// Whether a program may write it too.
    clients: bool,
    /// The daemon that reads it; empty for the one that does the connecting.
    daemon: &'static str,
    value: Wanted,
}

/// What the value of an option looks like.
#[derive(Clone, Copy)]
enum Wanted {
    Text,
    Flag,
    FlagOrSeconds,
    Address,
    Number,
    Pin,
    OneOf(&'static [&'static str]),
}

const fn client(name: &'static str, daemon: &'static str, value: Wanted) -> Known {
    Known { name, clients: true, daemon, value }
}

const fn administrator(name: &'static str, daemon: &'static str, value: Wanted) -> Known {
    Known { name, clients: false, daemon, value }
}

const OPTIONS: [Known; 13] = [
    client("keepalive", "tcp", Wanted::FlagOrSeconds),
    client("nodelay", "tcp", Wanted::Flag),
    client("pin", "tls", Wanted::Pin),
    client("starttls", "tls", Wanted::OneOf(&STARTTLS)),
    administrator("alpn", "tls", Wanted::Text),
    administrator("certificate", "tls", Wanted::Text),
    administrator("credential", "tls", Wanted::Text),
    administrator("mark", "", Wanted::Number),
    administrator("psk", "tls", Wanted::Text),
    administrator("secret-file", "tls", Wanted::Text),
    administrator("source", "", Wanted::Address),
    administrator("tls12", "tls", Wanted::Flag),
    administrator("trust", "tls", Wanted::Text),
];

const STARTTLS: [&str; 7] = ["postgres", "smtp", "imap", "pop3", "ldap", "mysql", "xmpp"];

/// Whether the transport daemon `daemon` reads the option `name`; `dials` if it does the connecting.
pub(super) fn is_for(name: &str, daemon: &str, dials: bool) -> bool {
    OPTIONS.iter().any(|known| {
        known.name == name && (known.daemon == daemon || (known.daemon.is_empty() && dials))
    })
}

/// Checks that `name` may stand in a target of `scheme` that `author` wrote, with this `value`.
/// Returns the name for keeping.
pub(super) fn check(
    name: &str,
    value: &Secret,
    author: Author,
    scheme: &str,
    schemes: &Schemes,
) -> Result<&'static str, OptionError> {
    let known = OPTIONS.iter().find(|known| known.name == name);
    let known = known.ok_or_else(|| OptionError::Unknown {
        name: name.chars().filter(char::is_ascii_graphic).take(32).collect(),
        author,
    })?;
    if author == Author::Client && !known.clients {
        return Err(OptionError::AdministratorsOnly(known.name));
    }
    let used = match known.daemon {
        "" => schemes.dials_addresses(scheme),
        daemon => schemes.has(scheme, daemon),
    };
    if !used {
        return Err(OptionError::NotOfScheme(known.name));
    }
    if known.value.fits(value.expose()) {
        Ok(known.name)
    } else {
        Err(OptionError::Value { name: known.name, wanted: known.value.description() })
    }
}

impl Wanted {
    fn fits(self, value: &str) -> bool {
        let flag = matches!(value, "true" | "false");
        match self {
            Self::Text => !value.is_empty(),
            Self::Flag => flag,
            Self::FlagOrSeconds => {
                flag || value.parse::<u16>().is_ok_and(|seconds| (1..=32767).contains(&seconds))
            }
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Number => value.parse::<u32>().is_ok(),
            Self::Pin => value.strip_prefix("sha256-").is_some_and(|digest| digest.len() == 44),
            Self::OneOf(words) => words.contains(&value),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Text => "some text",
            Self::Flag => "true or false",
            Self::FlagOrSeconds => "true, false, or seconds from 1 to 32767",
            Self::Address => "an address of this host",
            Self::Number => "a number from 0 to 4294967295",
            Self::Pin => "sha256- and 44 characters of base64",
            Self::OneOf(_) => "postgres, smtp, imap, pop3, ldap, mysql or xmpp",
        }
    }
}

/// Why an option cannot be used. Never shows a value.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OptionError {
    /// There is no such option.
    Unknown {
        /// Its name, as far as it is printable.
        name: Box<str>,
        /// Who wrote it: only what he may write is offered.
        author: Author,
    },
    /// Only administrators decide about this one, in a redirect.
    AdministratorsOnly(&'static str),
    /// No daemon of the scheme reads this option.
    NotOfScheme(&'static str),
    /// The value does not have the form that this option wants.
    Value {
        /// The option.
        name: &'static str,
        /// What it wants.
        wanted: &'static str,
    },
    /// Something between `?` and `&` that is no `name=value`.
    NoValue,
    /// An option that stands there twice.
    Twice(&'static str),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, author } => {
                let may = |known: &&Known| known.clients || *author == Author::Administrator;
                let names: Vec<_> = OPTIONS.iter().filter(may).map(|known| known.name).collect();
                write!(f, "unknown option {name}; there are {}", names.join(", "))
            }
            Self::AdministratorsOnly(name) => {
                write!(f, "the option {name} is the administrator's: it stands in redirects alone")
            }
            Self::NotOfScheme(name) => {
                write!(f, "the option {name} means nothing to a target of this scheme")
            }
            Self::Value { name, wanted } => write!(f, "the option {name} wants {wanted}"),
            Self::NoValue => f.write_str("an option is NAME=VALUE"),
            Self::Twice(name) => write!(f, "the option {name} stands there twice"),
        }
    }
}

impl std::error::Error for OptionError {}
