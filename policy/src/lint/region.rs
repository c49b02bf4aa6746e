//! Sets of requests: in how many ways they can differ, and what is left of each.

use std::rc::Rc;

use super::effort::{Effort, Exhausted};
use super::words::{self, Language, Patterns};
use crate::bits::Bits;
use crate::pattern::Pattern;

/// Requests that are left: any combination of what is left on each axis. There always is at least
/// one, and it is known: the example.
#[derive(Clone, Debug)]
pub(crate) struct Region(pub(crate) Vec<Axis>);

/// One way in which requests differ.
#[derive(Clone, Debug)]
pub(crate) enum Axis {
    /// One of some cases.
    Case {
        /// Those that are left.
        left: Bits,
        /// The example's.
        example: usize,
    },
    /// A name.
    Name {
        /// Which names there are.
        language: Language,
        /// It matches one pattern of each of these.
        musts: Vec<Patterns>,
        /// And none of these.
        nots: Vec<Pattern>,
        /// The example's.
        example: String,
    },
    /// Any number of names.
    Names {
        /// Which names there are.
        language: Language,
        /// For each of these there is a name that matches one of its patterns: the example's.
        musts: Vec<(Patterns, String)>,
        /// No name matches one of these.
        nots: Vec<Pattern>,
    },
}

/// What a rule wants on one axis.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// One of these cases.
    Cases(Rc<Bits>),
    /// A name that one of these patterns matches.
    Match(Patterns),
}

/// What a rule wants: all of it, each on the axis with this number.
pub(crate) type Block = Vec<(usize, Demand)>;

impl Region {
    /// Whether the example is as `block` wants it.
    pub(crate) fn is_inside(&self, block: &Block) -> bool {
        block.iter().all(|(axis, demand)| self.0.get(*axis).is_some_and(|axis| axis.fits(demand)))
    }

    /// What of this is as `block` wants it.
    pub(crate) fn within(
        mut self,
        block: &Block,
        effort: &Effort,
    ) -> Result<Option<Self>, Exhausted> {
        for (number, demand) in block {
            let Some(axis) = self.0.get_mut(*number) else { continue };
            match axis.with(demand, effort)? {
                Some(narrower) => *axis = narrower,
                None => return Ok(None),
            }
        }
        Ok(Some(self))
    }

    /// What of this is not as `block` wants it, in parts that have nothing in common.
    pub(crate) fn outside(
        mut self,
        block: &Block,
        effort: &Effort,
    ) -> Result<Vec<Self>, Exhausted> {
        let mut parts = Vec::new();
        for (number, demand) in block {
            let Some(axis) = self.0.get(*number) else { continue };
            let (inside, outside) = (axis.with(demand, effort)?, axis.without(demand, effort)?);
            if let Some(outside) = outside {
                let mut part = self.clone();
                part.put(*number, outside);
                parts.push(part);
            }
            match inside {
                Some(inside) => self.put(*number, inside),
                None => break,
            }
        }
        Ok(parts)
    }

    fn put(&mut self, number: usize, narrower: Axis) {
        if let Some(axis) = self.0.get_mut(number) {
            *axis = narrower;
        }
    }
}

impl Axis {
    /// All of `count` cases; there is at least one.
    pub(crate) fn cases(count: usize) -> Self {
        Self::Case { left: Bits::all(count), example: 0 }
    }

    /// All names of a language. The example is found once a rule asks for one.
    pub(crate) fn name(language: Language) -> Self {
        let example = "x".to_owned();
        Self::Name { language, musts: Vec::new(), nots: Vec::new(), example }
    }

    /// No names, or any number of any.
    pub(crate) fn names(language: Language) -> Self {
        Self::Names { language, musts: Vec::new(), nots: Vec::new() }
    }

    fn fits(&self, demand: &Demand) -> bool {
        match (self, demand) {
            (Self::Case { example, .. }, Demand::Cases(cases)) => cases.contains(*example),
            (Self::Name { example, .. }, Demand::Match(patterns)) => matches(patterns, example),
            (Self::Names { musts, .. }, Demand::Match(patterns)) => {
                musts.iter().any(|(_, name)| matches(patterns, name))
            }
            _ => false,
        }
    }

    /// What is left if `demand` holds.
    fn with(&self, demand: &Demand, effort: &Effort) -> Result<Option<Self>, Exhausted> {
        let mut narrower = self.clone();
        match (&mut narrower, demand) {
            (Self::Case { left, example }, Demand::Cases(cases)) => {
                left.keep(cases);
                return Ok(still_some(left, example).then_some(narrower));
            }
            (Self::Name { musts, .. }, Demand::Match(patterns)) => {
                musts.push(Rc::clone(patterns));
                if !self.fits(demand) {
                    return narrower.with_new_example(effort);
                }
            }
            (Self::Names { language, musts, nots }, Demand::Match(patterns)) => {
                let own = [Rc::clone(patterns)];
                let Some(name) = words::find(*language, &own, nots, effort)? else {
                    return Ok(None);
                };
                musts.push((Rc::clone(patterns), name));
            }
            _ => return Ok(None),
        }
        Ok(Some(narrower))
    }

    /// What is left if `demand` does not hold.
    fn without(&self, demand: &Demand, effort: &Effort) -> Result<Option<Self>, Exhausted> {
        let mut narrower = self.clone();
        match (&mut narrower, demand) {
            (Self::Case { left, example }, Demand::Cases(cases)) => {
                left.remove(cases);
                return Ok(still_some(left, example).then_some(narrower));
            }
            (Self::Name { nots, .. }, Demand::Match(patterns)) => {
                nots.extend_from_slice(patterns);
                if self.fits(demand) {
                    return narrower.with_new_example(effort);
                }
            }
            (Self::Names { language, musts, nots }, Demand::Match(patterns)) => {
                nots.extend_from_slice(patterns);
                for (must, name) in musts.iter_mut().filter(|(_, name)| matches(patterns, name)) {
                    match words::find(*language, &[Rc::clone(must)], nots, effort)? {
                        Some(other) => *name = other,
                        None => return Ok(None),
                    }
                }
            }
            _ => {}
        }
        Ok(Some(narrower))
    }

    fn with_new_example(mut self, effort: &Effort) -> Result<Option<Self>, Exhausted> {
        if let Self::Name { language, musts, nots, example } = &mut self {
            match words::find(*language, musts, nots, effort)? {
                Some(name) => *example = name,
                None => return Ok(None),
            }
        }
        Ok(Some(self))
    }
}

fn matches(patterns: &Patterns, name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Keeps the example if it is left, else takes another one; says whether there is one.
fn still_some(left: &Bits, example: &mut usize) -> bool {
    if !left.contains(*example) {
        match left.first() {
            Some(first) => *example = first,
            None => return false,
        }
    }
    true
}
