//! What a configuration needs to know of its host, asked while it is loaded: users, groups, units.

/// What this host can tell about who asks. Asked while a configuration is loaded, never while a
/// request is decided.
pub trait Accounts {
    /// The id of the user `name`; `None` if there is none.
    fn uid(&self, name: &str) -> Option<u32>;

    /// The id of the group `name`; `None` if there is none.
    fn gid(&self, name: &str) -> Option<u32>;

    /// The groups of the user `name`, by name or number, the primary one first; empty if that is not
    /// known. Asked only about somebody whom a question describes by his name alone.
    fn groups_of(&self, _name: &str) -> Vec<u32> {
        Vec::new()
    }

    /// Whether the unit of a client can be found out without a race. Where it cannot, a rule with
    /// a unit is an error: it would deny or allow by something that nobody knows.
    fn tells_units(&self) -> bool {
        true
    }
}

/// A host without named accounts: numbers are all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAccounts;

impl Accounts for NoAccounts {
    fn uid(&self, _name: &str) -> Option<u32> {
        None
    }

    fn gid(&self, _name: &str) -> Option<u32> {
        None
    }
}

/// The id that `text` is, if it is a number. `4294967295` is no id: the kernel reads it as
/// "unchanged".
#[must_use]
pub fn parse_id(text: &str) -> Option<Result<u32, NotAnId>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().ok().filter(|id| *id != u32::MAX).ok_or(NotAnId))
}

/// A number that no account has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotAnId;

impl std::fmt::Display for NotAnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a number of an account is from 0 to {}", u32::MAX - 1)
    }
}

impl std::error::Error for NotAnId {}

/// Whether `text` can be the name of a user or group.
#[must_use]
pub fn is_account_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    let body = text.strip_suffix('$').unwrap_or(text);
    let first = body.chars().next().unwrap_or('-');
    !matches!(first, '-' | '@' | '+') && body.chars().all(fits) && text.len() <= 256
}
