//! What of a partition is done, when it is done out of order.

use std::collections::VecDeque;

/// Follows work that is begun in the order of its offsets and done in any order, and knows the
/// lowest offset that has everything below it done.
///
/// Each offset that is open holds a value of `T`. Offsets may have gaps (a compacted log, markers of
/// transactions); a gap counts as done. Nothing is allocated for work that is done in order.
#[derive(Clone, Debug)]
pub(crate) struct Watermark<T = ()> {
    /// One more than the highest offset begun.
    next: u64,
    /// Rising offsets from the lowest that is open; `None` is done. The front is always open.
    window: VecDeque<(u64, Option<T>)>,
}

impl<T> Watermark<T> {
    /// Everything below `start` is done, and nothing has begun.
    pub(crate) fn new(start: u64) -> Self {
        Self { next: start, window: VecDeque::new() }
    }

    /// Begins `offset`; false, and nothing else, when it was passed already.
    #[inline]
    pub(crate) fn begin(&mut self, offset: u64, value: T) -> bool {
        if offset < self.next {
            return false;
        }
        self.window.push_back((offset, Some(value)));
        self.next = offset + 1;
        true
    }

    /// Counts what lies below `offset` and never began as done.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.next = self.next.max(offset);
    }

    /// Marks `offset` as done and gives what it held; `None` when it is not open.
    pub(crate) fn done(&mut self, offset: u64) -> Option<T> {
        self.done_if(offset, |_| true)
    }

    /// As [`Watermark::done`], where `condition` holds for the value; else nothing changes.
    #[inline]
    pub(crate) fn done_if(&mut self, offset: u64, condition: impl FnOnce(&T) -> bool) -> Option<T> {
        let front = self.window.front_mut().filter(|(first, _)| *first == offset);
        let is_front = front.is_some();
        let held = match front {
            // Work that is done in order is always the front.
            Some((_, held)) => held,
            None => {
                let place = self.place(offset)?;
                &mut self.window.get_mut(place)?.1
            }
        };
        if !held.as_ref().is_some_and(condition) {
            return None;
        }
        let value = held.take();
        if is_front {
            self.pop_done();
        }
        value
    }

    /// The front was done: what is done behind it goes with it.
    #[inline]
    fn pop_done(&mut self) {
        self.window.pop_front();
        while self.window.front().is_some_and(|(_, value)| value.is_none()) {
            self.window.pop_front();
        }
    }

    /// What the open `offset` holds.
    pub(crate) fn get_mut(&mut self, offset: u64) -> Option<&mut T> {
        let place = self.place(offset)?;
        self.window.get_mut(place)?.1.as_mut()
    }

    /// The lowest offset that is not done: everything below it is.
    pub(crate) fn lowest(&self) -> u64 {
        self.window.front().map_or(self.next, |(offset, _)| *offset)
    }

    /// One more than the highest offset begun or skipped.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The offsets that are open, with what they hold.
    pub(crate) fn open_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.window.iter_mut().filter_map(|(offset, value)| Some((*offset, value.as_mut()?)))
    }

    /// Without gaps, an offset lies as far from the front as it is greater than the front's.
    #[inline]
    fn place(&self, offset: u64) -> Option<usize> {
        let (first, _) = self.window.front()?;
        let guess = usize::try_from(offset.checked_sub(*first)?).ok()?;
        match self.window.get(guess) {
            Some((found, _)) if *found == offset => Some(guess),
            _ => self.window.binary_search_by_key(&offset, |(offset, _)| *offset).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_rises_only_over_what_is_done() {
        let mut watermark = Watermark::new(10);
        for offset in 10..14 {
            assert!(watermark.begin(offset, ()));
        }
        assert_eq!(watermark.lowest(), 10);
        assert!(watermark.done(11).is_some());
        assert!(watermark.done(13).is_some());
        assert_eq!(watermark.lowest(), 10);
        assert!(watermark.done(10).is_some());
        assert_eq!(watermark.lowest(), 12);
        assert!(watermark.done(12).is_some());
        assert_eq!(watermark.lowest(), 14);
        assert_eq!(watermark.open_mut().count(), 0);
    }

    #[test]
    fn done_twice_or_never_begun_is_nothing() {
        let mut watermark = Watermark::new(0);
        assert!(watermark.begin(0, 'a'));
        assert!(watermark.begin(1, 'b'));
        assert_eq!(watermark.done(1), Some('b'));
        assert_eq!(watermark.done(1), None);
        assert_eq!(watermark.done(7), None);
        assert!(!watermark.begin(1, 'c'), "an offset begins once");
        assert_eq!(watermark.lowest(), 0);
    }

    proptest! {
        /// The model is a set of offsets: the lowest open one, or the next when none is.
        #[test]
        fn agrees_with_a_set(
            gaps in proptest::collection::vec(1_u64..4, 1..60),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let mut watermark = Watermark::new(0);
            let mut open = BTreeSet::new();
            let mut offset = 0;
            for gap in gaps {
                offset += gap;
                prop_assert!(watermark.begin(offset, offset));
                open.insert(offset);
            }
            for index in order {
                let pick = index.index(usize::try_from(offset).unwrap() + 2) as u64;
                let expected = open.remove(&pick).then_some(pick);
                prop_assert_eq!(watermark.done(pick), expected);
                let lowest = open.first().copied().unwrap_or(offset + 1);
                prop_assert_eq!(watermark.lowest(), lowest);
                let seen: Vec<u64> = watermark.open_mut().map(|(offset, _)| offset).collect();
                prop_assert_eq!(seen, open.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
