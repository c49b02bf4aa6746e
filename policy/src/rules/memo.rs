//! Long answers that are likely to be wanted again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use libipc::identity::LocalIdentity;

use crate::query::Verdict;

/// Answers that are kept. Each may name as many networks as there are rules.
const ANSWERS: usize = 16;

/// The verdicts about targets that are names, where rules name so many networks that putting them
/// together takes longer than looking for what was put together before. They change no answer: the
/// rules that they come from do not change.
#[derive(Debug, Default)]
pub(crate) struct Memo(Mutex<VecDeque<(Key, Verdict)>>);

/// All that such a verdict depends on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    pub(crate) service: Box<str>,
    pub(crate) scheme: Box<str>,
    pub(crate) port: u16,
    /// The host; `None` for one that no rule names, since they are all alike then.
    pub(crate) host: Option<Box<str>>,
    /// Who asks; which of his processes does not matter.
    pub(crate) asker: LocalIdentity,
}

impl Memo {
    /// The verdict for `key`, or else what `decide` says, which is kept.
    pub(crate) fn get_or(&self, key: Key, decide: impl FnOnce() -> Verdict) -> Verdict {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, verdict)) = known().iter().find(|(own, _)| *own == key) {
            return verdict.clone();
        }
        let verdict = decide();
        let mut known = known();
        known.push_front((key, verdict.clone()));
        known.truncate(ANSWERS);
        verdict
    }
}

impl Clone for Memo {
    /// A copy may go on to other rules, and knows nothing.
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        let word = Box::from("x");
        let asker = LocalIdentity::default();
        Key { service: word, scheme: "tcp".into(), port, host: None, asker }
    }

    #[test]
    fn an_answer_is_kept_until_there_are_too_many() {
        let memo = Memo::default();
        let verdict = |reason: &str| {
            let (reason, cure) = (reason.to_owned(), String::new());
            Verdict::Deny { rule: None, reason, cure }
        };
        assert_eq!(memo.get_or(key(1), || verdict("first")), verdict("first"));
        assert_eq!(memo.get_or(key(1), || verdict("second")), verdict("first"));
        for port in 2..=17 {
            memo.get_or(key(port), || verdict("other"));
        }
        assert_eq!(memo.get_or(key(1), || verdict("second")), verdict("second"));
        assert!(memo.clone().0.into_inner().unwrap().is_empty());
    }
}
