//! Is there a name that some patterns match and others do not?
//!
//! Patterns are run side by side over every name there can be, shortest first; names that leave
//! all of them in the same state are one. So the search ends, with an example or the proof that
//! there is none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use libipc::name::{NAME_LENGTH_MOST, RESERVED_NAMES};

use super::effort::{Effort, Exhausted};
use crate::pattern::Pattern;

/// Alternatives: one of them has to match.
pub(crate) type Patterns = Rc<[Pattern]>;

macro_rules! alphanumeric {
    () => {
        "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    };
}

/// What the names are that are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    /// Names of services.
    Service,
    /// Names of units.
    Unit,
    /// DNS names in their canonical form.
    Dns,
    /// Anything printable: URIs, pins, keys, logins; numbers of groups.
    Text,
}

impl Language {
    fn letters(self) -> &'static str {
        match self {
            Self::Service => concat!(alphanumeric!(), "_-."),
            Self::Unit => concat!(alphanumeric!(), "_-.@\\:"),
            Self::Dns => "abcdefghijklmnopqrstuvwxyz0123456789_-.",
            Self::Text => concat!(alphanumeric!(), "_-.@+=:/"),
        }
    }

    /// Characters that no `*` stands for: always worth a try.
    fn boundaries(self) -> &'static str {
        match self {
            Self::Service | Self::Unit | Self::Dns => "",
            Self::Text => ":/",
        }
    }

    fn length_most(self) -> usize {
        match self {
            Self::Service => NAME_LENGTH_MOST,
            Self::Dns => 253,
            Self::Unit | Self::Text => 1_024,
        }
    }

    fn may_begin_with(self, byte: u8) -> bool {
        match self {
            Self::Service => byte.is_ascii_alphanumeric(),
            Self::Dns => byte != b'-' && byte != b'.',
            Self::Unit | Self::Text => true,
        }
    }

    /// What matches one of these is no such name.
    fn never(self) -> Vec<Pattern> {
        match self {
            Self::Service => {
                RESERVED_NAMES.iter().copied().chain(["*.lock"]).map(Pattern::new).collect()
            }
            Self::Dns => ["*.", "*..*"].map(Pattern::new).into(),
            Self::Unit | Self::Text => Vec::new(),
        }
    }

    fn is_name(self, text: &str) -> bool {
        text.bytes().next().is_some_and(|first| self.may_begin_with(first))
            && text.len() <= self.length_most()
            && text.chars().all(|character| self.letters().contains(character))
            && !self.never().iter().any(|pattern| pattern.matches(text))
    }
}

/// A name that matches one pattern of each of `musts`, and none of `nots`.
pub(crate) fn find(
    language: Language,
    musts: &[Patterns],
    nots: &[Pattern],
    effort: &Effort,
) -> Result<Option<String>, Exhausted> {
    let fits = |text: &str| {
        let has = |must: &Patterns| must.iter().any(|pattern| pattern.matches(text));
        musts.iter().all(has) && !nots.iter().any(|pattern| pattern.matches(text))
    };
    effort.spend(1 + nots.len() / 8)?;
    if let Some(names) = musts.iter().find(|must| must.iter().all(Pattern::is_exact)) {
        let mut names = names.iter().map(Pattern::as_str);
        return Ok(names
            .find(|name| fits(name) && is_valid(language, name))
            .map(ToOwned::to_owned));
    }
    let patterns = musts.first().map(AsRef::as_ref).unwrap_or_default();
    for filler in ["x", "", "q0"] {
        let any = Pattern::of_units("*");
        let patterns = patterns.iter().chain(musts.is_empty().then_some(&any));
        let mut guesses = patterns.map(|pattern| pattern.as_str().replace('*', filler));
        if let Some(guess) = guesses.find(|guess| language.is_name(guess) && fits(guess)) {
            return Ok(Some(guess));
        }
    }
    Search::new(language, musts, nots).run(effort)
}

/// Exact names are what their rule says, whatever the language: a rule was read from them.
fn is_valid(language: Language, name: &str) -> bool {
    language == Language::Text || language == Language::Unit || language.is_name(name)
}

/// All patterns as one machine that reads a name letter by letter.
struct Search<'s> {
    language: Language,
    machines: Vec<Machine<'s>>,
    /// Ends of the groups of machines, one of which has to accept.
    musts: Vec<usize>,
    /// Names that are no answer though no machine refuses them.
    excluded: HashSet<&'s str>,
    letters: Vec<u8>,
}

