//! The SUBJECTs of a rule: who asks, or which peer.

use std::fmt;

use ipnet::IpNet;
use libipc::identity::LocalIdentity;

use crate::accounts::{Accounts, parse_id};
use crate::fact::Fact;
use crate::pattern::Pattern;
use crate::peer::{Kind, Peer};
use crate::rule::Direction;

mod parse;

pub(crate) use parse::is_word;

pub use parse::SubjectError;

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
    /// Units of the system's service manager.
    pub units: Vec<Pattern>,
    /// Units of a user's service manager.
    pub user_units: Vec<Pattern>,
    /// Broker sockets with a name of their own.
    pub sockets: Vec<Box<str>>,
    /// Networks that a peer's address lies in.
    pub networks: Vec<IpNet>,
    /// What a peer has proven to be.
    pub proofs: Vec<Proof>,
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

/// Something that a peer can have proven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// Of which kind.
    pub kind: Kind,
    /// What.
    pub value: Pattern,
}

/// One SUBJECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// `user:NAME` or `user:UID`.
    User(Account),
    /// `group:NAME` or `group:GID`.
    Group(Account),
    /// `unit:GLOB`.
    Unit(Pattern),
    /// `user-unit:GLOB`.
    UserUnit(Pattern),
    /// `socket:NAME`.
    Socket(Box<str>),
    /// `net:CIDR`.
    Network(IpNet),
    /// `dns:NAME`, `uri:GLOB`, `pin:sha256-…`, `key:ID` or `login:NAME`.
    Proof(Proof),
    /// `anonymous`.
    Anonymous,
}

impl Subject {
    /// Whether this can be said of whoever asks in that direction. A program that asks for what is
    /// on another host may bring a login, which is then looked at here too.
    #[must_use]
    pub fn fits(&self, direction: Direction) -> bool {
        match direction {
            Direction::In => !self.is_local(),
            Direction::Local => self.is_local(),
            Direction::Out => {
                self.is_local() || matches!(self, Self::Proof(Proof { kind: Kind::Login, .. }))
            }
        }
    }

    /// Whether this is about processes of this host; otherwise it is about peers.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::User(_)
            | Self::Group(_)
            | Self::Unit(_)
            | Self::UserUnit(_)
            | Self::Socket(_) => true,
            Self::Network(_) | Self::Proof(_) | Self::Anonymous => false,
        }
    }
}

impl Subjects {
    /// Adds one more.
    pub fn add(&mut self, subject: Subject) {
        match subject {
            Subject::User(account) => self.users.push(account),
            Subject::Group(account) => self.groups.push(account),
            Subject::Unit(pattern) => self.units.push(pattern),
            Subject::UserUnit(pattern) => self.user_units.push(pattern),
            Subject::Socket(name) => self.sockets.push(name),
            Subject::Network(network) => self.networks.push(network),
            Subject::Proof(proof) => self.proofs.push(proof),
            Subject::Anonymous => self.anonymous = true,
        }
    }

    /// What is wrong with these subjects together, if anything is.
    ///
    /// # Errors
    ///
    /// [`SubjectError`]: a user's unit without a user, or something proven about a peer of which
    /// nothing is.
    pub fn check(&self) -> Result<(), SubjectError> {
        if !self.user_units.is_empty() && self.users.is_empty() {
            return Err(SubjectError::UserUnitAlone);
        }
        if self.anonymous && !self.proofs.is_empty() {
            return Err(SubjectError::AnonymousProof);
        }
        Ok(())
    }

    /// Whether it has to be known in which unit the asker runs.
    #[must_use]
    pub fn asks_about_units(&self) -> bool {
        !self.units.is_empty() || !self.user_units.is_empty()
    }

