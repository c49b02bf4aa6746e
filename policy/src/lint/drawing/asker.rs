//! Who asks: programs of this host, as far as rules tell them apart.

use std::collections::BTreeSet;

use super::{Language, cases, each_with_each, matching};
use crate::lint::effort::{Effort, Exhausted};
use crate::lint::region::{Axis, Block, Region};
use crate::pattern::Pattern;
use crate::rule::{Action, Rule};

/// The axes of askers begin behind that of the service.
const USER: usize = 1;
const SOCKET: usize = 2;
const KNOWN: usize = 3;
const UNIT: usize = 4;
const USER_UNIT: usize = 5;
const GROUPS: usize = 6;
const LOGINS: usize = 7;

/// The first axis behind those of askers.
pub(super) const BEHIND: usize = 8;

/// The users and sockets that rules name.
pub(super) struct Askers {
    users: Vec<u32>,
    sockets: Vec<Box<str>>,
    has_user_units: bool,
}

/// Whether what rules want to know of an asker is known.
#[derive(Clone, Copy)]
struct Known {
    groups: bool,
    unit: bool,
    user_unit: UserUnit,
    login: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum UserUnit {
    Known,
    /// It is known that there is none.
    None,
    Unknown,
}

/// Cases of [`Known`].
const KNOWN_CASES: usize = 24;

impl Known {
    fn of(case: usize) -> Self {
        let user_unit = match case / 4 % 3 {
            0 => UserUnit::Known,
            1 => UserUnit::None,
            _ => UserUnit::Unknown,
        };
        let (groups, unit) = (case.is_multiple_of(2), (case / 2).is_multiple_of(2));
        Self { groups, unit, user_unit, login: case < KNOWN_CASES / 2 }
    }
}

fn known(is_so: impl Fn(Known) -> bool) -> Block {
    vec![(KNOWN, cases(KNOWN_CASES, |case| is_so(Known::of(case))))]
}

impl Askers {
    pub(super) fn of(rules: &[&Rule]) -> Self {
        let subjects = || rules.iter().map(|rule| &rule.subjects);
        let users = subjects().flat_map(|subjects| &subjects.users);
        // Root is told apart from others by the built-in rule.
        let users: BTreeSet<u32> = users.filter_map(|user| user.id).chain([0]).collect();
        let sockets: BTreeSet<_> = subjects().flat_map(|subjects| &subjects.sockets).collect();
        Self {
            users: users.into_iter().collect(),
            sockets: sockets.into_iter().cloned().collect(),
            has_user_units: subjects().any(|subjects| !subjects.user_units.is_empty()),
        }
    }

    /// The axes from [`USER`] to [`LOGINS`].
    pub(super) fn axes(&self) -> [Axis; BEHIND - USER] {
        [
            Axis::cases(self.users.len() + 2),
            Axis::cases(self.sockets.len() + 1),
            Axis::cases(KNOWN_CASES),
            Axis::name(Language::Unit),
            Axis::name(Language::Unit),
            Axis::names(Language::Text),
            Axis::names(Language::Text),
        ]
    }

    /// What goes together: somebody in a unit of the system is in no user's unit, unless it is
    /// the one in which the user's manager runs.
    fn all(&self) -> Vec<Block> {
        if !self.has_user_units {
            return vec![known(|known| known.user_unit == UserUnit::None)];
        }
        let managers = ["user@*.service"].map(Pattern::of_units);
        vec![
            known(|known| known.user_unit == UserUnit::Known),
            known(|known| known.user_unit == UserUnit::Unknown && !known.unit),
            [
                known(|known| known.user_unit == UserUnit::Unknown && known.unit),
                vec![(UNIT, matching(&managers))],
            ]
            .concat(),
            known(|known| known.user_unit == UserUnit::None && known.unit),
        ]
    }

    /// All of them, as parts of `all`, which has these axes.
    pub(super) fn requests(
        &self,
        all: &Region,
        others: &[Block],
        effort: &Effort,
    ) -> Result<Vec<Region>, Exhausted> {
        let mut requests = Vec::new();
        for block in each_with_each(&self.all(), others) {
            let Some(part) = all.clone().within(&block, effort)? else { continue };
            match self.never() {
                Some(never) => requests.extend(part.outside(&never, effort)?),
                None => requests.push(part),
            }
        }
        Ok(requests)
    }

    /// What `all` says too much: the managers' units among those of whom it is known that they are
    /// in no user's.
    fn never(&self) -> Option<Block> {
        let managers = ["user@*.service"].map(Pattern::of_units);
        self.has_user_units.then(|| {
            let none = known(|known| known.user_unit == UserUnit::None);
            [none, vec![(UNIT, matching(&managers))]].concat()
        })
    }

    /// Users whose number is known.
    pub(super) fn known_users(&self) -> Block {
        let count = self.users.len();
        vec![(USER, cases(count + 2, |case| case <= count))]
    }

    /// Everybody but root.
    pub(super) fn all_but_root(&self) -> Block {
        let is_root = |case: usize| self.users.get(case).is_some_and(|uid| *uid == 0);
        vec![(USER, cases(self.users.len() + 2, |case| !is_root(case)))]
    }

    /// Whom `rule` is about.
    pub(super) fn blocks(&self, rule: &Rule) -> Vec<Block> {
        let subjects = &rule.subjects;
        let catches_unknown = rule.action == Action::Deny;
        let mut blocks = vec![Block::new()];
        if !subjects.users.is_empty() {
            blocks = each_with_each(&blocks, &[self.users(rule)]);
        }
        if !subjects.sockets.is_empty() {
            let named = |case: usize| {
                self.sockets.get(case).is_some_and(|socket| subjects.sockets.contains(socket))
            };
            let block = vec![(SOCKET, cases(self.sockets.len() + 1, named))];
            blocks = each_with_each(&blocks, &[block]);
        }
        let mut narrow = |named: Block, unknown: Block| {
            let ways = [vec![named], catches_unknown.then_some(unknown).into_iter().collect()];
            blocks = each_with_each(&blocks, &ways.concat());
        };
        if !subjects.groups.is_empty() {
            let ids = subjects.groups.iter().filter_map(|group| group.id);
            let ids: Vec<_> = ids.map(|id| Pattern::new(&id.to_string())).collect();
            narrow(vec![(GROUPS, matching(&ids))], known(|known| !known.groups));
        }
        if subjects.asks_about_logins() {
            let logins: Vec<_> = subjects.logins().cloned().collect();
            let named = [known(|known| known.login), vec![(LOGINS, matching(&logins))]];
            narrow(named.concat(), known(|known| !known.login));
        }
        if !subjects.units.is_empty() {
            let named = [known(|known| known.unit), vec![(UNIT, matching(&subjects.units))]];
            narrow(named.concat(), known(|known| !known.unit));
        }
        if !subjects.user_units.is_empty() {
            let is_known = known(|known| known.user_unit == UserUnit::Known);
            let named = [is_known, vec![(USER_UNIT, matching(&subjects.user_units))]];
            narrow(named.concat(), known(|known| known.user_unit == UserUnit::Unknown));
        }
        blocks
    }

    /// The last case is somebody whose number is not known, the one before it somebody whom no
    /// rule names.
    fn users(&self, rule: &Rule) -> Block {
        let ids: Vec<u32> = rule.subjects.users.iter().filter_map(|user| user.id).collect();
        let unknown = self.users.len() + 1;
        let fits = |case: usize| match self.users.get(case) {
            Some(uid) => ids.contains(uid),
            None => case == unknown && rule.action == Action::Deny && !ids.is_empty(),
        };
        vec![(USER, cases(unknown + 1, fits))]
    }
}
