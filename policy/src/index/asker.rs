//! Rules by the programs that they are about.

use libipc::identity::LocalIdentity;

use super::globs::Globs;
use super::postings::Table;
use crate::bits::Bits;
use crate::rule::Rule;
use crate::subject::Account;

/// Rules by who asks. A fact that is not known leaves all rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Askers {
    users: Accounts,
    groups: Accounts,
    units: Globs,
    sockets: Table<Box<str>>,
    without_socket: Bits,
}

/// Rules by users, or by groups.
#[derive(Clone, Debug, Default)]
struct Accounts {
    table: Table<u32>,
    free: Bits,
}

impl Accounts {
    fn of(accounts: &[&[Account]]) -> Self {
        let numbered = accounts.iter().enumerate();
        let pairs = numbered.flat_map(|(rule, own)| own.iter().map(move |one| (one.id, rule)));
        Self {
            table: Table::of(pairs.filter_map(|(id, rule)| Some((id?, rule))), accounts.len()),
            free: Bits::of(accounts.len(), |rule| {
                accounts.get(rule).is_none_or(|own| own.is_empty())
            }),
        }
    }

    fn narrow(&self, rules: &mut Bits, ids: impl Iterator<Item = u32>) {
        let mut fitting = self.free.clone();
        ids.for_each(|id| self.table.add_to(&id, &mut fitting));
        rules.keep(&fitting);
    }
}

impl Askers {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let subjects = || rules.iter().map(|rule| &rule.subjects);
        let users: Vec<_> = subjects().map(|subjects| subjects.users.as_slice()).collect();
        let groups: Vec<_> = subjects().map(|subjects| subjects.groups.as_slice()).collect();
        let sockets = subjects().enumerate().flat_map(|(rule, subjects)| {
            subjects.sockets.iter().map(move |socket| (socket.clone(), rule))
        });
        Self {
            users: Accounts::of(&users),
            groups: Accounts::of(&groups),
            units: Globs::of(subjects().map(|subjects| subjects.units.as_slice())),
            sockets: Table::of(sockets, rules.len()),
            without_socket: Bits::of(rules.len(), |rule| {
                rules.get(rule).is_none_or(|rule| rule.subjects.sockets.is_empty())
            }),
        }
    }

    /// Leaves the rules that may be about `asker`.
    pub(super) fn narrow(&self, rules: &mut Bits, asker: &LocalIdentity) {
        if let (Some(uid), false) = (asker.uid, self.users.table.is_empty()) {
            self.users.narrow(rules, std::iter::once(uid));
        }
        if let (Some(gid), Some(groups), false) =
            (asker.gid, &asker.groups, self.groups.table.is_empty())
        {
            self.groups.narrow(rules, groups.iter().copied().chain([gid]));
        }
        if let (Some(unit), false) = (&asker.unit, self.units.are_all_free()) {
            rules.keep(&self.units.about(unit));
        }
        if !self.sockets.is_empty() {
            let mut fitting = self.without_socket.clone();
            asker.socket.iter().for_each(|name| self.sockets.add_to(name.as_str(), &mut fitting));
            rules.keep(&fitting);
        }
    }
}
