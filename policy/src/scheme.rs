//! Schemes of targets, and the transport daemons that each of them takes.

use std::collections::BTreeMap;

/// Which transport daemons carry a connection of which scheme, in their order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schemes(BTreeMap<Box<str>, Vec<Box<str>>>);

/// How well a scheme protects what it carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// Encrypted, and the far end proves who it is.
    Encrypted,
    /// Readable and changeable on its way.
    Plain,
    /// A daemon that we know nothing of answers for it.
    Unknown,
}

impl Default for Schemes {
    /// The built-in ones: `tcp`, `udp`, `tls`, `ws` and `wss`.
    fn default() -> Self {
        let built_in: [(&str, &[&str]); 5] = [
            ("tcp", &["tcp"]),
            ("udp", &["udp"]),
            ("tls", &["tcp", "tls"]),
            ("ws", &["tcp", "ws"]),
            ("wss", &["tcp", "tls", "ws"]),
        ];
        let boxed = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        Self(built_in.into_iter().map(|(name, stack)| (name.into(), boxed(stack))).collect())
    }
}

impl Schemes {
    /// The names of the transport daemons of `scheme`, innermost first; `None` if it is unknown.
    #[must_use]
    pub fn stack(&self, scheme: &str) -> Option<&[Box<str>]> {
        self.0.get(scheme).map(Vec::as_slice)
    }

    /// Adds `scheme`, unless there is one of this name already; says whether it did.
    pub fn add(&mut self, scheme: &str, stack: Vec<Box<str>>) -> bool {
        if self.0.contains_key(scheme) || stack.is_empty() {
            return false;
        }
        self.0.insert(scheme.into(), stack);
        true
    }

    /// All schemes, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// Whether addresses of the far end are known to us: they are not where a third party's daemon
    /// does the connecting.
    #[must_use]
    pub fn dials_addresses(&self, scheme: &str) -> bool {
        let first = self.stack(scheme).and_then(<[_]>::first);
        first.is_some_and(|daemon| matches!(daemon.as_ref(), "tcp" | "udp"))
    }

    /// Whether the far end, or a peer that comes by this scheme, can prove names.
    #[must_use]
    pub fn proves_names(&self, scheme: &str) -> bool {
        self.has(scheme, "tls")
    }

    /// Whether what the daemon `name` reports as proven about a peer counts.
    #[must_use]
    pub fn daemon_proves_names(&self, name: &str) -> bool {
        name == "tls"
    }

    /// The daemon that comes after `daemon` in the stack of `scheme`.
    #[must_use]
    pub fn after(&self, scheme: &str, daemon: &str) -> Option<&str> {
        let stack = self.stack(scheme).unwrap_or_default();
        let at = stack.iter().position(|one| one.as_ref() == daemon)?;
        stack.get(at + 1).map(AsRef::as_ref)
    }

    /// Whether the daemon `name` takes part in `scheme`.
    #[must_use]
    pub fn has(&self, scheme: &str, name: &str) -> bool {
        self.stack(scheme).unwrap_or_default().iter().any(|daemon| daemon.as_ref() == name)
    }

    /// How well `scheme` protects what it carries.
    #[must_use]
    pub fn protection(&self, scheme: &str) -> Protection {
        let stack = self.stack(scheme).unwrap_or_default();
        if self.has(scheme, "tls") {
            Protection::Encrypted
        } else if stack.iter().all(|daemon| matches!(daemon.as_ref(), "tcp" | "udp" | "ws")) {
            Protection::Plain
        } else {
            Protection::Unknown
        }
    }
}

/// The port between two of our own far ends, where a target or rule names none.
#[must_use]
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "tcp" | "udp" => Some(9000),
        "tls" => Some(9001),
        "ws" => Some(80),
        "wss" => Some(443),
        _ => None,
    }
}

/// Whether `text` can be a scheme: a lower-case letter, then lower-case letters, digits, `+ - .`
#[must_use]
pub fn is_scheme(text: &str) -> bool {
    let rest = text.strip_prefix(|first: char| first.is_ascii_lowercase());
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    rest.is_some_and(|rest| rest.chars().all(fits)) && text.len() <= SCHEME_LENGTH_MOST
}

const SCHEME_LENGTH_MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_those_of_the_design_and_are_extended_by_name() {
        let mut schemes = Schemes::default();
        let stack = |schemes: &Schemes, name: &str| schemes.stack(name).map(<[_]>::concat);
        assert_eq!(stack(&schemes, "wss").as_deref(), Some("tcptlsws"));
        assert_eq!(stack(&schemes, "tor"), None);
        assert!(schemes.add("tor", vec!["tor".into()]));
        assert!(!schemes.add("tcp", vec!["evil".into()]), "built-in ones stay");
        assert!(!schemes.add("none", Vec::new()), "a scheme without a daemon carries nothing");
        assert!(schemes.dials_addresses("wss") && !schemes.dials_addresses("tor"));
        assert_eq!(schemes.names().collect::<Vec<_>>(), ["tcp", "tls", "tor", "udp", "ws", "wss"]);
        assert_eq!(schemes.after("wss", "tcp"), Some("tls"));
        assert_eq!((schemes.after("tls", "tls"), schemes.after("tcp", "tls")), (None, None));
        assert_eq!(schemes.protection("wss"), Protection::Encrypted);
        assert_eq!(schemes.protection("ws"), Protection::Plain);
        assert_eq!(schemes.protection("tor"), Protection::Unknown);
    }

    #[test]
    fn a_scheme_is_a_lower_case_word() {
        for (text, expected) in [
            ("tcp", true),
            ("a+b-c.9", true),
            ("", false),
            ("9p", false),
            ("TCP", false),
            ("a_b", false),
        ] {
            assert_eq!(is_scheme(text), expected, "{text}");
        }
        assert!(is_scheme(&"a".repeat(32)) && !is_scheme(&"a".repeat(33)));
    }
}
