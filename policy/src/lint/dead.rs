//! Rules without effect: those that could be removed, and every request would be answered as
//! before.
//!
//! This is decided, not guessed. Of the requests that a rule matches those are taken away that a
//! rule before it takes; then those for which a rule behind it, or the end of the rules, answers
//! the same. What is left shows that the rule matters. Requests that no rule tells apart are one,
//! so there are finitely many of them, and a search through them ends.

use std::ops::Range;

use super::drawing::{Drawing, draw};
use super::effort::{Effort, Exhausted};
use super::region::{Block, Region};
use crate::rule::{Action, Rule};
use crate::scheme::Schemes;

/// What a rule is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Use {
    /// Without it some request would be answered otherwise.
    Matters,
    /// No request can be as it wants it.
    NeverMatches,
    /// The rule with this number takes all of its requests before it.
    Behind(usize),
    /// Several rules do.
    BehindSeveral,
    /// It decides, and without it the rule with this number would decide the same; `None`: without
    /// it no rule would match, which comes to the same.
    Idle(Option<usize>),
}

/// What the rule at `own` of `rules` is good for. The others are all rules of its direction that
/// may match a request that it matches, in their order.
pub(super) fn judge(
    rules: &[&Rule],
    own: usize,
    schemes: &Schemes,
    effort: &Effort,
) -> Result<Use, Exhausted> {
    let Some(rule) = rules.get(own) else { return Ok(Use::Matters) };
    // Each rule is drawn, which is worth comparing it with a few.
    effort.spend(rules.len() * STEPS_TO_DRAW)?;
    let drawing = draw(rules, rule.direction, schemes, effort)?;
    let question = Question { rules, drawing, own, answer: Answer::of(rule), effort };
    question.answer()
}

const STEPS_TO_DRAW: usize = 16;

/// What a request gets: what to do, and, if it is refused, the words of the rule's author.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Answer<'r> {
    action: Action,
    reason: Option<&'r str>,
}

impl<'r> Answer<'r> {
    fn of(rule: &'r Rule) -> Self {
        let reason = rule.reason.as_deref().filter(|_| rule.action == Action::Deny);
        Self { action: rule.action, reason }
    }
}

/// The answer of a request that no rule matches and that does not pass by itself.
const REFUSED: Answer<'_> = Answer { action: Action::Deny, reason: None };
/// That of one that does.
const PASSED: Answer<'_> = Answer { action: Action::Allow, reason: None };

struct Question<'q> {
    rules: &'q [&'q Rule],
    drawing: Drawing,
    own: usize,
    answer: Answer<'q>,
    effort: &'q Effort,
}

impl Question<'_> {
    fn answer(&self) -> Result<Use, Exhausted> {
        let all = self.drawing.requests.clone();
        let own = self.within(all, self.blocks(self.own))?;
        if own.is_empty() {
            return Ok(Use::NeverMatches);
        }
        if self.matters(&own)? {
            return Ok(Use::Matters);
        }
        if let Some(decided) = self.search(own.clone(), 0..self.own, &|_| Step::Take)? {
            return Ok(Use::Idle(self.next_of(&decided)));
        }
        for earlier in 0..self.own {
            let only = earlier..earlier + 1;
            if self.search(own.clone(), only, &|_| Step::Take)?.is_none() {
                return Ok(Use::Behind(earlier));
            }
        }
        Ok(Use::BehindSeveral)
    }

    /// Whether one of `own`, which the rule matches, is answered otherwise without it.
    fn matters(&self, own: &[Region]) -> Result<bool, Exhausted> {
        let all = 0..self.rules.len();
        let step = |rule: usize| self.step(rule);
        let mut ends: Vec<&Block> = Vec::new();
        ends.extend((self.answer != REFUSED).then_some(&self.drawing.refused));
        ends.extend(self.drawing.passed.as_ref().filter(|_| self.answer != PASSED));
        for end in ends {
            let regions = self.within(own.to_vec(), std::slice::from_ref(end))?;
            if self.search(regions, all.clone(), &step)?.is_some() {
                return Ok(true);
            }
        }
        for other in self.own + 1..self.rules.len() {
            if self.step(other) == Step::End {
                let regions = self.within(own.to_vec(), self.blocks(other))?;
                if self.search(regions, 0..other + 1, &step)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What a request that another rule matches first says about this rule.
    fn step(&self, rule: usize) -> Step {
        let same = self.rules.get(rule).is_some_and(|rule| Answer::of(rule) == self.answer);
        match rule.cmp(&self.own) {
            std::cmp::Ordering::Less => Step::Take,
            std::cmp::Ordering::Equal => Step::Pass,
            std::cmp::Ordering::Greater if same => Step::Take,
            std::cmp::Ordering::Greater => Step::End,
        }
    }

    /// The rule behind this one that answers the example of `region`.
    fn next_of(&self, region: &Region) -> Option<usize> {
        let mut behind = self.own + 1..self.rules.len();
        behind.find(|rule| self.blocks(*rule).iter().any(|block| region.is_inside(block)))
    }

    fn blocks(&self, rule: usize) -> &[Block] {
        self.drawing.rules.get(rule).map(Vec::as_slice).unwrap_or_default()
    }

    /// The parts of `regions` that one of `blocks` has.
    fn within(&self, regions: Vec<Region>, blocks: &[Block]) -> Result<Vec<Region>, Exhausted> {
        let mut parts = Vec::new();
        for region in regions {
            for block in blocks {
                parts.extend(region.clone().within(block, self.effort)?);
            }
        }
        Ok(parts)
    }

    /// Looks for a request in `regions` that none of `rules` takes away.
    fn search(
        &self,
        regions: Vec<Region>,
        rules: Range<usize>,
        step: &dyn Fn(usize) -> Step,
    ) -> Result<Option<Region>, Exhausted> {
        let mut left = regions;
        while let Some(region) = left.pop() {
            match self.first_holder(&region, rules.clone(), step)? {
                Holder::None | Holder::End => return Ok(Some(region)),
                Holder::Takes(block) => left.extend(region.outside(block, self.effort)?),
            }
        }
        Ok(None)
    }

    /// What the first of `rules` that matches the example of `region` does with it.
    fn first_holder(
        &self,
        region: &Region,
        rules: Range<usize>,
        step: &dyn Fn(usize) -> Step,
    ) -> Result<Holder<'_>, Exhausted> {
        for rule in rules {
            self.effort.spend(1)?;
            let step = step(rule);
            if step == Step::Pass {
                continue;
            }
            if let Some(block) = self.blocks(rule).iter().find(|block| region.is_inside(block)) {
                return Ok(if step == Step::End { Holder::End } else { Holder::Takes(block) });
            }
        }
        Ok(Holder::None)
    }
}

/// What it means that a rule matches a request.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    /// The request says nothing.
    Take,
    /// The search has found what it looks for.
    End,
    /// Nothing: this is the rule in question.
    Pass,
}

/// What holds a request.
enum Holder<'h> {
    None,
    End,
    /// It is taken away, with all that this has.
    Takes(&'h Block),
}