    /// Whether everybody is meant.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self == &Self::default()
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
        let mut woken = 0;
        self.look_up(accounts, &mut |account, found| {
            let sleeps = account.id.is_none();
            woken += usize::from(sleeps && found.is_some());
            account.id = if sleeps { found } else { account.id };
        });
        woken
    }

    /// Takes all accounts that have a name for those that `accounts` has by this name.
    pub(crate) fn rename(&mut self, accounts: &dyn Accounts) {
        self.look_up(accounts, &mut |account, found| account.id = found);
    }

    /// Looks up every account that has a name, and shows what was found to `change`.
    fn look_up(
        &mut self,
        accounts: &dyn Accounts,
        change: &mut dyn FnMut(&mut Account, Option<u32>),
    ) {
        let named = |account: &&mut Account| parse_id(&account.text).is_none();
        for user in self.users.iter_mut().filter(named) {
            let found = accounts.uid(&user.text);
            change(user, found);
        }
        for group in self.groups.iter_mut().filter(named) {
            let found = accounts.gid(&group.text);
            change(group, found);
        }
    }

    /// Whether a process of this host is one of these.
    #[must_use]
    pub fn match_local(&self, asker: &LocalIdentity) -> Fact {
        let user = any_account(&self.users, |id| Fact::known(asker.uid.map(|uid| uid == id)));
        let group = any_account(&self.groups, |id| in_group(asker, id));
        let unit = any(&self.units, |pattern| match &asker.unit {
            Some(unit) => Fact::from(pattern.matches(unit)),
            None => Fact::Unknown,
        });
        let user_unit = any(&self.user_units, |pattern| in_user_unit(asker, pattern));
        // Through which socket a client came is always known: none is the ordinary one.
        let socket = any(&self.sockets, |name| Fact::from(asker.socket.as_deref() == Some(name)));
        let login = self.match_logins(&asker.logins);
        user.and(group).and(unit).and(user_unit).and(socket).and(login)
    }

    /// Whether somebody who has logged in as these is meant; unknown if that is nobody.
    fn match_logins(&self, logins: &[String]) -> Fact {
        let mut wanted = self.logins().peekable();
        match (wanted.peek().is_none(), logins.is_empty()) {
            (true, _) => Fact::True,
            (false, true) => Fact::Unknown,
            _ => Fact::from(wanted.any(|one| logins.iter().any(|login| one.matches(login)))),
        }
    }

    /// The logins that are meant, any of them.
    pub(crate) fn logins(&self) -> impl Iterator<Item = &Pattern> {
        let logins = self.proofs.iter().filter(|proof| proof.kind == Kind::Login);
        logins.map(|proof| &proof.value)
    }

    /// Whether it has to be known whom the asker has logged in as.
    #[must_use]
    pub fn asks_about_logins(&self) -> bool {
        self.logins().next().is_some()
    }

    /// The kinds of subjects of which `fact` is so for a process of this host, as they are written:
    /// what keeps a rule from being about it, or what is not known of it.
    pub(crate) fn kinds_that_are(&self, fact: Fact, asker: &LocalIdentity) -> String {
        let none = Self::default;
        let kinds = [
            Self { users: self.users.clone(), ..none() },
            Self { groups: self.groups.clone(), ..none() },
            Self { units: self.units.clone(), ..none() },
            Self { user_units: self.user_units.clone(), ..none() },
            Self { sockets: self.sockets.clone(), ..none() },
            Self { proofs: self.proofs.clone(), ..none() },
        ];
        let are =
            kinds.iter().filter(|kind| !kind.is_everybody() && kind.match_local(asker) == fact);
        are.map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// Whether a peer is one of these.
    #[must_use]
    pub fn match_remote(&self, peer: &Peer<'_>) -> Fact {
        let network = any(&self.networks, |network| peer.is_inside(std::slice::from_ref(network)));
        let anonymous = Fact::from(!self.anonymous || peer.is_anonymous());
        let proofs = Kind::ALL.into_iter().map(|kind| self.match_proofs(kind, peer));
        proofs.fold(network.and(anonymous), Fact::and)
    }

    fn match_proofs(&self, kind: Kind, peer: &Peer<'_>) -> Fact {
        let mut wanted = self.proofs.iter().filter(|proof| proof.kind == kind).peekable();
        if wanted.peek().is_none() {
            return Fact::True;
        }
        peer.has_proven(kind, |value| wanted.clone().any(|proof| proof.value.matches(value)))
    }
}

/// Whether one of `wanted` holds; nothing wanted holds always.
fn any<T>(wanted: &[T], is: impl Fn(&T) -> Fact) -> Fact {
    if wanted.is_empty() {
        return Fact::True;
    }
    wanted.iter().map(is).fold(Fact::False, Fact::or)
}

fn any_account(accounts: &[Account], is: impl Fn(u32) -> Fact) -> Fact {
    any(accounts, |account| account.id.map_or(Fact::False, &is))
}

fn in_group(asker: &LocalIdentity, gid: u32) -> Fact {
    let primary = Fact::known(asker.gid.map(|own| own == gid));
    let others = Fact::known(asker.groups.as_ref().map(|groups| groups.contains(&gid)));
    primary.or(others)
}

fn in_user_unit(asker: &LocalIdentity, pattern: &Pattern) -> Fact {
    match (&asker.user_unit, &asker.unit) {
        (Some(unit), _) => Fact::from(pattern.matches(unit)),
        // Whoever is in another unit of the system is in no user's.
        (None, Some(unit)) if !is_user_manager(unit) => Fact::False,
        (None, _) => Fact::Unknown,
    }
}

/// Whether a unit of the system's service manager is that in which a user's own manager runs.
pub(crate) fn is_user_manager(unit: &str) -> bool {
    unit.starts_with("user@") && unit.ends_with(".service")
}

impl fmt::Display for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<String> = Vec::new();
        all.extend(self.users.iter().map(|user| format!("user:{}", user.text)));
        all.extend(self.groups.iter().map(|group| format!("group:{}", group.text)));
        all.extend(self.units.iter().map(|unit| format!("unit:{unit}")));
        all.extend(self.user_units.iter().map(|unit| format!("user-unit:{unit}")));
        all.extend(self.sockets.iter().map(|socket| format!("socket:{socket}")));
        all.extend(self.networks.iter().map(|network| format!("net:{network}")));
        all.extend(self.proofs.iter().map(|proof| format!("{}:{}", proof.kind, proof.value)));
        all.extend(self.anonymous.then(|| "anonymous".to_owned()));
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests;
