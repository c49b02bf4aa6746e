//! All rules, in their order, and found quickly.

use libipc::identity::LocalIdentity;

use crate::address::LOCALHOST;
use crate::index::Index;
use crate::query::Query;
use crate::rule::{Direction, Rule};
use crate::scheme::Schemes;
use crate::subject::Subjects;

use self::memo::{Key, Memo};

mod memo;

/// The rules of a configuration. In each direction, the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    schemes: Schemes,
    lists: [List; 3],
    memo: Memo,
}

/// The rules of one direction.
#[derive(Clone, Debug, Default)]
struct List {
    rules: Vec<Rule>,
    index: Index,
}

impl Rules {
    /// Takes `rules` in their order. `schemes` are those that they were read with.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>, schemes: Schemes) -> Self {
        let mut lists = <[List; 3]>::default();
        for rule in rules {
            let [out, inward, local] = &mut lists;
            let list = match rule.direction {
                Direction::Out => out,
                Direction::In => inward,
                Direction::Local => local,
            };
            list.rules.push(rule);
        }
        let mut rules = Self { schemes, lists, memo: Memo::default() };
        rules.find_again();
        rules
    }

    /// The schemes that the rules were read with.
    #[must_use]
    pub fn schemes(&self) -> &Schemes {
        &self.schemes
    }

    /// All rules of `direction`, in their order.
    #[must_use]
    pub fn all(&self, direction: Direction) -> &[Rule] {
        &self.list(direction).rules
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.iter().map(|list| list.rules.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rules that may match `query`, in their order: all that do, and some that do not.
    pub fn about(&self, query: &Query<'_>) -> impl Iterator<Item = &Rule> {
        let list = self.list(query.direction());
        let numbers = list.index.about(query).into_numbers();
        numbers.filter_map(|number| list.rules.get(number))
    }

    /// Shows `change` who every rule is about, to look accounts up again.
    pub(crate) fn change_subjects(&mut self, mut change: impl FnMut(&mut Subjects)) {
        let rules = self.lists.iter_mut().flat_map(|list| &mut list.rules);
        rules.for_each(|rule| change(&mut rule.subjects));
        self.find_again();
    }

    fn find_again(&mut self) {
        self.memo = Memo::default();
        let [out, inward, local] = &mut self.lists;
        for (list, direction) in
            [(out, Direction::Out), (inward, Direction::In), (local, Direction::Local)]
        {
            list.index = Index::of(&list.rules, direction);
        }
    }

    /// What is remembered of long answers.
    pub(crate) fn memo(&self) -> &Memo {
        &self.memo
    }

    /// What an answer about a target depends on, if it is worth remembering: the address is not
    /// known yet, and rules name many networks.
    pub(crate) fn key(&self, query: &Query<'_>) -> Option<Key> {
        let Query::Out { service, target, address: None, asker } = query else { return None };
        let list = self.list(Direction::Out);
        // Which rules deny that name is not what they have in common about others.
        let name = target.host.name().filter(|name| *name != LOCALHOST)?;
        if !list.index.has_many_networks() || !self.schemes.dials_addresses(&target.scheme) {
            return None;
        }
        Some(Key {
            service: service.as_str().into(),
            scheme: target.scheme.as_str().into(),
            port: target.port,
            host: list.index.is_named(name).then(|| name.into()),
            asker: LocalIdentity { pid: None, ..(*asker).clone() },
        })
    }

    /// The rules that name accounts that do not exist, in their order.
    pub fn dormant(&self) -> impl Iterator<Item = &Rule> {
        let rules = self.lists.iter().flat_map(|list| &list.rules);
        rules.filter(|rule| !rule.subjects.dormant().is_empty())
    }

    fn list(&self, direction: Direction) -> &List {
        let [out, inward, local] = &self.lists;
        match direction {
            Direction::Out => out,
            Direction::In => inward,
            Direction::Local => local,
        }
    }
}
