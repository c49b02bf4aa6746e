//! The SUBJECTs of a rule: who asks, or which peer.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use libipc::identity::{LocalIdentity, RemoteIdentity};

use crate::accounts::{Accounts, NotAnId, is_account_name, parse_id};
use crate::address::{AddressError, parse_network, single};
use crate::fact::Fact;

/// Who a rule is about. Several kinds must all hold, several of one kind are alternatives; none at
/// all is everybody.
///
/// `Display` is the canonical text, for example `user:shop,group:www`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subjects {
    /// Users of this host.
    pub users: Vec<Account>,
    /// Groups of this host.
    pub groups: Vec<Account>,
    /// Networks that a peer's address lies in.
    pub networks: Vec<IpNet>,
    /// Whether a peer is meant of which nothing is proven.
    pub anonymous: bool,
}

/// A user or group of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The name or number as written.
    pub text: Box<str>,
    /// The id; `None` while no account has this name. Then it is nobody: it matches no asker, and
    /// an asker is known not to be it.
    pub id: Option<u32>,
}

/// One SUBJECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// `user:NAME` or `user:UID`.
    User(Account),
    /// `group:NAME` or `group:GID`.
    Group(Account),
    /// `net:CIDR`.
    Network(IpNet),
    /// `anonymous`.
    Anonymous,
}

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
            "net" => Ok(Self::Network(network(value)?)),
            _ => match LATER.iter().find(|later| **later == kind) {
                Some(later) => Err(SubjectError::NotInThisVersion(later)),
                None => Err(unknown(kind)),
            },
        }
    }

    /// Whether this is about processes of this host; otherwise it is about peers.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::User(_) | Self::Group(_))
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

fn network(text: &str) -> Result<IpNet, SubjectError> {
    let bare: Option<IpAddr> = text.trim_matches(['[', ']']).parse().ok();
    if let Some(address) = bare {
        return Ok(single(address));
    }
    let bracketed = format!("[{text}]");
    let is_bare_ipv6 = text.contains(':') && !text.starts_with('[');
    Ok(parse_network(if is_bare_ipv6 { &bracketed } else { text })?)
}

/// Kinds of SUBJECT that the design has and this version does not.
const LATER: [&str; 8] = ["unit", "user-unit", "socket", "dns", "uri", "pin", "key", "login"];

impl Subjects {
    /// Adds one more.
    pub fn add(&mut self, subject: Subject) {
        match subject {
            Subject::User(account) => self.users.push(account),
            Subject::Group(account) => self.groups.push(account),
            Subject::Network(network) => self.networks.push(network),
            Subject::Anonymous => self.anonymous = true,
        }
    }

    /// Whether everybody is meant.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.users.is_empty()
            && self.groups.is_empty()
            && self.networks.is_empty()
            && !self.anonymous
    }

    /// The accounts that do not exist, each as `user:NAME` or `group:NAME`.
    #[must_use]
    pub fn dormant(&self) -> Vec<String> {
        let missing = |kind: &'static str, accounts: &[Account]| -> Vec<String> {
            let without_id = accounts.iter().filter(|account| account.id.is_none());
            without_id.map(|account| format!("{kind}:{}", account.text)).collect()
        };
        [missing("user", &self.users), missing("group", &self.groups)].concat()
    }

    /// Looks up again what did not exist. Returns how many exist now.
    pub fn wake(&mut self, accounts: &dyn Accounts) -> usize {
        let users = self.users.iter_mut().map(|user| (user, true));
        let groups = self.groups.iter_mut().map(|group| (group, false));
        let mut woken = 0;
        for (account, is_user) in users.chain(groups).filter(|(account, _)| account.id.is_none()) {
            let name = &account.text;
            account.id = if is_user { accounts.uid(name) } else { accounts.gid(name) };
            woken += usize::from(account.id.is_some());
        }
        woken
    }

    /// Whether a process of this host is one of these.
    #[must_use]
    pub fn match_local(&self, asker: &LocalIdentity) -> Fact {
        let user = any_of(&self.users, |id| Fact::known(asker.uid.map(|uid| uid == id)));
        let group = any_of(&self.groups, |id| in_group(asker, id));
        user.and(group)
    }

    /// Whether a peer is one of these.
    #[must_use]
    pub fn match_remote(&self, peer: &RemoteIdentity) -> Fact {
        let address = peer.address.to_canonical();
        let inside = self.networks.iter().any(|network| network.contains(&address));
        let network = self.networks.is_empty() || inside;
        let anonymous = !self.anonymous || peer.names.is_empty();
        Fact::from(network && anonymous)
    }
}

fn any_of(accounts: &[Account], is: impl Fn(u32) -> Fact) -> Fact {
    if accounts.is_empty() {
        return Fact::True;
    }
    accounts.iter().filter_map(|account| account.id).map(is).fold(Fact::False, Fact::or)
}

fn in_group(asker: &LocalIdentity, gid: u32) -> Fact {
    let primary = Fact::known(asker.gid.map(|own| own == gid));
    let others = Fact::known(asker.groups.as_ref().map(|groups| groups.contains(&gid)));
    primary.or(others)
}

impl fmt::Display for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = self.users.iter().map(|user| format!("user:{}", user.text));
        let groups = self.groups.iter().map(|group| format!("group:{}", group.text));
        let networks = self.networks.iter().map(|network| format!("net:{network}"));
        let anonymous = self.anonymous.then(|| "anonymous".to_owned());
        let all: Vec<_> = users.chain(groups).chain(networks).chain(anonymous).collect();
        f.write_str(&all.join(","))
    }
}

/// Why a text is not a SUBJECT.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SubjectError {
    /// A kind that the design has and this version does not.
    NotInThisVersion(&'static str),
    /// No such kind.
    Unknown(Box<str>),
    /// What no user or group is called.
    Account,
    /// A number that no account has.
    Id(NotAnId),
    /// What stands behind `net:` is no network.
    Network(AddressError),
}

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInThisVersion(kind) => write!(f, "{kind}: is not in this version"),
            Self::Unknown(text) => write!(
                f,
                "unknown subject {}; there are user:, group:, net: and anonymous",
                text.escape_debug()
            ),
            Self::Account => f.write_str("no account can have this name"),
            Self::Id(error) => error.fmt(f),
            Self::Network(error) => error.fmt(f),
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