/// One pattern, and where its state begins.
struct Machine<'s> {
    pattern: &'s [u8],
    of: &'s Pattern,
    at: usize,
}

/// For each machine the positions of its pattern that it may be at, a bit each.
type State = Vec<u64>;

impl<'s> Search<'s> {
    fn new(language: Language, musts: &'s [Patterns], nots: &'s [Pattern]) -> Self {
        let fits =
            |text: &str| musts.iter().all(|must| must.iter().any(|pattern| pattern.matches(text)));
        let (exact, wild): (Vec<&Pattern>, Vec<&Pattern>) =
            nots.iter().partition(|pattern| pattern.is_exact());
        let mut search = Self {
            language,
            machines: Vec::new(),
            musts: Vec::new(),
            excluded: exact.into_iter().map(Pattern::as_str).filter(|name| fits(name)).collect(),
            letters: Vec::new(),
        };
        for must in musts {
            must.iter().for_each(|pattern| search.add(pattern));
            search.musts.push(search.machines.len());
        }
        for pattern in wild {
            search.add(pattern);
        }
        search.letters = search.useful_letters();
        search
    }

    fn add(&mut self, pattern: &'s Pattern) {
        let at = self.machines.last().map_or(0, |last| last.at + words(last.pattern));
        self.machines.push(Machine { pattern: pattern.as_str().as_bytes(), of: pattern, at });
    }

    /// All that a pattern has, one that none has, and those that no `*` stands for.
    fn useful_letters(&self) -> Vec<u8> {
        let written: HashSet<u8> =
            self.machines.iter().flat_map(|machine| machine.pattern).copied().collect();
        let all = self.language.letters().bytes();
        let (mut useful, others): (Vec<u8>, Vec<u8>) =
            all.partition(|letter| written.contains(letter));
        useful.extend(others.first());
        let boundaries = self.language.boundaries().bytes();
        useful.extend(boundaries.filter(|boundary| !written.contains(boundary)));
        useful.sort_unstable();
        useful.dedup();
        useful
    }

    fn run(&self, effort: &Effort) -> Result<Option<String>, Exhausted> {
        // As many ways into a state as there are names that do not count, and one more.
        let ways = self.excluded.len() + 1;
        let mut seen: HashMap<State, usize> = HashMap::new();
        let mut queue = VecDeque::from([(self.begin(), String::new())]);
        while let Some((state, name)) = queue.pop_front() {
            effort.spend(1 + self.letters.len() * state.len() / 16)?;
            if name.len() >= self.language.length_most() {
                continue;
            }
            for letter in &self.letters {
                if name.is_empty() && !self.language.may_begin_with(*letter) {
                    continue;
                }
                let next = self.step(&state, *letter);
                if self.is_hopeless(&next) {
                    continue;
                }
                let mut longer = name.clone();
                longer.push(char::from(*letter));
                if self.accepts(&next, &longer) {
                    return Ok(Some(longer));
                }
                let visits = seen.entry(next.clone()).or_default();
                *visits += 1;
                if *visits <= ways {
                    queue.push_back((next, longer));
                }
            }
        }
        Ok(None)
    }

    fn begin(&self) -> State {
        let length = self.machines.last().map_or(0, |last| last.at + words(last.pattern));
        let mut state = vec![0; length];
        for machine in &self.machines {
            machine.enter(&mut state, 0);
        }
        state
    }

    fn step(&self, state: &[u64], letter: u8) -> State {
        let mut next = vec![0; state.len()];
        for machine in &self.machines {
            machine.step(state, letter, &mut next);
        }
        next
    }

    /// Whether no longer name can be an answer.
    fn is_hopeless(&self, state: &[u64]) -> bool {
        let mut begin = 0;
        for end in &self.musts {
            let mut group = self.machines.get(begin..*end).unwrap_or_default().iter();
            if group.all(|machine| machine.is_lost(state)) {
                return true;
            }
            begin = *end;
        }
        let unbounded = self.language.boundaries().is_empty();
        let mut nots = self.machines.get(begin..).unwrap_or_default().iter();
        unbounded && nots.any(|machine| machine.accepts_all(state))
    }

