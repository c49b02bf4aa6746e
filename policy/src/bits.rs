//! Sets of small numbers.

/// A set of numbers below a bound, one bit each.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// The empty set of numbers below `bound`.
    pub(crate) fn none(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(BITS)])
    }

    /// All numbers below `bound`.
    pub(crate) fn all(bound: usize) -> Self {
        let mut words = vec![u64::MAX; bound.div_ceil(BITS)];
        if let Some(last) = words.last_mut().filter(|_| !bound.is_multiple_of(BITS)) {
            *last = (1 << (bound % BITS)) - 1;
        }
        Self(words)
    }

    /// Those of the numbers below `bound` for which `is_in` holds.
    pub(crate) fn of(bound: usize, is_in: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::none(bound);
        (0..bound).filter(|number| is_in(*number)).for_each(|number| bits.insert(number));
        bits
    }

    /// Adds a number; one beyond the bound is left out.
    pub(crate) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / BITS) {
            *word |= 1 << (number % BITS);
        }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.0.get(number / BITS).is_some_and(|word| word >> (number % BITS) & 1 == 1)
    }

    /// Keeps what is in `other` as well.
    pub(crate) fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= other);
    }

    /// Adds what is in `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    /// Takes away what is in `other`.
    pub(crate) fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= !other);
    }

    /// The smallest number.
    pub(crate) fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + use<'_> {
        numbers(self.0.iter().copied())
    }

    /// The numbers, ascending.
    pub(crate) fn into_numbers(self) -> impl Iterator<Item = usize> {
        numbers(self.0.into_iter())
    }
}

const BITS: usize = u64::BITS as usize;

/// The numbers whose bits are set in `words`, ascending.
fn numbers(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(at, word)| {
        // Each step takes the lowest bit away.
        let words = std::iter::successors(Some(word), |left| Some(left & left.wrapping_sub(1)));
        let left = words.take_while(|left| *left != 0);
        left.map(move |left| at * BITS + left.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_into_them() {
        let odd = Bits::of(130, |number| number % 2 == 1);
        assert_eq!(odd.iter().collect::<Vec<_>>(), (1..130).step_by(2).collect::<Vec<_>>());
        let mut even = Bits::all(130);
        even.remove(&odd);
        assert_eq!(even.iter().count(), 65);
        assert!(even.contains(128) && !even.contains(129) && !even.contains(1_000));
        even.keep(&Bits::of(130, |number| number > 125));
        assert_eq!((even.first(), even.iter().count()), (Some(126), 2));
        even.add(&odd);
        assert_eq!(even.first(), Some(1));
        assert_eq!(Bits::none(0).first(), None);
        assert_eq!(Bits::all(64).iter().count(), 64);
        let mut small = Bits::none(3);
        small.insert(1_000);
        assert_eq!(small, Bits::none(3));
    }
}
