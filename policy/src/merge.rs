//! Several ascending lists of indices as one.

/// The indices of several lists, in ascending order. No index may be in two of them.
pub(crate) struct Merge<'m, const N: usize>([&'m [usize]; N]);

impl<'m, const N: usize> Merge<'m, N> {
    pub(crate) fn new(lists: [&'m [usize]; N]) -> Self {
        Self(lists)
    }
}

impl<const N: usize> Iterator for Merge<'_, N> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let waiting = self.0.iter_mut().filter(|list| !list.is_empty());
        let list = waiting.min_by_key(|list| list.first().copied())?;
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_merged_list_ascends() {
        for (lists, expected) in [
            ([&[0, 3][..], &[1, 2, 6][..], &[4, 5][..]], vec![0, 1, 2, 3, 4, 5, 6]),
            ([&[], &[1], &[]], vec![1]),
            ([&[5], &[], &[0]], vec![0, 5]),
            ([&[], &[], &[]], vec![]),
        ] {
            assert_eq!(Merge::new(lists).collect::<Vec<_>>(), expected);
        }
    }
}
