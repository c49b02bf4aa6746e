//! Two ascending lists of indices as one.

/// The indices of what is exactly about a name and of what has wildcards, in ascending order.
pub(crate) struct Merge<'m> {
    exact: &'m [usize],
    wild: &'m [usize],
}

impl<'m> Merge<'m> {
    pub(crate) fn new(exact: &'m [usize], wild: &'m [usize]) -> Self {
        Self { exact, wild }
    }
}

impl Iterator for Merge<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let from = match (self.exact.first(), self.wild.first()) {
            (Some(exact), Some(wild)) if wild < exact => &mut self.wild,
            (Some(_), _) => &mut self.exact,
            (None, _) => &mut self.wild,
        };
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_merged_list_ascends() {
        for (exact, wild, expected) in [
            (&[0, 3][..], &[1, 2, 4][..], vec![0, 1, 2, 3, 4]),
            (&[], &[1], vec![1]),
            (&[5], &[], vec![5]),
            (&[], &[], vec![]),
        ] {
            assert_eq!(Merge::new(exact, wild).collect::<Vec<_>>(), expected);
        }
    }
}
