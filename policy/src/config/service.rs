//! `[services.NAME]`: what is written about a service of this host.

use std::path::{Component, PathBuf};

use settings::{Position, Section, Text, Value};

use crate::accounts::{Accounts, is_account_name, parse_id};

/// What is written about a service of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Where it listens by itself, if at a place of its own choice; absolute.
    pub socket: Option<PathBuf>,
    /// Where programs that know nothing of us find it.
    pub front: Option<Front>,
    /// The user that may register it, and to whom its socket belongs.
    pub owner: Option<u32>,
    /// The owner as written, if by name.
    owner_name: Option<Box<str>>,
    /// Whether clients may get its socket to connect to by themselves.
    pub door: bool,
    /// Whether the broker may connect in the place of clients that can do it in no other way.
    pub trusts_broker: bool,
    /// Where the front is written, or the service, if it has none.
    pub front_at: Position,
}

/// A path that stands for the service's name: to connect there is to ask for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Front {
    /// At the service's name among the fronts of the run directory.
    ByName,
    /// There; absolute.
    At(PathBuf),
}

/// A service as it is written in one file.
#[derive(Clone, Debug)]
pub(super) struct Written {
    socket: Option<PathBuf>,
    front: Option<Front>,
    owner: Option<Text>,
    door: Option<bool>,
    trusts_broker: Option<bool>,
    front_at: Position,
}

impl Written {
    pub(super) fn read(mut section: Section<'_>, position: Position) -> Self {
        let socket = section.value("socket").and_then(|value| read_path(&value, "a socket"));
        let mut front_at = position;
        let front = section.value("front").and_then(|value| {
            front_at = value.position();
            if value.is_flag() {
                return value.flag().filter(|is_wanted| *is_wanted).map(|_| Front::ByName);
            }
            read_path(&value, "a front that is not `true`").map(Front::At)
        });
        if socket.is_some() && front.is_some() {
            section.problem(
                "`front` stands for services elsewhere, and for those that register: one with a \
                 `socket` of its own is connected to by programs themselves",
            );
        }
        Self {
            socket,
            front,
            owner: section.text("owner"),
            door: section.flag("door"),
            trusts_broker: section.flag("trusts-broker"),
            front_at,
        }
    }

    /// The service, with its owner looked up. An owner that does not exist is handed to `missing`.
    pub(super) fn finish(
        self,
        accounts: &dyn Accounts,
        report: &mut dyn FnMut(OwnerFault, &Text),
    ) -> Service {
        let owner_name =
            self.owner.as_ref().map(Text::as_str).filter(|text| parse_id(text).is_none());
        let owner_name = owner_name.map(Into::into);
        let owner = self.owner.and_then(|text| {
            let found = find_owner(text.as_str(), accounts);
            found.map_err(|fault| report(fault, &text)).ok()
        });
        Service {
            socket: self.socket,
            front: self.front,
            owner,
            owner_name,
            door: self.door.unwrap_or(true),
            trusts_broker: self.trusts_broker.unwrap_or(false),
            front_at: self.front_at,
        }
    }
}

/// An absolute path without detours.
fn read_path(value: &Value<'_>, what: &str) -> Option<PathBuf> {
    let text = value.text()?;
    let path = PathBuf::from(text.as_str());
    let is_plain = path.is_absolute()
        && !text.as_str().contains(char::is_control)
        && !path.components().any(|part| part == Component::ParentDir);
    if !is_plain {
        value.report(text.problem(format_args!("{what} is an absolute path without `..`")));
    }
    is_plain.then_some(path)
}

impl Service {
    /// Looks the owner up again if there was none. Says whether there is one now.
    pub(super) fn wake(&mut self, accounts: &dyn Accounts) -> bool {
        let sleeps = self.owner.is_none();
        if sleeps {
            self.rename(accounts);
        }
        sleeps && self.owner.is_some()
    }

    /// Whether its owner is a name that nobody has.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        self.owner.is_none() && self.owner_name.is_some()
    }

    /// Takes an owner that has a name for the one that `accounts` has by it.
    pub(super) fn rename(&mut self, accounts: &dyn Accounts) {
        if let Some(name) = &self.owner_name {
            self.owner = accounts.uid(name);
        }
    }
}

/// Why an owner is no user.
pub(super) enum OwnerFault {
    /// No user can have this name or number.
    Malformed,
    /// No user has it today.
    Missing,
}

fn find_owner(text: &str, accounts: &dyn Accounts) -> Result<u32, OwnerFault> {
    match parse_id(text) {
        Some(id) => id.map_err(|_| OwnerFault::Malformed),
        None if is_account_name(text) => accounts.uid(text).ok_or(OwnerFault::Missing),
        None => Err(OwnerFault::Malformed),
    }
}