    fn accepts(&self, state: &[u64], name: &str) -> bool {
        let mut begin = 0;
        for end in &self.musts {
            let mut group = self.machines.get(begin..*end).unwrap_or_default().iter();
            if !group.any(|machine| machine.accepts(state)) {
                return false;
            }
            begin = *end;
        }
        let mut nots = self.machines.get(begin..).unwrap_or_default().iter();
        !nots.any(|machine| machine.accepts(state))
            && !self.excluded.contains(name)
            && self.language.is_name(name)
    }
}

/// Words that hold a bit for each position of `pattern`, and one for its end.
fn words(pattern: &[u8]) -> usize {
    pattern.len() / 64 + 1
}

impl Machine<'_> {
    /// Is at `position`, and where that leads without a letter.
    fn enter(&self, state: &mut [u64], position: usize) {
        if let Some(word) = state.get_mut(self.at + position / 64) {
            *word |= 1 << (position % 64);
        }
        if self.pattern.get(position) == Some(&b'*') {
            self.enter(state, position + 1);
        }
    }

    fn is_at(&self, state: &[u64], position: usize) -> bool {
        state.get(self.at + position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    fn step(&self, state: &[u64], letter: u8, next: &mut [u64]) {
        for (position, wanted) in self.pattern.iter().enumerate() {
            if !self.is_at(state, position) {
                continue;
            }
            match wanted {
                b'*' if self.of.stands_for(letter) => self.enter(next, position),
                wanted if *wanted == letter => self.enter(next, position + 1),
                _ => {}
            }
        }
    }

    fn is_lost(&self, state: &[u64]) -> bool {
        let own = state.get(self.at..self.at + words(self.pattern)).unwrap_or_default();
        own.iter().all(|word| *word == 0)
    }

    fn accepts(&self, state: &[u64]) -> bool {
        self.is_at(state, self.pattern.len())
    }

    fn accepts_all(&self, state: &[u64]) -> bool {
        self.pattern.ends_with(b"*") && self.is_at(state, self.pattern.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        texts.iter().map(|text| Pattern::new(text)).collect()
    }

    fn example(musts: &[&[&str]], nots: &[&str]) -> Option<String> {
        let musts: Vec<Patterns> = musts.iter().map(|must| patterns(must)).collect();
        find(Language::Service, &musts, &patterns(nots), &Effort::new(1_000_000)).unwrap()
    }

    #[test]
    fn an_example_is_found_where_there_is_one() {
        let cases: [(&[&[&str]], &[&str]); 8] = [
            (&[], &[]),
            (&[], &["x", "q0", "a", "b*", "*c"]),
            (&[&["a*"]], &["ab*", "a", "ax", "aq0"]),
            (&[&["a*"], &["*b"]], &["ab", "axb", "aq0b"]),
            (&[&["*a*b*"], &["*b*a*"]], &["*aa*"]),
            (&[&["a", "b"], &["*"]], &["a"]),
            (&[&["*a*"]], &["a*", "*a"]),
            (&[&["*.x"]], &["*.x.x", "a.x"]),
        ];
        for (musts, nots) in cases {
            let found = example(musts, nots).unwrap();
            for must in musts {
                assert!(
                    must.iter().any(|pattern| Pattern::new(pattern).matches(&found)),
                    "{found}"
                );
            }
            assert!(!nots.iter().any(|pattern| Pattern::new(pattern).matches(&found)), "{found}");
        }
    }

    #[test]
    fn where_there_is_none_that_is_proven() {
        let cases: [(&[&[&str]], &[&str]); 10] = [
            (&[&["a"]], &["*"]),
            (&[&["a*"]], &["*"]),
            (&[&["a*"], &["b*"]], &[]),
            (&[&["ab*"]], &["a*"]),
            (&[&["*ab*"]], &["*a*"]),
            (&[&["a*b"]], &["*b", "c"]),
            (&[&["ipc"]], &[]),
            (&[&["*.lock"]], &[]),
            (&[&["-*"]], &[]),
            (&[&["a", "b"]], &["a", "b"]),
        ];
        for (musts, nots) in cases {
            assert_eq!(example(musts, nots), None, "{musts:?} {nots:?}");
        }
    }

    #[test]
    fn the_search_ends_when_its_effort_does() {
        let many: Vec<String> = (0..12).map(|n| format!("*{n}*{}*", 11 - n)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let musts: Vec<Patterns> = many.iter().map(|one| patterns(&[one])).collect();
        let nots = patterns(&["*9*"]);
        assert_eq!(find(Language::Service, &musts, &nots, &Effort::new(10)), Err(Exhausted));
    }
}
