//! Patterns with `*`, found by the names that they match.

use std::collections::HashMap;

use super::postings::{Postings, Table};
use crate::bits::Bits;
use crate::pattern::Pattern;

/// Rules by patterns for one name.
///
/// A pattern without `*` is found by its text; another one by some letters that every name which it
/// matches has: those before its first `*`, those behind its last one, or up to three from between.
/// Of these the rarest are taken, so that few patterns are tried on a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Globs {
    count: usize,
    /// Rules that take every name.
    free: Option<Bits>,
    exact: Table<Box<str>>,
    wild: Vec<Wild>,
    before: Found,
    behind: Found,
    between: Found,
}

/// Rules by one pattern with `*`.
#[derive(Clone, Debug)]
struct Wild {
    pattern: Pattern,
    /// The characters that every name which it matches has.
    characters: u128,
    rules: Postings,
}

/// Patterns by some of their letters, and how many letters there are.
#[derive(Clone, Debug, Default)]
struct Found {
    patterns: HashMap<Box<str>, Vec<usize>>,
    lengths: Vec<usize>,
}

impl Found {
    fn add(&mut self, letters: Box<str>, pattern: usize) {
        if !self.lengths.contains(&letters.len()) {
            self.lengths.push(letters.len());
        }
        self.patterns.entry(letters).or_default().push(pattern);
    }
}

/// Letters of all names that a pattern matches.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Letters {
    Before(Box<str>),
    Behind(Box<str>),
    Between(Box<str>),
}

impl Globs {
    /// Takes the patterns of all rules, in their order; a rule without any takes every name.
    pub(super) fn of<'p>(patterns: impl Iterator<Item = &'p [Pattern]> + Clone) -> Self {
        let count = patterns.clone().count();
        let is_free = |own: &[Pattern]| own.is_empty() || own.iter().any(Pattern::is_any);
        let free: Vec<bool> = patterns.clone().map(is_free).collect();
        let constrained = patterns.enumerate().filter(|(_, own)| !is_free(own));
        let pairs = constrained.flat_map(|(rule, own)| own.iter().map(move |one| (one, rule)));
        let (exact, wild): (Vec<_>, Vec<_>) = pairs.partition(|(pattern, _)| pattern.is_exact());
        let exact = exact.into_iter().map(|(pattern, rule)| (pattern.as_str().into(), rule));
        let mut lists: HashMap<&Pattern, Vec<usize>> = HashMap::new();
        for (pattern, rule) in wild {
            lists.entry(pattern).or_default().push(rule);
        }
        let wild = lists.into_iter();
        let wild = wild.map(|(pattern, rules)| Wild {
            pattern: pattern.clone(),
            characters: characters(pattern.as_str()),
            rules: Postings::of(rules, count),
        });
        let mut globs = Self {
            count,
            free: free
                .contains(&true)
                .then(|| Bits::of(count, |rule| free.get(rule) == Some(&true))),
            exact: Table::of(exact, count),
            wild: wild.collect(),
            ..Self::default()
        };
        globs.find_letters();
        globs
    }

    fn find_letters(&mut self) {
        let mut frequency: HashMap<Letters, usize> = HashMap::new();
        let all: Vec<Vec<Letters>> = self.wild.iter().map(|one| letters(&one.pattern)).collect();
        for letters in all.iter().flatten() {
            *frequency.entry(letters.clone()).or_default() += 1;
        }
        for (number, letters) in all.into_iter().enumerate() {
            let often = |one: &Letters| frequency.get(one).copied();
            let rarest = letters.into_iter().min_by_key(often);
            match rarest {
                Some(Letters::Before(letters)) => self.before.add(letters, number),
                Some(Letters::Behind(letters)) => self.behind.add(letters, number),
                Some(Letters::Between(letters)) => self.between.add(letters, number),
                None => {}
            }
        }
    }

    /// Whether every rule takes every name.
    pub(super) fn are_all_free(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }

    /// The rules that take `name`.
    pub(super) fn about(&self, name: &str) -> Bits {
        let mut rules = self.free.clone().unwrap_or_else(|| Bits::none(self.count));
        self.add_to(name, &mut rules);
        rules
    }

    /// Adds the rules of patterns that match `name`.
    pub(super) fn add_to(&self, name: &str, rules: &mut Bits) {
        self.exact.add_to(name, rules);
        if self.wild.is_empty() {
            return;
        }
        let name = Asked { name, characters: characters(name) };
        let (length, text) = (name.name.len(), name.name);
        for part in self.before.lengths.iter().filter_map(|most| text.get(..*most)) {
            self.try_patterns(&self.before, part, name, rules);
        }
        let ends = self.behind.lengths.iter();
        for part in ends.filter_map(|most| text.get(length.checked_sub(*most)?..)) {
            self.try_patterns(&self.behind, part, name, rules);
        }
        for most in &self.between.lengths {
            for part in (0..length).filter_map(|begin| text.get(begin..begin + most)) {
                self.try_patterns(&self.between, part, name, rules);
            }
        }
    }

    fn try_patterns(&self, found: &Found, letters: &str, asked: Asked<'_>, rules: &mut Bits) {
        let numbers = found.patterns.get(letters).map(Vec::as_slice).unwrap_or_default();
        for one in numbers.iter().filter_map(|number| self.wild.get(*number)) {
            let has_all = one.characters & !asked.characters == 0;
            if has_all && one.pattern.matches(asked.name) {
                one.rules.add_to(rules);
            }
        }
    }
}

/// A name, and the characters that it has.
#[derive(Clone, Copy)]
struct Asked<'n> {
    name: &'n str,
    characters: u128,
}

/// The set of characters of a name, or of a pattern besides `*`. Bytes that share a place make it
/// larger than it is on both sides, so what a pattern lacks here it lacks indeed.
fn characters(text: &str) -> u128 {
    let bytes = text.bytes().filter(|byte| *byte != b'*');
    bytes.fold(0, |set, byte| set | 1 << (byte & 127))
}

/// All letters by which `pattern` may be found. One of nothing but `*` is found by none of them,
/// and by the end that every name has.
fn letters(pattern: &Pattern) -> Vec<Letters> {
    let mut parts = pattern.as_str().split('*');
    let before = parts.next().unwrap_or_default();
    let behind = parts.next_back().unwrap_or_default();
    let mut all = vec![Letters::Behind(behind.into())];
    if !before.is_empty() {
        all.push(Letters::Before(before.into()));
    }
    for part in parts.filter(|part| !part.is_empty()) {
        let length = part.len().min(LETTERS_BETWEEN);
        let windows = (0..=part.len() - length).filter_map(|at| part.get(at..at + length));
        all.extend(windows.map(|letters| Letters::Between(letters.into())));
    }
    if all.len() > 1 && behind.is_empty() {
        all.remove(0);
    }
    all
}

/// Letters from between two `*`, at most.
const LETTERS_BETWEEN: usize = 3;
