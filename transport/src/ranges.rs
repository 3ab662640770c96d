//! Sets of bytes of a memory, as ranges.

use std::collections::BTreeMap;

/// Ranges from start to end that neither overlap nor touch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds what lies between `start` and `end`.
    pub(crate) fn add(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        while let Some((&from, &to)) = self.0.range(..=end).next_back()
            && to >= start
        {
            self.0.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.0.insert(start, end);
    }

    /// Takes out what lies between `start` and `end`.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        while start < end
            && let Some((&from, &to)) = self.0.range(..end).next_back()
            && to > start
        {
            self.0.remove(&from);
            if from < start {
                self.0.insert(from, start);
            }
            if to > end {
                self.0.insert(end, to);
            }
            if from <= start {
                break;
            }
        }
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    /// What is in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Vec<(u64, u64)> {
        self.iter().flat_map(|(start, end)| other.within(start, end)).collect()
    }

    /// What lies between `start` and `end`.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self.0.range(..start).next_back().filter(|(_, to)| **to > start);
        let inside = self.0.range(start..end.max(start));
        before.into_iter().chain(inside).map(move |(from, to)| ((*from).max(start), (*to).min(end)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_when_added_and_removed_are_the_set_of_their_bytes(
            steps in prop::collection::vec((any::<bool>(), 0..40u64, 0..12u64), 0..40),
            other in prop::collection::vec((0..40u64, 0..12u64), 0..6),
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 64];
            for (add, start, length) in steps {
                if add { ranges.add(start, start + length) } else { ranges.remove(start, start + length) }
                bytes[start as usize..(start + length) as usize].fill(add);
            }
            let mut found = [false; 64];
            let mut last = None;
            for (start, end) in ranges.iter() {
                prop_assert!(start < end && last.is_none_or(|last| last < start));
                last = Some(end);
                found[start as usize..end as usize].fill(true);
            }
            prop_assert_eq!(found, bytes);
            let mut others = Ranges::default();
            let mut both = [false; 64];
            for (start, length) in other {
                others.add(start, start + length);
            }
            for (start, end) in others.iter() {
                both[start as usize..end as usize].copy_from_slice(&bytes[start as usize..end as usize]);
            }
            let mut found = [false; 64];
            for (start, end) in ranges.intersection(&others) {
                found[start as usize..end as usize].fill(true);
            }
            prop_assert_eq!(found, both);
        }
    }
}
