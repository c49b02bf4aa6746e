//! Rules by a key.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use crate::bits::Bits;

/// Rules that want the same.
#[derive(Clone, Debug)]
pub(super) enum Postings {
    Few(Vec<usize>),
    Many(Bits),
}

impl Postings {
    /// The rules with these numbers, of `count` rules.
    pub(super) fn of(numbers: Vec<usize>, count: usize) -> Self {
        if numbers.len() <= count / NUMBERS_FOR_BITS {
            return Self::Few(numbers);
        }
        let mut bits = Bits::none(count);
        for number in numbers {
            bits.insert(number);
        }
        Self::Many(bits)
    }

    pub(super) fn add_to(&self, rules: &mut Bits) {
        match self {
            Self::Few(numbers) => numbers.iter().for_each(|number| rules.insert(*number)),
            Self::Many(bits) => rules.add(bits),
        }
    }
}

/// Rules for every one of which a set has this many take about as long to add as the set.
const NUMBERS_FOR_BITS: usize = 128;

/// Rules by a key.
#[derive(Clone, Debug)]
pub(super) struct Table<K>(HashMap<K, Postings>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Table<K> {
    /// Takes pairs of a key and the number of a rule, in the order of the rules.
    pub(super) fn of(pairs: impl IntoIterator<Item = (K, usize)>, count: usize) -> Self {
        let mut lists: HashMap<K, Vec<usize>> = HashMap::new();
        for (key, rule) in pairs {
            lists.entry(key).or_default().push(rule);
        }
        let finish = |(key, numbers)| (key, Postings::of(numbers, count));
        Self(lists.into_iter().map(finish).collect())
    }

    /// Adds the rules of `key`.
    pub(super) fn add_to<Q>(&self, key: &Q, rules: &mut Bits)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(postings) = self.0.get(key) {
            postings.add_to(rules);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
